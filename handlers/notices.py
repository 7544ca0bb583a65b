"""Tell people of newcomers: one row an arrival, worked off in bounded steps; one notice per newcomer, ever, by name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from handlers.cadence import SLOWER, after_quiet, next_look
from handlers.contacts import line
from handlers.context import Context, Speech, World
from handlers.following import plan, promise_steps
from handlers.matching import Contact, contacts
from handlers.routing import command
from handlers.texts import N_
from handlers.words import Hours
from storage import accounts, arrivals, claims, decisions, follows, links
from storage.arrivals import due_persons
from storage.keys import new_token
from storage.records import Cadence, Choice, Discoverable, Evidence

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = [
    "CADENCE",
    "DISCOVERABLE",
    "arrival_step",
    "discoverable",
    "due_persons",
    "look_anew",
    "newcomers",
    "notify",
    "quiet",
]

# Each is looked up by two keys in some 0.2 ms, while others wait for the write lock.
_ARRIVALS_A_STEP: Final = 100
_NAMED: Final = 20

_SLOWED: Final[Mapping[Cadence, str]] = {
    Cadence.DAILY: N_(
        "You have not written for a while, so from now on I write once a day at most. notify now undoes it."
    ),
    Cadence.WEEKLY: N_(
        "You have not written for a while, so from now on I write once a week at most. notify now undoes it."
    ),
    Cadence.OFF: N_("You have not written for a while, so this is my last notice. notify now brings them back."),
}
CADENCE: Final[Mapping[Cadence, str]] = {
    Cadence.NOW: N_("I tell you about newcomers as they arrive."),
    Cadence.DAILY: N_("I tell you about newcomers once a day, in the morning (UTC)."),
    Cadence.WEEKLY: N_("I tell you about newcomers once a week, on Monday morning (UTC)."),
    Cadence.OFF: N_("I do not tell you about newcomers; contacts shows them."),
}
DISCOVERABLE: Final[Mapping[Discoverable, str]] = {
    Discoverable.EVERYONE: N_("Everybody who followed you on X is told that you are here."),
    Discoverable.MUTUALS: N_("Only those who followed you on X and whom you followed are told that you are here."),
    Discoverable.OFF: N_("Nobody is told that you are here. You still find the others."),
}


async def arrival_step(connection: "AsyncConnection", world: World, now: int, limit: int = 500) -> bool:
    """Scan the next chunk of lists for the oldest open arrivals; tell whether there is more to do.

    All arrivals that stand at the same place are looked for in one pass. Who followed one of them is noted to be
    looked at when their turn comes: nothing is written per pair.
    """
    waiting = await arrivals.open_arrivals(connection, _ARRIVALS_A_STEP)
    if not waiting:
        return False
    slot = waiting[0].arrival.next_slot
    together = [each for each in waiting if each.arrival.next_slot == slot]
    keys = np.unique(np.concatenate([each.keys for each in together]))
    if not len(keys):
        await arrivals.advance(connection, [each.arrival.seq for each in together], None)
        return True
    found = await links.followers_of(connection, keys, after_slot=slot, limit=limit)
    own = together[0].arrival.person_id if len(together) == 1 else None
    persons = await accounts.persons(connection, {person_id for _, person_id in found.rows} - {own})
    settings = world.settings
    due = {
        person.id: at
        for person in persons.values()
        if (at := next_look(person, now, settings.notice_delay, settings.opens_at)) is not None
    }
    await arrivals.look_at(connection, due)
    await arrivals.advance(connection, [each.arrival.seq for each in together], found.next_slot)
    return True


async def newcomers(ctx: Context) -> None:
    """Tell the person of everybody who arrived since the last time, in one notice, and follow them if auto is on."""
    person, opens_at = ctx.person, ctx.settings.opens_at
    later = max(after_quiet(person, ctx.now), opens_at or 0)
    silent = person.cadence is Cadence.OFF
    if person.stopped or (silent and not person.auto):
        await accounts.change(ctx.connection, person.id, notice_due_at=None)
        return
    if later > ctx.now:
        await accounts.change(ctx.connection, person.id, notice_due_at=later)
        return
    newest = await arrivals.newest(ctx.connection)
    arrived = [
        each
        for each in await contacts(ctx)
        if (each.arrival_seq or 0) > person.seen_seq
        and each.evidence >= Evidence.POST
        and each.choice is not Choice.SKIP
    ]
    new = await arrivals.tell(ctx.connection, person.id, [each.person_id for each in arrived], ctx.now)
    await accounts.change(ctx.connection, person.id, seen_seq=max(newest, person.seen_seq), notice_due_at=None)
    told = [each for each in arrived if each.person_id in new]
    if not told:
        return
    following = await _follow_by_itself(ctx, told) if person.auto else 0
    if not silent:
        await _say(ctx, told, following)


async def _follow_by_itself(ctx: Context, told: list[Contact]) -> int:
    """Promise to follow those who are sure; return how many those are."""
    planned = await plan(ctx, [each for each in told if each.sure], retry=False)
    if planned.steps:
        await promise_steps(ctx, planned.steps, follows.AUTOMATIC)
    return len(planned.contacts)


async def _say(ctx: Context, told: list[Contact], following: int) -> None:
    named = told[:_NAMED]
    await decisions.keep_listing(ctx.connection, ctx.person.id, [each.person_id for each in told], ctx.now)
    lines = [
        ctx.plural(
            "{n} person you followed on X has arrived:",
            "{n} people you followed on X have arrived:",
            len(told),
        ),
        *(line(ctx, each, number) for number, each in enumerate(named, 1)),
    ]
    if len(told) > len(named):
        lines.append(ctx.plural("and {n} more: contacts", "and {n} more: contacts", len(told) - len(named)))
    if following == len(told):
        lines.append(ctx.text("I follow them for you, because auto is on. undo takes it back."))
    elif following:
        lines.append(
            ctx.plural(
                "I follow {n} of them for you, because auto is on. undo takes it back.",
                "I follow {n} of them for you, because auto is on. undo takes it back.",
                following,
            )
        )
    if following < len(told):
        lines.append(
            ctx.plural(
                "To follow them: follow 1. To leave them out: skip 1.",
                "To follow: follow 1, or follow all. To leave one out: skip 1.",
                len(told),
            )
        )
    if ctx.person.unanswered >= ctx.settings.silence_after:
        slower = SLOWER[ctx.person.cadence]
        await accounts.change(ctx.connection, ctx.person.id, cadence=slower.value, unanswered=0)
        lines.append(ctx.text(_SLOWED[slower]))
    ids = [each.person_id for each in named]
    ctx.speeches.append(
        Speech(
            account=ctx.account,
            text="\n".join(lines),
            language=ctx.texts.language,
            key=arrivals.notice_key(new_token(), ids),
            notice=True,
            thread=ctx.account.thread,
        )
    )


@command(
    "notify",
    N_("Choose how often I tell you about newcomers"),
    fr=("prévenir", "prevenir", "notifier"),
    ar=("إشعارات", "اشعارات", "إشعار", "اشعار", "تنبيه"),
    example="notify daily",
)
async def notify(ctx: Context, cadence: Literal["now", "daily", "weekly", "off"] | None = None) -> str | None:
    """Remember how often newcomers are announced."""
    if cadence is None:
        return ctx.text(CADENCE[ctx.person.cadence]) + "\n" + ctx.text("notify now, daily, weekly or off changes it.")
    chosen = Cadence(cadence)
    await accounts.change(ctx.connection, ctx.person.id, cadence=chosen.value)
    await look_anew(ctx)
    if chosen is ctx.person.cadence:
        return ctx.text("Nothing changed.") + " " + ctx.text(CADENCE[chosen])
    return ctx.text(CADENCE[chosen])


@command(
    "quiet",
    N_("Choose hours in which I keep quiet"),
    fr=("calme", "nuit"),
    ar=("هدوء", "الهدوء", "ساعات الهدوء"),
    example="quiet 22-8",
)
async def quiet(ctx: Context, hours: Hours | None = None) -> str | None:
    """Remember the quiet hours."""
    person = ctx.person
    if hours is None:
        hours = Hours(person.quiet_from, person.quiet_to)
    else:
        await accounts.change(ctx.connection, person.id, quiet_from=hours.start, quiet_to=hours.end)
        await look_anew(ctx)
    if hours.start is None:
        return ctx.text("You have no quiet hours. quiet 22-8 sets some.")
    return ctx.text(
        "I announce nobody between {start}:00 and {end}:00 UTC; answers come at any hour. quiet off ends it.",
        start=hours.start,
        end=hours.end,
    )


async def look_anew(ctx: Context) -> None:
    """Look for newcomers when the person's choices now say; who has none is simply not written to."""
    person = await accounts.get_person(ctx.connection, ctx.person.id)
    at = next_look(person, ctx.now, ctx.settings.notice_delay, ctx.settings.opens_at)
    await accounts.change(ctx.connection, person.id, notice_due_at=at)


@command(
    "discoverable",
    N_("Choose who is told that you are here"),
    fr=("visible", "découvrable", "decouvrable"),
    ar=("ظهور", "الظهور", "مرئي"),
    example="discoverable mutuals",
)
async def discoverable(ctx: Context, whom: Literal["everyone", "mutuals", "off"] | None = None) -> str | None:
    """Remember who may find the person; when that are more than before, they are told."""
    before = ctx.person.discoverable
    if whom is None:
        changes = ctx.text("discoverable everyone, mutuals or off changes it.")
        return ctx.text(DISCOVERABLE[before]) + "\n" + changes
    chosen = Discoverable(whom)
    if chosen is before:
        return ctx.text("Nothing changed.") + " " + ctx.text(DISCOVERABLE[chosen])
    await accounts.change(ctx.connection, ctx.person.id, discoverable=chosen.value)
    ctx.person = replace(ctx.person, discoverable=chosen)
    if before is Discoverable.OFF or chosen is Discoverable.EVERYONE:
        for each in await claims.of_person(ctx.connection, ctx.person.id):
            await arrivals.arrive(ctx.connection, each, ctx.now, again=True)
    return ctx.text(DISCOVERABLE[chosen])
