"""See whether it is the same time here as on the networks' servers, as nearly as `bot.networks.clocks` wants it.

A Date header (RFC 9110, 6.6.1) names a whole second, and many servers write it once a second only: less than two seconds
cannot be told by it. DPoP proofs may be 3 minutes off (@atproto/oauth-provider 0.22.9, dpop-manager.ts).
"""

from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

from bot.doctor import Check, Finding, ok, unchecked, wrong
from bot.doctor.installation import Installation, host_of
from bot.networks.clocks import ASSERTION_DATED_BACK_SECONDS, ASSERTION_SECONDS, SLACK_AHEAD_MS

_AHEAD_SECONDS: Final = SLACK_AHEAD_MS / 1000
# An assertion that is dated back is older still for a server that is ahead of us.
_BEHIND_SECONDS: Final = float(ASSERTION_SECONDS - ASSERTION_DATED_BACK_SECONDS)
_LIMITS: Final = (
    f"allowed here: {_AHEAD_SECONDS:g} seconds ahead, {_BEHIND_SECONDS:g} behind; further ahead the bot may say things "
    "twice, and further behind Bluesky's servers refuse its client assertions"
)
# One answer may have been under way for long; of several the quickest tells most.
_SAMPLES: Final = 3


def checks(here: Installation) -> list[Check]:
    """Return a check for each network's server."""
    config = here.loaded.config
    asked = (
        config.bluesky.service_url if config.bluesky.enabled else "",
        config.mastodon.base_url if config.mastodon.enabled else "",
    )
    return [Check(f"Clock ({host_of(url)})", partial(_compare, here, url), unanswered="") for url in asked if url]


async def _compare(here: Installation, url: str) -> Finding:
    """Compare with the Date of an answer; what the way takes is taken into account in our favour."""
    ahead = behind = 0.0
    for _ in range(_SAMPLES):
        before = here.clock() / 1000
        answer = await here.guard.request("HEAD", url, redirects=False)
        after = here.clock() / 1000
        try:
            there = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except ValueError:
            return unchecked(f"{host_of(url)} does not say what time it is")
        # The answer was made between `before` and `after`, within the second that begins with `there`.
        ahead, behind = before - (there + 1), there - after
        if ahead <= _AHEAD_SECONDS and behind <= _BEHIND_SECONDS:
            return ok(f"it is the same time there, within {max(ahead, behind, 0) + 1:.0f} s")
    off = f"{ahead:.0f} seconds ahead of" if ahead > 0 else f"{behind:.0f} seconds behind"
    return wrong(
        f"this machine's clock is {off} {host_of(url)}'s ({_LIMITS})",
        "Let the clock be set by the network, under systemd: timedatectl set-ntp true",
    )
