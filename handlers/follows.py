"""follow, auto, undo: a preview, a yes, and then it goes, on every network for which there is a consent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from handlers.batches import undo_done
from handlers.contacts import nobody_yet, not_open_yet, selected
from handlers.context import Context
from handlers.following import Plan, how_long, plan, promise_steps, time_for
from handlers.matching import Contact, contacts
from handlers.names import NETWORKS, name_of
from handlers.notices import look_anew
from handlers.routing import Answer, command
from handlers.texts import N_
from handlers.words import Selection, agreed
from storage import accounts, decisions, deliveries, follows, grants, questions
from storage.follows import Batch
from storage.records import Account, Choice, DeliveryKind, Question
from storage.tables import delivery

_FOLLOW: Final = "follow"
_UNDO: Final = "undo"
_EVERYTHING: Final = Selection(everything=True)
_NAMED: Final = 5


@command(
    "follow",
    N_("Follow the people who are here, on your behalf: first a preview, then your yes"),
    fr=("suivre", "suis"),
    ar=("متابعة", "تابع", "تابعي"),
    example="follow 1 3 5-9",
)
async def follow(ctx: Context, who: Selection = _EVERYTHING) -> str | None:
    """Show what would be followed, and ask."""
    if (closed := not_open_yet(ctx)) is not None:
        return closed
    found = await contacts(ctx)
    if not found:
        return await nobody_yet(ctx)
    if who.everything:
        chosen = everybody(found)
        unsure = [each for each in found if not each.sure and each.choice is None]
        problem = None
    else:
        chosen, problem = await selected(ctx, found, who)
        unsure = []
    planned = await plan(ctx, chosen, retry=True)
    lines = [problem] if problem else []
    lines += await _preview(ctx, planned)
    if unsure:
        lines.append(
            ctx.plural(
                "{n} more is less sure, so follow all leaves it out: choose it by its number, which contacts shows.",
                "{n} more are less sure, so follow all leaves them out: choose them by number, as contacts shows them.",
                len(unsure),
            )
        )
    if planned.steps or planned.unreached:
        wanted = [each.person_id for each in (*planned.contacts, *planned.unreached)]
        expires_at = ctx.now + ctx.settings.question_lifetime
        await questions.ask(ctx.connection, ctx.account.id, _FOLLOW, {"contacts": wanted}, expires_at)
        lines.append(
            ctx.text("Shall I? Answer yes or no.")
            if planned.steps
            else ctx.text("Shall I, as soon as I have it? Answer yes or no.")
        )
    return "\n".join(lines)


def everybody(found: Iterable[Contact]) -> list[Contact]:
    """Return whom `follow all` means: everybody who is sure and was not left out."""
    return [each for each in found if each.sure and each.choice is not Choice.SKIP]


async def preview_in_short(ctx: Context, planned: Plan) -> list[str]:
    """Say how many would be followed where, how long it takes, and what a consent is missing for."""
    counts = [
        ctx.plural("{n} on {network}", "{n} on {network}", len(steps), network=NETWORKS[network])
        for network in sorted(planned.granted)
        if (steps := planned.on(network))
    ]
    lines = [ctx.text("I would follow for you: {counts}.", counts=ctx.texts.listing(counts))] if counts else []
    lines += await _time_and_rest(ctx, planned)
    return lines or [ctx.text("Nobody is chosen. Tick whom I shall follow for you.")]


async def _preview(ctx: Context, planned: Plan) -> list[str]:
    lines = []
    for network in sorted(planned.granted):
        if not (steps := planned.on(network)):
            continue
        lines.append(
            ctx.plural(
                "I would follow {n} account for you on {network}: {names}.",
                "I would follow {n} accounts for you on {network}, mutuals first: {names}.",
                len(steps),
                network=NETWORKS[network],
                names=_names(ctx, [step.theirs for step in steps]),
            )
        )
    lines += await _time_and_rest(ctx, planned)
    if planned.unreached:
        lines.append(await _how_to_consent(ctx))
    return lines


async def _time_and_rest(ctx: Context, planned: Plan) -> list[str]:
    """Say how long the planned steps take, and what becomes of the contacts for whom there are none."""
    lines = []
    if planned.steps:
        lines.append(how_long(ctx, await time_for(ctx, planned.steps)))
    if planned.standing:
        n = len(planned.standing)
        lines.append(
            ctx.plural("{n} other is followed already, or will be.", "{n} others are followed already, or will be.", n)
            if planned.steps
            else ctx.plural(
                "{n} of them is followed already, or will be.", "{n} of them are followed already, or will be.", n
            )
        )
    if planned.unreached:
        networks = sorted({network for each in planned.unreached for network in each.networks})
        lines.append(
            ctx.plural(
                "{n} is on {networks}, where I do not have your consent yet.",
                "{n} are on {networks}, where I do not have your consent yet.",
                len(planned.unreached),
                networks=ctx.texts.listing([NETWORKS[network] for network in networks]),
            )
        )
    return lines


def _names(ctx: Context, named: Sequence[Account]) -> str:
    names = [name_of(ctx.account.network, each) for each in named[:_NAMED]]
    if (more := len(named) - _NAMED) > 0:
        return ctx.plural("{names} and {n} more", "{names} and {n} more", more, names=", ".join(names))
    return ctx.texts.listing(names)


async def _how_to_consent(ctx: Context) -> str:
    from handlers import consents  # a consent, once given, comes back here

    link = await consents.link_for(ctx)
    if link is None:
        return ctx.text("To give it, send me: connect")
    return ctx.text("Give it here, and nothing more is needed: {link}", link=link)


async def _follow_answered(ctx: Context, question: Question, words: str) -> str | None:
    sure = agreed(words)
    if sure is None:
        return None
    await questions.drop(ctx.connection, ctx.account.id)
    if not sure:
        return ctx.text("Good, I follow nobody. contacts shows the list, and follow 1 3 follows some of it.")
    wanted = set(json.loads(question.data)["contacts"])
    chosen = [each for each in await contacts(ctx) if each.person_id in wanted]
    if not chosen:
        return ctx.text("Those people are not here any more, so there is nobody to follow.")
    begun = await begin(ctx, chosen)
    return "\n".join([*begun.lines, await _how_to_consent(ctx)] if begun.lacks_consent else begun.lines)


@dataclass(frozen=True, slots=True)
class Begun:
    """What has begun: the batch of follows, None when there is nothing to follow now, and what is said of it."""

    batch_id: int | None
    lines: list[str]
    lacks_consent: bool


async def begin(ctx: Context, chosen: Sequence[Contact]) -> Begun:
    """Follow contacts as soon as it can be: at once, or when the consent for it is there."""
    await decisions.decide(ctx.connection, ctx.person.id, [each.person_id for each in chosen], Choice.FOLLOW, ctx.now)
    planned = await plan(ctx, chosen, retry=True)
    batch_id, lines = None, []
    if planned.steps:
        batch_id = await promise_steps(ctx, planned.steps, follows.CHOSEN)
        lines += [_begun(ctx, planned), how_long(ctx, await time_for(ctx))]
        lines.append(ctx.text("I tell you when it is done; undo takes it back."))
    if planned.unreached:
        n = len(planned.unreached)
        lines.append(
            ctx.plural(
                "I keep in mind that you want to follow {n} more: as soon as I have your consent, I do.",
                "I keep in mind that you want to follow {n} more: as soon as I have your consent, I do.",
                n,
            )
            if planned.steps
            else ctx.plural(
                "I have noted {n} person: I follow them as soon as I have your consent.",
                "I have noted these {n}: I follow them as soon as I have your consent.",
                n,
            )
        )
    nothing = ctx.text("They are all followed already, so there is nothing to do.")
    return Begun(batch_id, lines or [nothing], bool(planned.unreached))


def _begun(ctx: Context, planned: Plan) -> str:
    return ctx.plural(
        "Here we go: I follow {n} account for you.", "Here we go: I follow {n} accounts for you.", len(planned.steps)
    )


async def consented(ctx: Context) -> str | None:
    """Make the follows that were decided while the consent for them was missing; None when there are none."""
    if not_open_yet(ctx) is not None:
        return None
    chosen = [each for each in await contacts(ctx) if each.choice is Choice.FOLLOW]
    planned = await plan(ctx, chosen, retry=False)
    if not planned.steps:
        return None
    await promise_steps(ctx, planned.steps, follows.CHOSEN)
    return "\n".join([_begun(ctx, planned), how_long(ctx, await time_for(ctx))])


@command(
    "auto",
    N_("Follow proved newcomers without asking each time, or not"),
    fr=("automatique",),
    ar=("تلقائي", "تلقائيا", "تلقائيًا"),
    example="auto on",
)
async def auto(ctx: Context, on: bool | None = None) -> str | None:
    """Remember whether newcomers are followed without asking."""
    if on is None:
        return ctx.text(
            N_("auto is on: I follow proved newcomers at once. auto off ends it.")
            if ctx.person.auto
            else N_("auto is off: I follow nobody unless you say so. auto on lets me follow proved newcomers at once.")
        )
    before = ctx.person.auto
    await accounts.change(ctx.connection, ctx.person.id, auto=on)
    if not on:
        if not before:
            return ctx.text("auto is off already: I follow nobody unless you say so.")
        said = ctx.text("auto is off now: I tell you about newcomers, and follow them only when you say so.")
        cancelled = await follows.cancel_automatic(ctx.connection, ctx.person.id, ctx.now)
        if cancelled:
            said += "\n" + ctx.plural(
                "{n} follow still to come is cancelled.", "{n} follows still to come are cancelled.", cancelled
            )
        return said
    await look_anew(ctx)
    lines = [
        ctx.text("auto is on already: I follow proved newcomers at once, and tell you.")
        if before
        else ctx.text("auto is on now: I follow proved newcomers at once, and tell you. undo takes the last ones back.")
    ]
    if not await grants.active(ctx.connection, ctx.person.id):
        lines += [ctx.text("For that I need your consent."), await _how_to_consent(ctx)]
    return "\n".join(lines)


@command(
    "undo",
    N_("Take the last follows back, all of them"),
    fr=("annuler-tout", "défaire", "defaire"),
    ar=("تراجع", "التراجع", "إلغاء المتابعة", "الغاء المتابعة"),
)
async def undo(ctx: Context) -> str | None:
    """Ask before the last batch is taken back."""
    batch = await follows.last_batch(ctx.connection, ctx.person.id)
    preview = await undo_preview(ctx, batch) if batch else []
    if batch is None or not preview:
        return ctx.text("There is nothing to undo: no follow that I made for you still stands.")
    expires_at = ctx.now + ctx.settings.question_lifetime
    await questions.ask(ctx.connection, ctx.account.id, _UNDO, {"batch": batch.id}, expires_at)
    moment = ctx.text("The last follows are those of {moment}.", moment=ctx.texts.moment(batch.created_at))
    shall_i = ctx.text("Whom you followed before you keep following. Shall I? Answer yes or no.")
    return "\n".join([moment, *preview, shall_i])


async def undo_preview(ctx: Context, batch: Batch) -> list[str]:
    """Say what of a batch would be undone; nothing when there is nothing left."""
    made = await follows.of_batch(ctx.connection, batch.id)
    coming, done = sum(each.pending for each in made), sum(each.to_undo for each in made)
    lines = []
    if done:
        lines.append(
            ctx.plural(
                "I would unfollow {n} account that I followed.", "I would unfollow {n} accounts that I followed.", done
            )
        )
    if coming:
        lines.append(
            ctx.plural("I would cancel {n} follow still to come.", "I would cancel {n} follows still to come.", coming)
        )
    return lines


async def _undo_answered(ctx: Context, question: Question, words: str) -> str | None:
    sure = agreed(words)
    if sure is None:
        return None
    await questions.drop(ctx.connection, ctx.account.id)
    if not sure:
        return ctx.text("Good, everything stays as it is.")
    return await take_back(ctx, json.loads(question.data)["batch"])


async def take_back(ctx: Context, batch_id: int) -> str:
    """Undo a batch of the person's, and say what that comes to."""
    batch = await follows.lock_batch(ctx.connection, batch_id)
    if batch is None or batch.person_id != ctx.person.id or batch.undone_at is not None:
        return ctx.text("That was undone already.")
    made = await follows.of_batch(ctx.connection, batch_id)
    await follows.mark_undone(ctx.connection, batch_id, ctx.now)
    cancelled = await deliveries.cancel(
        ctx.connection,
        ctx.now,
        delivery.c.batch_id == batch_id,
        delivery.c.kind == DeliveryKind.FOLLOW.value,
        deliveries.NOT_BEGUN,
    )
    to_undo = await undo_done(ctx, batch_id)
    await decisions.withdraw(ctx.connection, ctx.person.id, {each.contact_id for each in made})
    lines = []
    if cancelled:
        lines.append(
            ctx.plural("{n} follow still to come is cancelled.", "{n} follows still to come are cancelled.", cancelled)
        )
    if to_undo:
        lines.append(ctx.plural("I am unfollowing {n} account.", "I am unfollowing {n} accounts.", to_undo))
    if sum(each.pending for each in made) > cancelled:
        lines.append(ctx.text("What is under way just now I take back as soon as it is through."))
    return "\n".join(lines) or ctx.text("There was nothing left to undo.")


async def progress(ctx: Context) -> str | None:
    """Say how far the follows are, for the status; None when there is nothing to come."""
    ahead = sum((await follows.pending(ctx.connection, ctx.person.id, [DeliveryKind.FOLLOW])).values())
    if not ahead:
        return None
    said = ctx.plural("{n} follow is still to come.", "{n} follows are still to come.", ahead)
    return f"{said} {how_long(ctx, await time_for(ctx))}"


ANSWERS: Final[Mapping[str, Answer]] = {_FOLLOW: _follow_answered, _UNDO: _undo_answered}
