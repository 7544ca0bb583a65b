"""Write the two files a new installation needs."""

import os
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

from bot.config import Config
from storage.keys import Keys

_WIDTH = 110


def example() -> str:
    """Write config.example.toml: every key with its meaning and its default."""
    lines = [
        "# Reflock's configuration. Copy it to config.toml, or let `reflock init` do it.",
        "# Secrets never stand here: they belong into the environment or into .env beside this file.",
    ]
    for section, field in Config.model_fields.items():
        model = type(field.default)
        lines += ["", *_comment(str(model.__doc__)), f"[{section}]"]
        for key, each in model.model_fields.items():
            lines += [*_comment(str(each.description)), f"{key} = {_toml(each.default)}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(text, _WIDTH)]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, frozenset):
        return str(sorted(value))
    return str(value)


def write_files(directory: Path) -> Iterator[str]:
    """Write config.toml and .env (readable by their owner only) where they do not exist; say what was done."""
    directory.mkdir(parents=True, exist_ok=True)
    pseudonym, grant = Keys.generate()
    contents = {
        "config.toml": example(),
        ".env": (
            "# Keep these keys, and keep them away from the database: without the first, lists can no longer be\n"
            "# matched; without the second, everybody has to give their consent again.\n"
            f"REFLOCK_PSEUDONYM_KEY={pseudonym}\n"
            "# Fernet keys, separated by commas, the newest first.\n"
            f"REFLOCK_GRANT_KEYS={grant}\n"
            "# The key by which Bluesky's servers recognise this installation; only its public half is ever shown.\n"
            f'REFLOCK_CLIENT_KEY="{_signing_key()}"\n'
            "REFLOCK_BLUESKY_APP_PASSWORD=\n"
            "REFLOCK_MASTODON_ACCESS_TOKEN=\n"
        ),
    }
    written = False
    for name, text in contents.items():
        path = directory / name
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            yield f"{path} exists already and was left as it is."
            continue
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        written = True
        yield f"{path} written."
    if not written:
        yield "Nothing was written. To see what new ones look like, or for a new key: reflock init --directory new"
        return
    yield (
        f"Next: fill in [bluesky] handle and [mastodon] base_url in {directory / 'config.toml'}, and the last two lines "
        f"of {directory / '.env'}; or switch a network off with enabled = false. Keep a copy of .env in a safe place. "
        f"Then: reflock run --config {directory / 'config.toml'}; and whether all of it is right is checked by: "
        f"reflock doctor --config {directory / 'config.toml'}"
    )


def _signing_key() -> str:
    """Make a P-256 key in PEM, written on one line as .env files do."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode("ascii").replace("\n", "\\n")
