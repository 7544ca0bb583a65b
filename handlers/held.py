"""Say in words what is held about somebody: in one message, or part by part on a page."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from handlers import consents, contests
from handlers.context import Context
from handlers.names import NETWORKS, plain_name, x_name
from handlers.texts import N_, Texts
from storage import accounts, claims, decisions, links, messages, overview
from storage.records import Account, Choice, Claim, ClaimState, DeliveryState, Direction, Upload

_MESSAGES_KEPT: Final = N_(
    "Of your messages I keep only that they came, and when. What they said I keep of reports, and, encrypted, of "
    "those that I failed to handle."
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of what is held about somebody: what it is, and what there is of it, line by line."""

    title: str
    lines: list[str]


async def summary(ctx: Context) -> str:
    """Sum up in one message what is held about a person."""
    connection, person, texts = ctx.connection, ctx.person, ctx.texts
    mine = await accounts.of_person(connection, person.id)
    claimed = await _claimed(ctx)
    sums = await overview.of_person(connection, person.id)
    consented = [each for each in mine if each.id in sums.granted]
    none = ctx.text("none")
    lines = [
        ctx.text("This is what I hold about you."),
        ctx.text("Accounts: {accounts}", accounts=texts.listing([plain_name(each) for each in mine])),
        ctx.text(
            "Old X accounts: {accounts}",
            accounts=texts.listing([x_name(each.x_handle, ctx.account.network) for each in claimed]) or none,
        ),
        ctx.text(
            "Lists: {following} you followed, {followers} who followed you, kept as pseudonyms that name nobody",
            following=texts.number(sums.lists.get(Direction.FOLLOWING, 0)),
            followers=texts.number(sums.lists.get(Direction.FOLLOWERS, 0)),
        ),
        ctx.text(
            "Consents (encrypted): {accounts}",
            accounts=texts.listing([plain_name(each) for each in consented]) or none,
        ),
        ctx.text("Follows made for you: {n}", n=texts.number(sums.follows.get(DeliveryState.DONE, 0))),
        ctx.text("Language: {language}", language=person.language or ctx.texts.language),
        ctx.text("Known since: {moment}", moment=_day(texts, person.created_at)),
        ctx.text(_MESSAGES_KEPT),
        ctx.text("To have all of it removed, send me: forget me"),
    ]
    return "\n".join(lines)


async def _claimed(ctx: Context) -> list[Claim]:
    held = await claims.of_person(ctx.connection, ctx.person.id)
    return [each for each in held if each.state is not ClaimState.WITHDRAWN]


async def in_words(ctx: Context) -> list[Part]:
    """Say part by part what is held about a person; the file that `everything` fills says it to the last field."""
    connection, person = ctx.connection, ctx.person
    mine = await accounts.of_person(connection, person.id)
    given = await consents.held(ctx)
    consented = [consents.describe(ctx.texts, given[each.id], each) for each in mine if each.id in given]
    parts = [
        Part(ctx.text("Accounts"), [_account(ctx, each) for each in mine]),
        Part(ctx.text("Old X accounts"), [contests.describe(ctx, each) for each in await _claimed(ctx)]),
        Part(ctx.text("Lists"), [_list(ctx, each) for each in await links.uploads_of(connection, person.id)]),
        Part(ctx.text("Consents"), consented),
        Part(ctx.text("Decisions"), await _decided(ctx)),
        Part(ctx.text("Messages"), await _messages(ctx, mine)),
    ]
    return [Part(each.title, each.lines or [ctx.text("none")]) for each in parts]


def _day(texts: Texts, milliseconds: int) -> str:
    """Write the day of a moment (epoch milliseconds), in UTC, as the language does."""
    from babel.dates import format_date

    return format_date(datetime.fromtimestamp(milliseconds / 1000, UTC), locale=texts.language)


def _account(ctx: Context, account: Account) -> str:
    return ctx.text(
        "{account} ({network}), known since {moment}",
        account=plain_name(account),
        network=NETWORKS[account.network],
        moment=_day(ctx.texts, account.created_at),
    )


def _list(ctx: Context, held: Upload) -> str:
    moment = _day(ctx.texts, held.created_at)
    if held.direction is Direction.FOLLOWERS:
        return ctx.plural(
            "{n} account that followed you, from your archive, {moment}",
            "{n} accounts that followed you, from your archive, {moment}",
            held.n,
            moment=moment,
        )
    if held.source == links.TYPED:
        return ctx.plural(
            "{n} account you followed, typed by you, {moment}",
            "{n} accounts you followed, typed by you, {moment}",
            held.n,
            moment=moment,
        )
    return ctx.plural(
        "{n} account you followed, from your archive, {moment}",
        "{n} accounts you followed, from your archive, {moment}",
        held.n,
        moment=moment,
    )


async def _decided(ctx: Context) -> list[str]:
    chosen = Counter((await decisions.of_person(ctx.connection, ctx.person.id)).values())
    made = (await overview.of_person(ctx.connection, ctx.person.id)).follows.get(DeliveryState.DONE, 0)
    lines = []
    if n := chosen[Choice.FOLLOW]:
        lines.append(ctx.plural("{n} person you chose to follow", "{n} people you chose to follow", n))
    if n := chosen[Choice.SKIP]:
        lines.append(ctx.plural("{n} person you left out", "{n} people you left out", n))
    return [*lines, ctx.text("Follows made for you: {n}", n=ctx.texts.number(made))]


async def _messages(ctx: Context, mine: list[Account]) -> list[str]:
    came = sum((await messages.answered_to(ctx.connection, [each.id for each in mine], since=0)).values())
    return [ctx.plural("{n} message of yours", "{n} messages of yours", came), ctx.text(_MESSAGES_KEPT)]
