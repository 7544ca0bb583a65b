"""Walk people through OAuth: begin a consent, finish it, and say in whose name it was given.

Network-facing only: every transaction here is short, and none is open while a server is asked.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bot.events import Events
from bot.networks.consent import CONSENT_SECONDS, ConsentExpired, same
from bot.networks.errors import Refused
from bot.networks.oauth_atproto import AtprotoConsent, AtprotoOauth, AtprotoTokens
from bot.networks.oauth_mastodon import MastodonApp, MastodonConsent, MastodonOauth, MastodonTokens
from handlers.consents import Granted
from storage import grants
from storage.grants import UnderWay
from storage.keys import LostSecretError
from storage.records import NetworkName

# Reasons of refusals, beside those in `bot.networks.errors`; `handlers.consents` has a sentence for each.
UNKNOWN: Final = "consent_unknown"
WRONG_ACCOUNT: Final = "wrong_account"
NO_WEB_ADDRESS: Final = "no_web_address"
OTHER_BROWSER: Final = "other_browser"

_LIFETIME: Final = int(CONSENT_SECONDS * 1000)


class _Kept(msgspec.Struct, frozen=True):
    """What is kept, encrypted, while somebody is away to consent; `consent` is the client's own JSON.

    `account_id` asked for it; `only`, where it is not None, is the one account that may give it, and `browser` the one
    browser that may bring it back.
    """

    account_id: str | None
    only: str | None
    browser: str | None
    server: str
    consent: str


class Consents:
    """Consents to follow, on both networks. `atproto` is None where Reflock has no web address.

    Errors: Unavailable, and Refused with a reason that `handlers.consents.problem` can explain.
    """

    def __init__(self, events: Events, atproto: AtprotoOauth | None, mastodon: MastodonOauth) -> None:
        self._events: Final = events
        self.atproto: Final = atproto
        self.mastodon: Final = mastodon

    async def begin(
        self,
        network: NetworkName,
        person_id: int,
        account_id: str | None,
        server_or_handle: str,
        *,
        only: str | None = None,
        browser: str | None = None,
    ) -> str:
        """Begin the consent of an account of a person and return where to send them.

        `server_or_handle`: on Bluesky a handle or DID, on Mastodon a server or anything that names one. `browser` is a
        secret that only the browser which goes there knows: without it somebody could send his own consent page to
        others, and join their accounts to his.
        """
        if network is NetworkName.BLUESKY:
            if self.atproto is None:
                raise Refused(NO_WEB_ADDRESS)
            asked, url = await self.atproto.start(server_or_handle)
            kept = _Kept(account_id, only, browser, asked.issuer, asked.to_json())
            await self._remember(asked.state, network, person_id, kept)
            return url
        app = await self._app(self.mastodon.server_of(server_or_handle))
        await self.mastodon.check(app)
        asking, url = self.mastodon.start(app)
        kept = _Kept(account_id, only, browser, app.server, asking.to_json())
        await self._remember(asking.state, network, person_id, kept)
        return url

    async def finish(self, network: NetworkName, answer: Mapping[str, str], *, browser: str | None = None) -> Granted:
        """Finish a consent with what the browser brought back: state, and code or error (and, on Bluesky, iss)."""
        found, kept = await self._take(network, answer.get("state", ""), browser)
        try:
            if network is NetworkName.BLUESKY:
                return await self._finish_bluesky(found, kept, answer)
            app = await self._app(kept.server)
            tokens = await self.mastodon.finish(app, MastodonConsent.from_json(kept.consent), answer)
        except Refused:
            raise
        except Exception:
            # Nobody said no: the same address may be opened again.
            async with self._events.database.transaction() as connection:
                await grants.reopen(connection, self._events.world.keys, found)
            raise
        return await self._granted_on_mastodon(found, kept, tokens)

    async def finish_code(self, person_id: int, code: str) -> Granted:
        """Finish a consent with the code that a Mastodon server showed; a mistyped one may be sent again."""
        async with self._events.database.reading() as connection:
            found = await grants.open_of(connection, self._events.world.keys, person_id, NetworkName.MASTODON)
        if found is None:
            raise Refused(UNKNOWN)
        kept = msgspec.json.decode(found.secret, type=_Kept)
        app = await self._app(kept.server)
        tokens = await self.mastodon.finish_with_code(app, MastodonConsent.from_json(kept.consent), code)
        async with self._events.database.transaction() as connection:
            await grants.use(connection, found, self._events.clock())
        return await self._granted_on_mastodon(found, kept, tokens)

    def client_metadata(self) -> dict[str, Any] | None:
        """Return the document that describes us to Bluesky's servers; None where we are no confidential client."""
        if self.atproto is None or not self.atproto.jwks()["keys"]:
            return None
        return self.atproto.client_metadata()

    def jwks(self) -> dict[str, Any]:
        """Return the public keys by which Bluesky's servers recognise us."""
        return self.atproto.jwks() if self.atproto is not None else {"keys": []}

    async def _remember(self, state: str, network: NetworkName, person_id: int, kept: _Kept) -> None:
        async with self._events.database.transaction() as connection:
            await grants.begin(
                connection,
                self._events.world.keys,
                state=state,
                person_id=person_id,
                network=network,
                secret=msgspec.json.encode(kept).decode(),
                now=self._events.clock(),
                lifetime=_LIFETIME,
            )

    async def _take(self, network: NetworkName, state: str, browser: str | None) -> tuple[UnderWay, _Kept]:
        """Spend a consent under way, or say why it cannot be."""
        async with self._events.database.transaction() as connection:
            found = await grants.find(connection, self._events.world.keys, state)
            if found is None or found.network is not network:
                raise Refused(UNKNOWN)
            if found.used_at is not None:
                raise ConsentExpired("It was finished before.")
            kept = msgspec.json.decode(found.secret, type=_Kept)
            if kept.browser is not None and not same(kept.browser, browser or ""):
                raise Refused(OTHER_BROWSER)
            if not await grants.use(connection, found, self._events.clock()):
                raise ConsentExpired("It was left open for too long.")
        return found, kept

    async def _finish_bluesky(self, found: UnderWay, kept: _Kept, answer: Mapping[str, str]) -> Granted:
        if self.atproto is None:
            raise Refused(NO_WEB_ADDRESS)
        asked = AtprotoConsent.from_json(kept.consent)
        tokens: AtprotoTokens = await self.atproto.finish(asked, answer)
        return Granted(
            person_id=found.person_id,
            account_id=kept.account_id,
            network=NetworkName.BLUESKY,
            actor=tokens.did,
            handle=asked.handle or "",
            issuer=tokens.issuer,
            scope=tokens.scope,
            secret=tokens.to_json(),
            may_follow="create" in tokens.follow_actions,
            may_undo="delete" in tokens.follow_actions,
        )

    async def _granted_on_mastodon(self, found: UnderWay, kept: _Kept, tokens: MastodonTokens) -> Granted:
        if kept.only not in (None, tokens.actor):
            async with self._events.database.reading() as connection:
                connected = await grants.of_account(connection, tokens.actor)
            if connected is None:  # or it would be the end of what that account has given us before
                await self.mastodon.revoke(tokens)
            raise Refused(WRONG_ACCOUNT, tokens.acct)
        return Granted(
            person_id=found.person_id,
            account_id=kept.account_id,
            network=NetworkName.MASTODON,
            actor=tokens.actor,
            handle=f"@{tokens.acct}",  # as mentions name their writers
            issuer=tokens.base_url,
            scope=tokens.scope,
            secret=tokens.to_json(),
            may_follow=tokens.may_follow,
            may_undo=tokens.may_follow,
        )

    async def _app(self, server: str) -> MastodonApp:
        """Return our registration on a server, made where there is none that fits our web address."""
        keys = self._events.world.keys
        async with self._events.database.reading() as connection:
            try:
                known = await grants.app_of(connection, keys, server)
            except LostSecretError:
                known = None
        if known is not None:
            app = MastodonApp.from_json(known)
            if app.redirect_uri == self.mastodon.redirect_uri:
                return app
        app = await self.mastodon.register(server)
        async with self._events.database.transaction() as connection:
            await grants.keep_app(connection, keys, server, app.to_json(), self._events.clock())
        return app
