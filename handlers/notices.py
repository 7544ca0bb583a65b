"""Tell people of newcomers: one row an arrival, worked off in bounded steps; one notice per newcomer, ever, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from handlers.cadence import SLOWER, after_quiet, next_look
from handlers.contacts import line
from handlers.context import Context, Speech, World
from handlers.following import planned, promise_of_each
from handlers.matching import Contact, arrived
from handlers.routing import command
from handlers.texts import N_
from handlers.words import Hours
from storage import accounts, arrivals, claims, decisions, follows, grants, links
from storage.arrivals import due_persons
from storage.keys import new_token
from storage.records import Cadence, Choice, Discoverable, Evidence

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = [
    "CADENCE",
    "DISCOVERABLE",
    "discoverable",
    "due_persons",
    "look_anew",
    "newcomers",
    "note",
    "notify",
    "quiet",
    "who_waits",
]

# Each is looked up by two keys in some 0.2 ms.
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


@dataclass(frozen=True, slots=True)
class Waiting:
    """Lists that were found to hold arrivals which stand at one place, `after`; their owners are still to be noted.

    `slots` ascend; the arrivals stand at `until` when that is done, or are worked off (None). `own` is who arrived,
    if it is only one person.
    """

    seqs: list[int]
    own: int | None
    after: int
    slots: list[int]
    until: int | None

    def divided(self, n: int) -> tuple["Waiting", "Waiting | None"]:
        """Return the first lists, so many at most, and the others."""
        if len(self.slots) <= n:
            return self, None
        between = self.slots[n - 1]
        return replace(self, slots=self.slots[:n], until=between), replace(self, slots=self.slots[n:], after=between)


async def who_waits(connection: "AsyncConnection", limit: int) -> Waiting | None:
    """Find the next lists, of `limit` that are looked at, on which open arrivals stand; None when no arrival is open.

    All arrivals that stand at the same place are looked for in one pass, first those that were worked off least: who has
    few followers does not wait until somebody's hundred thousand are noted.
    """
    waiting = await arrivals.open_arrivals(connection, _ARRIVALS_A_STEP)
    if not waiting:
        return None
    after = min(each.arrival.next_slot for each in waiting)
    together = [each for each in waiting if each.arrival.next_slot == after]
    seqs = [each.arrival.seq for each in together]
    own = together[0].arrival.person_id if len(together) == 1 else None
    keys = np.unique(np.concatenate([each.keys for each in together]))
    if not len(keys):
        return Waiting(seqs, own, after, [], None)
    found = await links.followers_of(connection, keys, after_slot=after, limit=limit)
    return Waiting(seqs, own, after, [slot for slot, _ in found.rows], found.next_slot)


async def note(connection: "AsyncConnection", world: World, waiting: Waiting, now: int) -> bool:
    """Note that who waited is to be looked at when their turn comes; False when somebody else is about these arrivals.

    Nothing is written per pair.
    """
    seqs = await arrivals.hold(connection, waiting.seqs, waiting.after)
    if not seqs:
        return False
    settings = world.settings
    due = {
        person.id: at
        for person in await accounts.owners_of_lists(connection, waiting.slots)
        if person.id != waiting.own
        and (at := next_look(person, now, settings.notice_delay, settings.opens_at)) is not None
    }
    await arrivals.look_at(connection, due)
    await arrivals.advance(connection, seqs, waiting.until)
    return True


async def newcomers(contexts: Sequence[Context]) -> None:
    """Tell persons of everybody who arrived since the last time, each in one notice, and follow them where auto is on.

    The contexts are of one transaction, and of one person each: what they need is looked up for all of them together.
    """
    if not contexts:
        return
    connection, world, now = contexts[0].connection, contexts[0].world, contexts[0].now
    looked: dict[int, tuple[int, int | None]] = {}
    listening: list[Context] = []
    for ctx in contexts:
        if ctx.person.notice_due_at is None or ctx.person.notice_due_at > now:
            continue  # another process was quicker
        later = max(after_quiet(ctx.person, now), world.settings.opens_at or 0)
        if ctx.person.stopped or (_silent(ctx) and not ctx.person.auto):
            looked[ctx.person.id] = ctx.person.seen_seq, None
        elif later > now:
            looked[ctx.person.id] = ctx.person.seen_seq, later
        else:
            listening.append(ctx)
    told = await _told_now(listening, looked) if listening else {}
    await arrivals.looked(connection, looked)
    following = await _follow_by_itself([ctx for ctx in listening if ctx.person.auto and ctx.person.id in told], told)
    heard = [ctx for ctx in listening if ctx.person.id in told and not _silent(ctx)]
    listings = {ctx.person.id: [each.person_id for each in told[ctx.person.id]] for ctx in heard}
    await decisions.keep_listings(connection, listings, now)
    for ctx in heard:
        await _say(ctx, told[ctx.person.id], following.get(ctx.person.id, 0))


def _silent(ctx: Context) -> bool:
    return ctx.person.cadence is Cadence.OFF


async def _told_now(contexts: Sequence[Context], looked: dict[int, tuple[int, int | None]]) -> dict[int, list[Contact]]:
    """Return, by person, the newcomers of whom they were never told, which is written down; and how far that looked."""
    connection, world, now = contexts[0].connection, contexts[0].world, contexts[0].now
    newest = await arrivals.newest(connection)
    came = await arrived(connection, world, [ctx.person for ctx in contexts])
    looked.update((ctx.person.id, (max(newest, ctx.person.seen_seq), None)) for ctx in contexts)
    to_tell = {
        reader_id: [each for each in found if each.evidence >= Evidence.POST and each.choice is not Choice.SKIP]
        for reader_id, found in came.items()
    }
    pairs = [(reader_id, each.person_id) for reader_id, found in to_tell.items() for each in found]
    new = await arrivals.tell(connection, pairs, now)
    never = {
        reader_id: [each for each in found if (reader_id, each.person_id) in new]
        for reader_id, found in to_tell.items()
    }
    return {reader_id: found for reader_id, found in never.items() if found}


async def _follow_by_itself(contexts: Sequence[Context], told: Mapping[int, list[Contact]]) -> dict[int, int]:
    """Promise to follow those who are sure; return how many those are, by person."""
    if not contexts:
        return {}
    ids = [ctx.person.id for ctx in contexts]
    consents = await grants.active_of(contexts[0].connection, ids)
    plans = {
        each: planned(consents.get(each, ()), [contact for contact in told[each] if contact.sure], retry=False)
        for each in ids
    }
    await promise_of_each(contexts, {each: plan.steps for each, plan in plans.items()}, follows.AUTOMATIC)
    return {each: len(plan.contacts) for each, plan in plans.items()}


async def _say(ctx: Context, told: list[Contact], following: int) -> None:
    named = told[:_NAMED]
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
