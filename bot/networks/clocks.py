"""How far our clock may be from the networks' clocks before something goes wrong; `reflock doctor` holds it to this."""

from typing import Final

# Whether something was said before is looked for among what its server dates from a little earlier on: on a clock that
# is further ahead of the server's the bot overlooks its own words, and says them again.
SLACK_AHEAD_MS: Final = 5_000
# AT Protocol's OAuth servers take a client assertion for a minute after it was made, and none of the future
# (@atproto/oauth-provider 0.22.9, client.ts, CLIENT_ASSERTION_MAX_AGE). It is dated back by the half of that.
ASSERTION_SECONDS: Final = 60
ASSERTION_DATED_BACK_SECONDS: Final = ASSERTION_SECONDS // 2
