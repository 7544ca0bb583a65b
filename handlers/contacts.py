"""contacts: who of the people somebody followed on X is here, numbered, so that `follow 3` means what was read."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from handlers import one_time
from handlers.context import Context
from handlers.following import Plan
from handlers.matching import Contact, contacts_of
from handlers.names import NETWORKS, name_of, x_name
from handlers.refusals import explain
from handlers.routing import command
from handlers.texts import N_
from handlers.words import Selection
from storage import decisions, links
from storage.codes import Purpose
from storage.follows import Followed
from storage.records import Choice, DeliveryState, Evidence

_UNPROVED: Final = N_("not proved by a post: choose by hand")
_OUTCOMES: Final[Mapping[str, str]] = {
    "done": N_("followed on {network}"),
    "already": N_("you follow them on {network}"),
    "requested": N_("asked on {network}, their answer is still to come"),
    "unclear": N_("followed or asked on {network}, by you or by me"),
    "pending": N_("to be followed on {network}"),
    "refused": N_("could not be followed on {network}"),
}


class Standing(StrEnum):
    """How a contact stands: what is still to be done about them, if anything."""

    OPEN = "open"
    PENDING = "pending"  # to be followed, or as soon as there is a consent
    FOLLOWED = "followed"
    SKIPPED = "skipped"


@command(
    "contacts",
    N_("List who of the people you followed on X is here"),
    fr=("relations", "qui"),
    ar=("جهات الاتصال", "جهات", "معارف", "معارفي", "القائمة", "قائمة"),
    en=("list", "matches"),
    example="contacts 2",
)
async def contacts(ctx: Context, page: int = 1) -> str | None:
    """Show one page of the contacts, and remember their numbers."""
    if (closed := not_open_yet(ctx)) is not None:
        return closed
    found = await contacts_of(ctx.connection, ctx.world, ctx.person)
    if not found:
        return await nobody_yet(ctx)
    size = ctx.settings.contacts_a_page
    pages = -(-len(found) // size)
    if not 1 <= page <= pages:
        return ctx.plural(
            "There is no page {page}: your contacts fill {n} page.",
            "There is no page {page}: your contacts fill {n} pages.",
            pages,
            page=page,
        )
    await decisions.keep_listing(ctx.connection, ctx.person.id, [each.person_id for each in found], ctx.now)
    first = (page - 1) * size
    lines = [
        ctx.plural("{n} person you followed on X is here:", "{n} people you followed on X are here:", len(found)),
        *(line(ctx, each, first + place) for place, each in enumerate(found[first : first + size], 1)),
    ]
    if page < pages:
        lines.append(
            ctx.text("Page {page} of {pages}. For more: contacts {next}", page=page, pages=pages, next=page + 1)
        )
    lines.append(ctx.text("To follow them: follow all, or by number: follow 1 3 5-9. To leave one out: skip 3."))
    if (link := await one_time.link(ctx, Purpose.CONTACTS)) is not None:
        lines.append(ctx.text("To look at them and choose on a page: {link}", link=link))
    return "\n".join(lines)


def not_open_yet(ctx: Context) -> str | None:
    """Say that the opening day has not come, if so."""
    opens_at = ctx.settings.opens_at
    if opens_at is None or ctx.now >= opens_at:
        return None
    return ctx.text(
        "We all begin together: reconnection opens on {moment}. Until then I collect, and then I tell you who is here.",
        moment=ctx.texts.moment(opens_at),
    )


async def nobody_yet(ctx: Context) -> str:
    """Say that nobody of somebody's lists is here, or that there is no list."""
    own = await links.own(ctx.connection, ctx.person.id)
    if not len(own.following):
        return ctx.text("I do not know yet whom you followed on X. Hand your list over with: import")
    return ctx.plural(
        "I hold {n} account that you followed on X; it is not here yet. I tell you when that changes.",
        "I hold {n} accounts that you followed on X; none of them is here yet. I tell you when that changes.",
        len(own.following),
    )


def line(ctx: Context, contact: Contact, number: int) -> str:
    """Write one contact in a line: number, where they are, who they were, and what there is to know."""
    reader = ctx.account.network
    x = x_name(contact.x_handle, reader)
    said = ctx.text(
        N_("{number}. {accounts} ({x} on X)") if x.startswith("@") else N_("{number}. {accounts} ({x})"),
        number=number,
        accounts=ctx.texts.listing([name_of(reader, each) for each in contact.native]),
        x=x,
    )
    return " · ".join([said, *remarks(ctx, contact)])


def remarks(ctx: Context, contact: Contact, *, with_reasons: bool = False) -> list[str]:
    """Say what there is to know of a contact: mutual, how sure, what was chosen and done, and why not if wished."""
    said = []
    if contact.mutual:
        said.append(ctx.text("followed you back"))
    if contact.evidence < Evidence.POST:
        said.append(ctx.text(_UNPROVED))
    elif not contact.by_id:
        said.append(ctx.text("known by the handle alone: choose by hand"))
    if contact.choice is Choice.SKIP:
        said.append(ctx.text("skipped"))
    states = {
        (each.network, state, explain(ctx, each) if with_reasons and state == "refused" else "")
        for each in contact.follows
        if (state := state_of(each)) is not None
    }
    for network, state, reason in sorted(states):
        outcome = ctx.text(_OUTCOMES[state], network=NETWORKS[network])
        said.append(ctx.text("{outcome} ({reason})", outcome=outcome, reason=reason) if reason else outcome)
    return said


def standings(found: Sequence[Contact], planned: Plan) -> dict[int, Standing]:
    """Tell how contacts stand; `planned` is what would have to be done about them."""
    to_follow = {each.person_id for each in planned.contacts}
    return {each.person_id: _standing(each, to_follow=each.person_id in to_follow) for each in found}


def _standing(contact: Contact, *, to_follow: bool) -> Standing:
    states = {state_of(each) for each in contact.follows} - {None, "refused"}
    if contact.choice is Choice.SKIP:
        return Standing.SKIPPED
    if to_follow:
        return Standing.OPEN
    if "pending" in states:
        return Standing.PENDING
    if states:
        return Standing.FOLLOWED
    return Standing.PENDING if contact.choice is Choice.FOLLOW else Standing.OPEN


def state_of(followed: Followed) -> str | None:
    """Name what came of a follow; None when nothing stands of it."""
    if followed.undone or followed.state is DeliveryState.CANCELLED:
        return None
    if followed.pending:
        return "pending"
    if followed.state is DeliveryState.REFUSED:
        return "refused"
    return followed.outcome if followed.outcome in _OUTCOMES else "done"


async def selected(ctx: Context, found: Sequence[Contact], selection: Selection) -> tuple[list[Contact], str | None]:
    """Return the contacts that were chosen by number or by X handle, and a sentence about those that are none."""
    by_id = {each.person_id: each for each in found}
    by_handle = {each.x_handle: each for each in found}
    read = await decisions.read_listing(ctx.connection, ctx.person.id) or [each.person_id for each in found]
    chosen: dict[int, Contact] = {}
    unknown: list[str] = []
    for number in selection.numbers:
        contact = by_id.get(read[number - 1]) if 1 <= number <= len(read) else None
        if contact is None:
            unknown.append(str(number))
        else:
            chosen[contact.person_id] = contact
    for handle in selection.handles:
        contact = by_handle.get(handle)
        if contact is None:
            unknown.append(x_name(handle, ctx.account.network))
        else:
            chosen[contact.person_id] = contact
    if not unknown:
        return list(chosen.values()), None
    problem = ctx.text(
        "You have no contact under: {words}. contacts shows the list.",
        words=ctx.texts.listing(unknown[:10]),
    )
    return list(chosen.values()), problem
