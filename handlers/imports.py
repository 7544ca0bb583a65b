"""import: hand over the list of people somebody followed on X, through a one-time page or by DM."""

from dataclasses import dataclass
from typing import Final

from handlers import one_time
from handlers.archive import Ids, Lists
from handlers.claims import ArchiveMismatch, evidence_from_archive
from handlers.contacts import line, not_open_yet
from handlers.context import Context
from handlers.matching import Contact, contacts
from handlers.routing import command
from handlers.texts import N_
from handlers.words import XHandle
from storage import accounts, arrivals, claims, decisions, grants, links
from storage.codes import Purpose
from storage.keys import Keys, Keys64, distinct
from storage.links import TYPED, Stored
from storage.records import Cadence, Choice, Direction, Discoverable

_NAMED: Final = 5
# All lists of one person together: the two longest that an upload can hold, and half as much again.
_MOST_LINKS: Final = 3_000_000


@dataclass(frozen=True, slots=True)
class Keyed:
    """What was uploaded, with the pseudonyms of all that it names: sorted and unique, None for a list that is missing."""

    lists: Lists
    following: Keys64 | None
    followers: Keys64 | None
    handles: Keys64


def keyed(keys: Keys, lists: Lists) -> Keyed:
    """Make the pseudonyms: of long lists that takes a while, and no transaction should wait for it."""

    def of_ids(ids: Ids | None) -> Keys64 | None:
        return None if ids is None else distinct(keys.of_ids(ids))

    return Keyed(lists, of_ids(lists.following), of_ids(lists.followers), keys.of_handles(lists.handles))


@dataclass(frozen=True, slots=True)
class Received:
    """What came of an upload: all of it for a DM, and for a page that lists who is here itself, the outcome alone."""

    full: str
    outcome: str


@command(
    "import",
    N_("Hand over the list of people you followed on X"),
    fr=("importer",),
    ar=("استيراد", "استورد", "أرشيف", "ارشيف"),
    en=("upload",),
    example="import jack_smith marie75",
)
async def import_(ctx: Context, *handles: XHandle) -> str | None:
    """Give a link to the upload page, or take handles that were typed."""
    if handles:
        return await _typed(ctx, list(dict.fromkeys(handles)))
    by_hand = ctx.text("Without an archive, send me the handles you remember, without the @: import jack_smith marie75")
    link = await link_for(ctx)
    if link is None:
        return ctx.text("I have no web address, so I have no page that could take your archive.") + "\n" + by_hand
    guide = ctx.text(
        "Open this page and choose the archive that X sent you, or only its file data/following.js. The link is for "
        "you alone and works for {time}: {link}",
        time=ctx.texts.span(ctx.settings.link_lifetime),
        link=link,
    )
    return f"{guide}\n{by_hand}"


async def link_for(ctx: Context) -> str | None:
    """Make a fresh one-time link to the upload page; None where Reflock has no web address."""
    return await one_time.link(ctx, Purpose.IMPORT)


async def _typed(ctx: Context, handles: list[XHandle]) -> str:
    most = ctx.settings.typed_handles
    if len(handles) > most:
        return ctx.plural(
            "Those are {given} handles, and a message may hold {n}. Nothing was stored: send them in several messages.",
            "Those are {given} handles, and a message may hold {n}. Nothing was stored: send them in several messages.",
            most,
            given=ctx.texts.number(len(handles)),
        )
    stored = await _store(ctx, TYPED, Direction.FOLLOWING, ctx.world.keys.of_handles(handles), replace=False)
    if stored.added:
        await _show_to_mutuals(ctx)
    noted = ctx.plural(
        "Noted: {n} new handle, {total} typed in all.",
        "Noted: {n} new handles, {total} typed in all.",
        stored.added,
        total=ctx.texts.number(stored.n),
    )
    return f"{noted}\n{(await _who_is_here(ctx)).full}"


async def received(ctx: Context, given: Keyed) -> Received:
    """Keep lists that were uploaded, and answer at once who of them is here, for a DM and for the page.

    A list takes the place of the former one of the same archive; a part of it without its beginning is added. Raise
    ArchiveMismatch, having kept nothing, when the archive is of another X account than the one that was claimed,
    or when the lists would become too long.
    """
    lists, said = given.lists, []
    if lists.account_x_id is not None and lists.x_handle is not None:
        said.append(await evidence_from_archive(ctx, lists.account_x_id, lists.x_handle))
    source = f"archive:{lists.account_x_id or ''}"
    added = 0
    for direction, keys in ((Direction.FOLLOWING, given.following), (Direction.FOLLOWERS, given.followers)):
        if keys is not None:
            stored = await _store(ctx, source, direction, keys, replace=not lists.partial)
            added += stored.added
            if stored.n or direction is Direction.FOLLOWING:
                said.append(_stored(ctx, direction, stored))
    if lists.handles:
        stored = await _store(ctx, TYPED, Direction.FOLLOWING, given.handles, replace=False)
        added += stored.added
        said.append(_stored(ctx, Direction.FOLLOWING, stored))
    if added and sum(each.n for each in await links.uploads_of(ctx.connection, ctx.person.id)) > _MOST_LINKS:
        raise ArchiveMismatch(
            ctx.text(
                N_(
                    "With these, your lists would hold more than the {most} accounts that I keep for one person, so I kept "
                    "nothing of them."
                ),
                most=ctx.texts.number(_MOST_LINKS),
            )
        )
    if lists.skipped:
        said.append(
            ctx.plural(
                "{n} entry made no sense to me and was left out.",
                "{n} entries made no sense to me and were left out.",
                lists.skipped,
            )
        )
    if added:
        await _show_to_mutuals(ctx)
    here = await _who_is_here(ctx)
    return Received("\n".join([*said, here.full]), "\n".join([*said, here.outcome]))


async def _store(ctx: Context, source: str, direction: Direction, keys: Keys64, *, replace: bool) -> Stored:
    return await links.add(ctx.connection, ctx.person.id, source, direction, keys, ctx.now, replace=replace)


def _stored(ctx: Context, direction: Direction, stored: Stored) -> str:
    if direction is Direction.FOLLOWERS:
        return ctx.plural("Kept: {n} account that followed you.", "Kept: {n} accounts that followed you.", stored.n)
    return ctx.plural("Kept: {n} account that you followed.", "Kept: {n} accounts that you followed.", stored.n)


async def _show_to_mutuals(ctx: Context) -> None:
    """Let somebody arrive again who shows themselves to mutuals only: with a longer list there are more of those."""
    if ctx.person.discoverable is Discoverable.MUTUALS:
        for each in await claims.of_person(ctx.connection, ctx.person.id):
            await arrivals.arrive(ctx.connection, each, ctx.now, again=True)


async def _who_is_here(ctx: Context) -> Received:
    """Say who of all lists is here, name the first ones, and how to go on; newcomers are counted from here."""
    if (closed := not_open_yet(ctx)) is not None:
        await arrivals.look_at(ctx.connection, {ctx.person.id: ctx.settings.opens_at or ctx.now})
        return Received(closed, closed)
    newest = await arrivals.newest(ctx.connection)
    found = [each for each in await contacts(ctx) if each.choice is not Choice.SKIP]
    # Who is not proved yet may still be announced once they are.
    told = [(ctx.person.id, each.person_id) for each in found if each.arrival_seq is not None]
    await arrivals.tell(ctx.connection, told, ctx.now)
    await accounts.change(ctx.connection, ctx.person.id, seen_seq=newest)
    if ctx.person.auto or ctx.person.cadence is not Cadence.OFF:
        # Somebody may arrive while this is being committed.
        await arrivals.look_at(ctx.connection, {ctx.person.id: ctx.now + ctx.settings.notice_delay})
    total = len((await links.own(ctx.connection, ctx.person.id)).following)
    if not found:
        nobody = ctx.plural(
            "The {n} account you followed is not here yet. I tell you when it arrives.",
            "None of the {n} accounts you followed is here yet. I tell you by name as they arrive.",
            total,
        )
        return Received(nobody, nobody)
    of_all = ctx.texts.number(total)
    named = ctx.plural(
        "{n} of the {total} people you followed is already here:",
        "{n} of the {total} people you followed are already here:",
        len(found),
        total=of_all,
    )
    counted = ctx.plural(
        "{n} of the {total} people you followed is already here.",
        "{n} of the {total} people you followed are already here.",
        len(found),
        total=of_all,
    )
    return Received("\n".join([named, *await _first_ones(ctx, found)]), counted)


async def _first_ones(ctx: Context, found: list[Contact]) -> list[str]:
    from handlers import consents  # a consent, once given, leads to follows, and they to the contacts

    await decisions.keep_listing(ctx.connection, ctx.person.id, [each.person_id for each in found], ctx.now)
    lines = [line(ctx, each, number) for number, each in enumerate(found[:_NAMED], 1)]
    if len(found) > _NAMED:
        lines.append(ctx.plural("… and {n} more: contacts", "… and {n} more: contacts", len(found) - _NAMED))
    granted = await grants.active(ctx.connection, ctx.person.id)
    link = None if granted else await consents.link_for(ctx)
    if link is not None:
        lines.append(ctx.text("So that I may follow for you, give your consent here: {link}", link=link))
    elif not granted:
        lines.append(ctx.text("So that I may follow for you, send me: connect"))
    lines.append(ctx.text("Then: follow all, or only some of them: follow 1 3"))
    return lines
