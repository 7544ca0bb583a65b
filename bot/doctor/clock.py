"""See whether it is the same time here as on the networks' servers.

AT Protocol's OAuth servers are strict (@atproto/oauth-provider 0.22.9): an assertion by which a confidential client
proves itself is refused when it is from the future, be it by a second, or older than 60 seconds (client.ts,
CLIENT_ASSERTION_MAX_AGE); a DPoP proof may be 3 minutes off (dpop-manager.ts, DPOP_NONCE_MAX_AGE). A Date header
(RFC 9110, 6.6.1) names a whole second, and many servers write it once a second only: less than two seconds cannot be
told by it.
"""

from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

from bot.doctor import Check, Finding, ok, unchecked, wrong
from bot.doctor.installation import Installation, host_of

_AHEAD_SECONDS: Final = 2.0
_BEHIND_SECONDS: Final = 30.0  # half of the 60, so that there is time left for the request itself
_LIMITS: Final = (
    "Bluesky's servers take no client assertion from the future, and none that is older than 60 seconds; allowed here: "
    f"{_AHEAD_SECONDS:g} seconds ahead, {_BEHIND_SECONDS:g} behind"
)
# One answer may have been under way for long; of several the quickest tells most.
_SAMPLES: Final = 3


def checks(here: Installation) -> list[Check]:
    """Return a check for each network's server."""
    config = here.loaded.config
    asked = {
        "[bluesky] service_url": config.bluesky.service_url if config.bluesky.enabled else "",
        "[mastodon] base_url": config.mastodon.base_url if config.mastodon.enabled else "",
    }
    return [
        Check(f"Clock ({host_of(url)})", partial(_compare, here, url), unanswered=f"Is it up, and is {key} right?")
        for key, url in asked.items()
        if url
    ]


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
