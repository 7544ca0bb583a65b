"""Ask for the consent to follow on somebody's behalf, take it in, and give it back."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote, urlsplit

from handlers import contests, follows, one_time
from handlers.context import Context
from handlers.names import NETWORKS, plain_name
from handlers.routing import Answer, command
from handlers.texts import N_, Texts
from handlers.words import Rest
from storage import accounts, deliveries, grants, lanes, questions
from storage.codes import Purpose
from storage.deliveries import Promise
from storage.keys import LostSecretError, new_token
from storage.records import Account, DeliveryKind, Grant, GrantState, NetworkName, Question
from storage.tables import delivery

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

CODE_QUESTION: Final = "consent_code"

# What Mastodon shows to be pasted: Doorkeeper's token, 43 letters of base64url; other servers' are shorter. A server's
# name always has a dot in it, so the two cannot be confused.
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{16,512}")

_NOTHING_TO_END: Final = N_("You have given me no consent to follow for you, so there is nothing to end.")

_PROBLEMS: Final[Mapping[str, str]] = {
    "consent_refused": N_(
        "No consent was given there, or it came from another account than the one that was asked. Nothing has changed. "
        "To try again, send me: connect"
    ),
    "consent_expired": N_(
        "That consent has expired or is used up: it has to be given within half an hour, and works once. For a new one, "
        "send me: connect"
    ),
    "consent_unknown": N_("I did not ask for this consent, or it is long over. For a new one, send me: connect"),
    "wrong_account": N_(
        "You were signed in there with another account than the one that was asked, so I did not take the consent. "
        "Sign in there with the right account, then send me: connect"
    ),
    "other_browser": N_(
        "This consent was begun in another browser, so I did not take it: somebody may have sent you their own link. If "
        "it was yours, send me connect and stay in one browser."
    ),
    "server_name": N_("That is not the name of a server. Write just the name, for example: connect mastodon.social"),
    "gone": N_("There is no account of that name on Bluesky. Check the spelling, for example: alice.bsky.social"),
    "no_mastodon_api": N_(
        "That server does not let me ask for consent: it does not answer as Mastodon's servers do. Is its name right? If "
        "so, follow by hand: contacts shows whom."
    ),
    "consents_mixed_up": N_(
        "That server's software does not keep people's consents apart: I could be given somebody else's, so I do not ask "
        "there. Follow by hand: contacts shows whom."
    ),
    "forbidden": N_(
        "That address is not one that I may ask. Write just the server's name, for example: mastodon.social"
    ),
    "unreachable": N_("That server does not answer. Is its name right? Otherwise try again later, with: connect"),
    "silent": N_("Your server does not answer me just now. Reload this page in a moment, or send me: connect"),
    "no_web_address": N_(
        "To ask Bluesky for your consent I need a web address of my own, and my operator has not given me one yet. Until "
        "then, follow by hand: contacts shows whom."
    ),
}


@dataclass(frozen=True, slots=True)
class Granted:
    """A consent that was just given.

    `account_id` asked for it (None: it was asked for the person at large), `actor` gave it. `secret` is the JSON of
    the tokens. A server may grant less than was asked: `may_follow`, `may_undo`.
    """

    person_id: int
    account_id: str | None
    network: NetworkName
    actor: str
    handle: str
    issuer: str
    scope: str
    secret: str
    may_follow: bool
    may_undo: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a consent: whether it is kept, and what its owner is told."""

    kept: bool
    text: str


@command(
    "connect",
    N_("Let me follow on your behalf (you consent on your own server; I never see a password)"),
    fr=("connecter", "autoriser"),
    ar=("ربط", "اربط", "إذن", "اذن"),
    example="connect mastodon.social",
)
async def connect(ctx: Context, server_or_handle: Rest | None = None) -> str:
    """Send the person where consent is given: through a one-time page or, without a web address, by a code."""
    where = (server_or_handle or "").strip()
    link = await link_for(ctx)
    if link is not None:
        return ctx.text(
            "Open this page to let me follow on your behalf. You consent on your own server, and can take it back at "
            "any time (send: disconnect). The link is for you alone, works once and expires in {time}:\n{link}",
            link=f"{link}?where={quote(where)}" if where else link,
            time=ctx.texts.span(ctx.settings.link_lifetime),
        )
    if _CODE.fullmatch(where):
        return await _finish(ctx, where)
    server = _server_meant(ctx, where)
    if server is None:
        return ctx.text(
            "To ask Bluesky for your consent I need a web address of my own, and my operator has not given me one yet. "
            "For Mastodon it works: send me connect and the name of your server, for example: connect mastodon.social"
        )
    await _promise(ctx, {"step": "begin", "network": NetworkName.MASTODON.value, "server": server})
    return ctx.text("I am asking {server} for its consent page; its address comes next.", server=_quoted(server))


async def link_for(ctx: Context) -> str | None:
    """Make a fresh one-time link to the consent page; None where Reflock has no web address."""
    return await one_time.link(ctx, Purpose.CONNECT)


async def begun(ctx: Context, url: str) -> str:
    """Give the address of the server's consent page, and wait for the code that it shows."""
    expires_at = ctx.now + ctx.settings.question_lifetime
    await questions.ask(ctx.connection, ctx.account.id, CODE_QUESTION, {}, expires_at)
    return ctx.text(
        "Open this page and allow Reflock to follow on your behalf. It then shows a code: send me that code within "
        "{time}.\n{url}",
        url=url,
        time=ctx.texts.span(ctx.settings.question_lifetime),
    )


async def code_answer(ctx: Context, _question: Question, words: str) -> str | None:
    """Take the code that a consent page showed; anything else is no answer."""
    # Punctuation was taken off the words, but a code may begin or end with a dash or an underscore.
    pasted = [word for word in (ctx.heard.text if ctx.heard else words).split() if _CODE.fullmatch(word)]
    return await _finish(ctx, pasted[0]) if len(pasted) == 1 else None


ANSWERS: Final[Mapping[str, Answer]] = {CODE_QUESTION: code_answer}


async def _finish(ctx: Context, code: str) -> str:
    await questions.drop(ctx.connection, ctx.account.id)
    # The code is as good as a password until it is used, so it is not written down in clear.
    await _promise(ctx, {"step": "finish", "code": ctx.world.keys.encrypt(code).decode("ascii")})
    return ctx.text("Thank you. I am handing the code to your server.")


async def _promise(ctx: Context, payload: Mapping[str, str]) -> None:
    promise = Promise(
        kind=DeliveryKind.CONSENT,
        key=f"{ctx.about}:consent",
        lane=lanes.ask_lane(ctx.account.id),
        payload=payload,
        network=NetworkName.MASTODON,
        person_id=ctx.person.id,
        account_id=ctx.account.id,
    )
    await deliveries.promise(ctx.connection, [promise], ctx.now)


def _server_meant(ctx: Context, where: str) -> str | None:
    """Return the Mastodon-API server that is meant; None for Bluesky."""
    word = where.lower().lstrip("@")
    if word in ("", "mastodon"):
        if ctx.account.network is NetworkName.BLUESKY:
            return None
        _, _, host = ctx.account.handle.lstrip("@").partition("@")
        return host or urlsplit(ctx.account.id).netloc
    return None if is_on_bluesky(ctx.account, where) else where


def is_on_bluesky(account: Account, where: str) -> bool:
    """Tell whether words typed by the owner of an account mean Bluesky; a domain alone may as well be a server's."""
    word = where.lower().lstrip("@")
    named = word == "bluesky" or word.startswith("did:") or word.endswith((".bsky.social", "bsky.app"))
    return named or (account.network is NetworkName.BLUESKY and word == account.handle.lower().lstrip("@"))


def _quoted(server: str) -> str:
    """Return a typed server so that nobody is addressed by it."""
    return server.rpartition("@")[2][:80]


async def granted(ctx: Context, granted: Granted) -> Taken:
    """Take a consent in, from the web or by a code; say what may happen now, or what is missing.

    A consent proves who holds an account, so one that nobody has spoken from becomes the person's own. It does not
    join two persons whom we know: the link may have been somebody else's, and `link` asks both sides.
    """
    account = await accounts.attach(
        ctx.connection, granted.network, granted.actor, granted.handle, ctx.person.id, ctx.now
    )
    name = plain_name(account)
    if account.person_id != ctx.person.id:
        if await _access_of(ctx, account.id) != json.loads(granted.secret).get("access"):
            await _promise_revoke(ctx, account, ctx.world.keys.encrypt(granted.secret))
        return Taken(
            kept=False,
            text=ctx.text(
                "{account} has spoken to me already, as a person of its own, so I do not take its consent from here. If "
                "both accounts are yours, join them first: send me link from here, and the code that I answer from "
                "there. Then: connect",
                account=name,
            ),
        )
    if not granted.may_follow:
        await _promise_revoke(ctx, account, ctx.world.keys.encrypt(granted.secret))
        return Taken(
            kept=False,
            text=ctx.text(
                "You allowed me less than I need for {account}: the right to follow is missing, so I gave the rest back. "
                "To try again, send me connect and leave the box for follows ticked.",
                account=name,
            ),
        )
    await _end_former(ctx, account, granted.secret)
    await grants.keep(
        ctx.connection,
        ctx.world.keys,
        person_id=ctx.person.id,
        account_id=account.id,
        network=granted.network,
        issuer=granted.issuer,
        scope=granted.scope,
        secret=granted.secret,
        now=ctx.now,
    )
    lines = [ctx.text("Thank you: from now on I may follow for you as {account}.", account=name)]
    if not granted.may_undo:
        lines.append(ctx.text("You did not allow me to unfollow, so undo will not work there. connect asks again."))
    what_now = await follows.consented(ctx)
    lines.append(what_now or ctx.text("I follow only when you say so (follow, auto on). To end it: disconnect."))
    return Taken(kept=True, text="\n".join(lines))


async def _access_of(ctx: Context, account_id: str) -> str | None:
    """Return the access token of an account's present consent: Mastodon gives the same one again."""
    grant = await grants.of_account(ctx.connection, account_id)
    return None if grant is None else _access(ctx, grant.secret)


async def _end_former(ctx: Context, account: Account, secret: str) -> None:
    """Promise the end of an earlier consent. Mastodon may have given the same token again: that one must live on."""
    access = json.loads(secret).get("access")
    before = await grants.of_account(ctx.connection, account.id)
    if before is not None and _access(ctx, before.secret) not in (None, access):
        await _promise_revoke(ctx, account, before.secret)
    for number, _network, ending in await grants.revocations(ctx.connection, [lanes.act_lane(account.id)]):
        if _access(ctx, ending) == access:
            await deliveries.cancel(ctx.connection, ctx.now, delivery.c.id == number)


def _access(ctx: Context, secret: bytes) -> str | None:
    """Return the access token inside an encrypted secret; None when there is none to be read."""
    try:
        return str(json.loads(ctx.world.keys.decrypt(secret))["access"])
    except (LostSecretError, KeyError, ValueError):
        return None


async def lost(ctx: Context, account_id: str) -> None:
    """Note that an issuer has ended a consent, and tell the person, once, how to give it anew."""
    grant = await grants.of_account(ctx.connection, account_id)
    if grant is None or grant.state is not GrantState.ACTIVE:
        return
    await grants.set_state(ctx.connection, grant, GrantState.LOST)
    waiting, begun = await _cancel_follows(ctx, account_id)
    account = await accounts.get(ctx.connection, account_id)
    if account is None:
        return
    gone = account

    def say(texts: Texts, _reader: Account) -> str:
        lines = [
            texts.text(
                N_("{network} no longer lets me follow as {account}: your consent there has ended."),
                network=NETWORKS[gone.network],
                account=plain_name(gone),
            )
        ]
        if waiting:
            lines.append(texts.plural("{n} follow waits for it.", "{n} follows wait for it.", waiting))
        lines += _of_begun(texts, begun)
        lines.append(texts.text(N_("To give it anew, send me: connect. To leave it at that, do nothing.")))
        return "\n".join(lines)

    await contests.tell_person(ctx, grant.person_id, say)


@command(
    "disconnect",
    N_("Take your consent back: I follow nobody for you any more"),
    fr=("déconnecter", "deconnecter"),
    ar=("فصل", "افصل", "سحب الإذن", "سحب الاذن", "إلغاء الربط", "الغاء الربط"),
    example="disconnect mastodon",
)
async def disconnect(ctx: Context, network: Literal["bluesky", "mastodon"] | None = None) -> str:
    """End consents at once here, and promise to end them at their issuers."""
    given = [grant for grant in (await held(ctx)).values() if network in (None, grant.network.value)]
    if given:
        return await _end(ctx, given)
    if network is None:
        return ctx.text(_NOTHING_TO_END)
    return ctx.text(
        "You have given me no consent on {network}, so there is nothing to end there.",
        network=NETWORKS[NetworkName(network)],
    )


async def disconnect_account(ctx: Context, account_id: str) -> str:
    """End the consent of one of the person's accounts, as `disconnect` ends those of a network."""
    given = (await held(ctx)).get(account_id)
    return await _end(ctx, [given]) if given is not None else ctx.text(_NOTHING_TO_END)


async def held(ctx: Context) -> dict[str, Grant]:
    """Return the person's consents that we have not ended, by account; a lost one is among them."""
    of_person = await grants.of_person(ctx.connection, ctx.person.id)
    return {grant.account_id: grant for grant in of_person if grant.state is not GrantState.ENDED}


def describe(texts: Texts, grant: Grant, account: Account) -> str:
    """Say in a line how the consent of an account stands, and since when."""
    name = plain_name(account)
    if grant.state is GrantState.LOST:
        return texts.text(N_("{account}: your server has ended this consent, so I follow nobody there"), account=name)
    since = texts.moment(grant.created_at)
    return texts.text(N_("{account}: I may follow for you since {moment}"), account=name, moment=since)


async def _end(ctx: Context, given: Sequence[Grant]) -> str:
    waiting, begun, names = 0, 0, []
    for grant in given:
        account = await accounts.get(ctx.connection, grant.account_id)
        cancelled, of_these_begun = await _cancel_follows(ctx, grant.account_id)
        waiting += cancelled
        begun += of_these_begun
        if account is not None:
            names.append(plain_name(account))
            await _promise_revoke(ctx, account, grant.secret, grant)
        await grants.set_state(ctx.connection, grant, GrantState.ENDED)
    lines = [
        ctx.text(
            "Done: I no longer follow as {accounts}, and I end your consent there too.",
            accounts=ctx.texts.listing(names),
        )
    ]
    if waiting:
        lines.append(
            ctx.plural("{n} follow still to come is cancelled.", "{n} follows still to come are cancelled.", waiting)
        )
    lines += _of_begun(ctx.texts, begun)
    lines.append(ctx.text("Whom you follow already you keep following. To begin again, send me: connect"))
    return "\n".join(lines)


async def _cancel_follows(ctx: Context, account_id: str) -> tuple[int, int]:
    """Cancel what was still to be done as an account; return how many follows that were, and how many of them begun."""
    mine = delivery.c.account_id == account_id
    await deliveries.cancel(ctx.connection, ctx.now, mine, delivery.c.kind == DeliveryKind.UNFOLLOW.value)
    to_follow = (mine, delivery.c.kind == DeliveryKind.FOLLOW.value)
    fresh = await deliveries.cancel(ctx.connection, ctx.now, *to_follow, deliveries.NOT_BEGUN)
    begun = await deliveries.cancel(ctx.connection, ctx.now, *to_follow)
    return fresh + begun, begun


def _of_begun(texts: Texts, begun: int) -> list[str]:
    """Say how many of the cancelled follows may have been made all the same."""
    if not begun:
        return []
    return [
        texts.plural(
            "{n} was begun already: no answer came, so I cannot tell whether it was made.",
            "{n} were begun already: no answer came, so I cannot tell whether they were made.",
            begun,
        )
    ]


async def _promise_revoke(ctx: Context, account: Account, secret: bytes, grant: Grant | None = None) -> None:
    """Promise to end a consent at its issuer; the encrypted secret goes with the promise, because ours is erased."""
    moment = f"{grant.id}:{grant.created_at}" if grant else ctx.about
    promise = Promise(
        kind=DeliveryKind.REVOKE,
        key=f"revoke:{account.id}:{moment}",
        lane=lanes.act_lane(account.id),
        payload={"secret": secret.decode("ascii")},
        network=account.network,
        person_id=ctx.person.id,
        account_id=account.id,
    )
    await deliveries.promise(ctx.connection, [promise], ctx.now)


async def give_back(connection: "AsyncConnection", network: NetworkName, secret: bytes, now: int) -> None:
    """Promise to end a consent, by its encrypted secret, whose account or person we no longer know."""
    name = new_token()
    lane = lanes.act_lane(f"late:{name}")
    promise = Promise(
        kind=DeliveryKind.REVOKE,
        key=f"late:{name}:revoke",
        lane=lane,
        payload={"secret": secret.decode("ascii")},
        network=network,
    )
    await deliveries.promise(connection, [promise], now)


async def refused(ctx: Context, reason: str) -> str:
    """Say why a consent that was asked for by DM did not come about, and what to do."""
    if reason == "consent_expired":  # most often a code that was not copied whole: it may be sent again
        await questions.ask(ctx.connection, ctx.account.id, CODE_QUESTION, {}, ctx.now + ctx.settings.question_lifetime)
        return ctx.text(
            "Your server does not take that code: it is mistyped, used, or too old. Copy it once more, whole, and send "
            "it to me; or begin again with: connect"
        )
    return problem(ctx.texts, reason)


def problem(texts: Texts, reason: str) -> str:
    """Say why a consent did not come about, and what to do; `reason` is that of the refusal."""
    known = _PROBLEMS.get(reason)
    if known is not None:
        return texts.text(known)
    return texts.text(
        N_("The server did not take my request for consent ({reason}). Try again later, with: connect"), reason=reason
    )
