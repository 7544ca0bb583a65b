"""Give people everything that is held about them, and forget them when they say so."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

from handlers import batches, contests, one_time
from handlers.context import Context, JsonObject
from handlers.names import plain_name, x_name
from handlers.routing import Answer, command
from handlers.texts import N_
from handlers.words import agreed
from storage import accounts, claims, deliveries, overview, privacy, questions
from storage.codes import Purpose
from storage.deliveries import Promise
from storage.keys import new_token
from storage.privacy import Forgotten, retention, wipe
from storage.records import Account, ClaimState, DeliveryKind, DeliveryState, Direction, Question

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["ANSWERS", "everything", "export", "forget_me", "forget_now", "retention", "wipe"]

FORGET_QUESTION: Final = "forget"
# Within this time the bytes are off the disk too: see `storage.privacy.retention` and `wipe`.
_WIPED_WITHIN: Final = 2 * 86_400_000


@command("export", N_("Get everything I hold about you"), fr=("exporter", "mes données", "mes donnees"))
async def export(ctx: Context) -> str:
    """Give a one-time link to everything that is held or, without a web address, a readable summary."""
    link = await one_time.link(ctx, Purpose.EXPORT)
    if link is None:
        return await _summary(ctx)
    return ctx.text(
        "Here is everything I hold about you, as a file. The link is for you alone, works once and expires in {time}:\n"
        "{link}",
        link=link,
        time=ctx.texts.span(ctx.settings.link_lifetime),
    )


async def everything(connection: "AsyncConnection", person_id: int, now: int) -> JsonObject:
    """Return everything that is held about a person, as JSON values."""
    return {"exported_at": privacy.moment(now), **await privacy.held(connection, person_id)}


async def _summary(ctx: Context) -> str:
    connection, person, texts = ctx.connection, ctx.person, ctx.texts
    mine = (await accounts.accounts_of(connection, [person.id]))[person.id]
    claimed = [each for each in await claims.of_person(connection, person.id) if each.state is not ClaimState.WITHDRAWN]
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
        ctx.text("Known since: {moment}", moment=texts.moment(person.created_at)),
        ctx.text(
            "Of your messages I keep only that they came, and when. What they said I keep of reports, and, encrypted, of "
            "those that I failed to handle."
        ),
        ctx.text("To have all of it removed, send me: forget me"),
    ]
    return "\n".join(lines)


@command(
    "forget me",
    N_("Remove everything I hold about you"),
    en=("forget", "delete me"),
    fr=("oublie-moi", "oubliez-moi", "oublier"),
    when_stopped=True,
)
async def forget_me(ctx: Context, sure: Literal["yes", "oui"] | None = None) -> str | None:
    """Ask before everything is removed; with a yes in the command itself, remove it."""
    if sure is not None:
        await forget_now(ctx)
        return None
    mine = (await accounts.accounts_of(ctx.connection, [ctx.person.id]))[ctx.person.id]
    question = ctx.text(
        "Shall I remove everything I hold about {accounts}: claims, lists, consents, decisions? Nobody will hear of you "
        "through me any more, and it cannot be undone. Whom you follow already you keep following.",
        accounts=ctx.texts.listing([plain_name(each) for each in mine]),
    )
    if ctx.person.stopped:  # of somebody who said stop only commands are heard, no answers
        return question + "\n" + ctx.text("If so, send me: forget me yes")
    expires_at = ctx.now + ctx.settings.question_lifetime
    await questions.ask(ctx.connection, ctx.account.id, FORGET_QUESTION, {}, expires_at)
    return question + "\n" + ctx.text("Answer yes or no.")


async def forget_answer(ctx: Context, _question: Question, words: str) -> str | None:
    """Remove everything on a yes; keep everything on a no; anything else is no answer."""
    sure = agreed(words)
    if sure is None:
        return None
    if not sure:
        await questions.drop(ctx.connection, ctx.account.id)
        return ctx.text("Good: nothing was removed.")
    await forget_now(ctx)
    return ""  # the farewell is promised already, in a way that outlives the account


ANSWERS: Final[Mapping[str, Answer]] = {FORGET_QUESTION: forget_answer}


async def forget_now(ctx: Context) -> None:
    """Remove the person of this event, promise the end of their grants and a last word.

    The context's account and person are gone afterwards.
    """
    account, thread = ctx.account, ctx.heard.thread if ctx.heard and not ctx.heard.public else ctx.account.thread
    name = new_token()
    # What is promised from here on must not name who is gone.
    ctx.about = f"forgotten:{name}"
    forgotten = await privacy.forget(ctx.connection, ctx.world.keys, ctx.person.id, ctx.now)
    await deliveries.promise(
        ctx.connection, [*_revocations(forgotten, name), _farewell(ctx, name, account, thread)], ctx.now
    )
    for batch_id, person_id in forgotten.batches:
        await batches.progress_of(ctx, person_id, batch_id)
    await contests.announce(ctx, forgotten.freed)
    await contests.tell_each(ctx, forgotten.freed)


def _revocations(forgotten: Forgotten, name: str) -> list[Promise]:
    return [
        Promise(
            kind=DeliveryKind.REVOKE,
            key=f"forgotten:{name}:revoke:{number}",
            lane=f"act:forgotten:{name}",
            payload={"secret": secret.decode("ascii")},
            network=network,
        )
        for number, (network, secret) in enumerate(forgotten.secrets)
    ]


def _farewell(ctx: Context, name: str, account: Account, thread: str | None) -> Promise:
    """Make the last word. It carries its address itself, until it is delivered, because the account is gone."""
    text = ctx.text(
        "Done. I no longer know you: everything is removed, and off my disk within {time}. The consents you gave me are "
        "being ended. If you write to me again, we begin anew. Farewell!",
        time=ctx.texts.span(_WIPED_WITHIN),
    )
    return Promise(
        kind=DeliveryKind.REPLY,
        key=f"forgotten:{name}:farewell",
        lane=f"say:forgotten:{name}",
        payload={
            "text": text,
            "language": ctx.texts.language,
            "thread": thread,
            "public": False,
            "ack": False,
            "actor": account.id,
            "handle": account.handle,
        },
        network=account.network,
    )
