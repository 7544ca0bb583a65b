"""See whether the configuration is complete, its secrets for nobody else to read, and its keys are keys."""

import asyncio
from functools import partial
from typing import Final

from bot.app import make_keys
from bot.config import ConfigError
from bot.doctor import Check, Finding, ok, sentences, unchecked, wrong
from bot.doctor.files import owner_only
from bot.doctor.installation import Installation
from storage.keys import BadKeyError

KEYS: Final = "Keys"


def checks(here: Installation) -> list[Check]:
    """Return the checks."""
    return [
        *(Check("Configuration", partial(_say, finding)) for finding in _complete(here)),
        Check("Secrets file", partial(asyncio.to_thread, _secrets_file, here)),
        Check(KEYS, partial(_keys, here)),
    ]


async def _say(finding: Finding) -> Finding:
    return finding


def _complete(here: Installation) -> list[Finding]:
    """Find everything that is missing, a line for each."""
    try:
        here.loaded.check_complete()
    except ConfigError as error:
        return [wrong(*sentences(line)) for line in str(error).splitlines()]
    return [ok(f"complete, for {' and '.join(here.loaded.networks())}")]


def _secrets_file(here: Installation) -> Finding:
    path = here.loaded.folder / ".env"
    if not path.exists():
        return ok(f"there is no {path}: the secrets come from the environment")
    return owner_only(path)


async def _keys(here: Installation) -> Finding:
    secrets = here.loaded.secrets
    if not secrets.pseudonym_key.get_secret_value() or not secrets.grant_keys.get_secret_value():
        return unchecked("REFLOCK_PSEUDONYM_KEY or REFLOCK_GRANT_KEYS is missing")
    try:
        make_keys(here.loaded)
    except BadKeyError as error:
        parted = [sentences(line) for line in str(error).splitlines()]
        return wrong("; ".join(found for found, _ in parted), parted[0][1])  # each has the same remedy
    return ok("the pseudonym key and the grant keys can be used")
