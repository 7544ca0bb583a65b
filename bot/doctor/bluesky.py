"""See whether Bluesky lets the bot in and into direct messages, and whether its account says what it should."""

import contextlib
from typing import Final

from bot.doctor import Check, Finding, Mend, ok, unchecked, wrong
from bot.doctor.installation import Installation
from bot.networks.bluesky import EVERYBODY, Introduction
from bot.networks.bluesky_client import BlueskyClient
from bot.networks.errors import NetworkError, Refused

_LOGIN: Final = "Bluesky login"


class _NoSessions:
    """Keeps no session: a look must not spend those of the running bot."""

    async def load(self, name: str) -> str | None:  # noqa: ARG002  # the interface is SessionStore's
        return None

    async def save(self, name: str, secret: str) -> None:
        pass


async def _leave(line: BlueskyClient) -> None:
    """Leave no session behind on the server, if it lets us."""
    with contextlib.suppress(NetworkError):
        await line.log_out()
    await line.close()


class BlueskyChecks:
    """The checks of one login."""

    def __init__(self, here: Installation) -> None:
        self._here = here
        self._section = here.loaded.config.bluesky
        self._password = here.loaded.secrets.bluesky_app_password.get_secret_value()
        self._logged_in: BlueskyClient | None = None

    def checks(self) -> list[Check]:
        """Return the checks."""
        unanswered = "Is the server up, and is [bluesky] service_url right?"
        return [
            Check(_LOGIN, self.login, unanswered=unanswered),
            Check(
                "Bluesky direct messages",
                self.chat,
                (_LOGIN,),
                "Is the chat service up, and is [bluesky] chat_did right?",
            ),
            Check("Bluesky bot label", self.label, (_LOGIN,), unanswered),
            Check("Bluesky messages from everybody", self.openness, (_LOGIN,), unanswered),
            Check("Bluesky directory", self.directory, (_LOGIN,), "Is it up, and is [bluesky] plc_url right?"),
        ]

    @property
    def _line(self) -> BlueskyClient:
        if self._logged_in is None:
            raise RuntimeError("Log in before anything else is looked at.")
        return self._logged_in

    async def login(self) -> Finding:
        """Log in with the app password, as the bot does."""
        section = self._section
        if not section.handle or not self._password:
            return unchecked("[bluesky] handle or REFLOCK_BLUESKY_APP_PASSWORD is missing")
        try:
            line = await self._log_in()
        except Refused as refusal:
            return wrong(
                f"{section.service_url} refuses @{section.handle}: {refusal.detail or refusal.reason}",
                "Check [bluesky] handle, and make a new app password for REFLOCK_BLUESKY_APP_PASSWORD.",
            )
        session = await line.query("com.atproto.server.getSession")
        if session.get("active") is False:
            return wrong(
                f"the account @{line.handle} is {session.get('status') or 'not active'}",
                "Log in there by hand; the server says what it wants.",
            )
        return ok(f"@{line.handle} on {section.service_url} ({line.did})")

    async def _log_in(self) -> BlueskyClient:
        if self._logged_in is None:
            line = BlueskyClient(
                service_url=self._section.service_url,
                handle=self._section.handle,
                app_password=self._password,
                chat_did=self._section.chat_did,
                sessions=_NoSessions(),
                clock=self._here.clock,
            )
            self._here.stack.push_async_callback(_leave, line)
            await line.start()
            self._logged_in = line
        return self._logged_in

    async def chat(self) -> Finding:
        """See whether the app password opens direct messages."""
        try:
            await self._line.query("chat.bsky.convo.listConvos", {"limit": 1})
        except Refused as refusal:
            return wrong(
                f"the app password does not open them ({refusal.detail or refusal.reason})",
                "Make a new one, tick the box that allows access to your direct messages, and write it to "
                "REFLOCK_BLUESKY_APP_PASSWORD.",
            )
        return ok("the app password opens them")

    async def label(self) -> Finding:
        """See whether the profile says that we are a bot."""
        ourselves = Introduction(self._line)
        if await ourselves.says_bot():
            return ok("the profile says so")
        return wrong(
            "the profile does not say that this is a bot",
            "reflock run sets it when it starts.",
            Mend(f"Label the profile of @{self._line.handle} on Bluesky as a bot's?", ourselves.say_bot),
        )

    async def openness(self) -> Finding:
        """See whether everybody may write to us."""
        ourselves = Introduction(self._line)
        who = await ourselves.who_may_write()
        if who == EVERYBODY:
            return ok("everybody may write")
        return wrong(
            f"only some may write (allowIncoming is {who})",
            "reflock run opens them when it starts; in the app: Chat settings, allow messages from everyone.",
            Mend(f"Let everybody write to @{self._line.handle} on Bluesky?", ourselves.let_everybody_write),
        )

    async def directory(self) -> Finding:
        """See whether identities can be looked up, our own to begin with; consents need it."""
        did, plc_url = self._line.did, self._section.plc_url
        if not did.startswith("did:plc:"):
            return ok(f"not asked: {did} does not stand in it")
        answer = await self._here.guard.request("GET", f"{plc_url}/{did}")
        if not answer.ok or answer.json_object().get("id") != did:
            return wrong(f"{plc_url} does not know {did} (it answers {answer.status})", "Is [bluesky] plc_url right?")
        return ok(f"{plc_url} knows us")
