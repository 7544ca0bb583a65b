"""Give people everything that is held about them, and forget them when they say so."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

from handlers import batches, contests, held, one_time
from handlers.context import Context, JsonObject
from handlers.names import plain_name
from handlers.routing import Answer, command
from handlers.texts import N_, Texts
from handlers.words import agreed
from storage import accounts, deliveries, lanes, privacy, questions
from storage.codes import Purpose
from storage.deliveries import Promise
from storage.keys import new_token
from storage.privacy import Forgotten, retention, wipe
from storage.records import Account, DeliveryKind, Question

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = [
    "ANSWERS",
    "everything",
    "export",
    "farewell",
    "forget_me",
    "forget_now",
    "retention",
    "what_goes",
    "wipe",
    "wiped_within",
]

FORGET_QUESTION: Final = "forget"
# Within this time the bytes are off the disk too: see `storage.privacy.retention` and `wipe`.
_WIPED_WITHIN: Final = 2 * 86_400_000


@command(
    "export",
    N_("Get everything I hold about you"),
    fr=("exporter", "mes données", "mes donnees"),
    ar=("تصدير", "بياناتي"),
)
async def export(ctx: Context) -> str:
    """Give a one-time link to everything that is held or, without a web address, a readable summary."""
    link = await one_time.link(ctx, Purpose.EXPORT)
    if link is None:
        return await held.summary(ctx)
    return ctx.text(
        "This page shows everything I hold about you, and gives it out as a file. The link is for you alone, works once and "
        "expires in {time}:\n"
        "{link}",
        link=link,
        time=ctx.texts.span(ctx.settings.link_lifetime),
    )


async def everything(connection: "AsyncConnection", person_id: int, now: int) -> JsonObject:
    """Return everything that is held about a person, as JSON values."""
    return {"exported_at": privacy.moment(now), **await privacy.held(connection, person_id)}


@command(
    "forget me",
    N_("Remove everything I hold about you"),
    en=("forget", "delete me"),
    fr=("oublie-moi", "oubliez-moi", "oublier"),
    ar=("انسني", "امح بياناتي", "احذف بياناتي", "حذف بياناتي"),
    when_stopped=True,
)
async def forget_me(ctx: Context, sure: Literal["yes", "oui", "نعم"] | None = None) -> str | None:
    """Ask before everything is removed; with a yes in the command itself, remove it."""
    if sure is not None:
        await forget_now(ctx)
        return None
    question = await what_goes(ctx)
    if ctx.person.stopped:  # of somebody who said stop only commands are heard, no answers
        return question + "\n" + ctx.text("If so, send me: forget me yes")
    expires_at = ctx.now + ctx.settings.question_lifetime
    await questions.ask(ctx.connection, ctx.account.id, FORGET_QUESTION, {}, expires_at)
    return question + "\n" + ctx.text("Answer yes or no.")


async def what_goes(ctx: Context) -> str:
    """Ask whether everything is to be removed, and say what that means."""
    mine = await accounts.of_person(ctx.connection, ctx.person.id)
    return ctx.text(
        "Shall I remove everything I hold about {accounts}: claims, lists, consents, decisions? Nobody will hear of you "
        "through me any more, and it cannot be undone. Whom you follow already you keep following.",
        accounts=ctx.texts.listing([plain_name(each) for each in mine]),
    )


def wiped_within(texts: Texts) -> str:
    """Say how soon what is removed is off the disk, too."""
    return texts.text(
        N_("It is gone at once, and off my disk within {time}. The consents you gave me are ended at their servers."),
        time=texts.span(_WIPED_WITHIN),
    )


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
    last_word = _last_word(ctx, name, account, thread)
    await deliveries.promise(ctx.connection, [*_revocations(forgotten, name), last_word], ctx.now)
    for batch_id, person_id in forgotten.batches:
        await batches.progress_of(ctx, person_id, batch_id)
    await contests.announce(ctx, forgotten.freed)
    await contests.tell_each(ctx, forgotten.freed)


def farewell(texts: Texts) -> str:
    """Say the last word to somebody who is forgotten."""
    return texts.text(
        N_(
            "Done. I no longer know you: everything is removed, and off my disk within {time}. The consents you gave me "
            "are being ended. If you write to me again, we begin anew. Farewell!"
        ),
        time=texts.span(_WIPED_WITHIN),
    )


def _revocations(forgotten: Forgotten, name: str) -> list[Promise]:
    return [
        Promise(
            kind=DeliveryKind.REVOKE,
            key=f"forgotten:{name}:revoke:{number}",
            lane=lanes.act_lane(f"forgotten:{name}"),
            payload={"secret": secret.decode("ascii")},
            network=network,
        )
        for number, (network, secret) in enumerate(forgotten.secrets)
    ]


def _last_word(ctx: Context, name: str, account: Account, thread: str | None) -> Promise:
    """Make the last word. It carries its address itself, until it is delivered, because the account is gone."""
    return Promise(
        kind=DeliveryKind.REPLY,
        key=f"forgotten:{name}:farewell",
        lane=lanes.say_lane(account.network, f"forgotten:{name}"),
        payload={
            "text": farewell(ctx.texts),
            "language": ctx.texts.language,
            "thread": thread,
            "public": False,
            "ack": False,
            "actor": account.id,
            "handle": account.handle,
        },
        network=account.network,
    )
