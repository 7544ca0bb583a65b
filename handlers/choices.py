"""skip, restore, why: what somebody chose about single contacts, and why a contact stands as it does."""

from collections.abc import Iterable, Sequence
from typing import Final

from handlers.batches import explain_state
from handlers.contacts import selected
from handlers.context import Context
from handlers.matching import Contact, contacts
from handlers.names import NETWORKS, name_of, x_name
from handlers.routing import command
from handlers.texts import N_
from handlers.words import Selection, XHandle
from storage import claims, decisions, deliveries, grants, links
from storage.records import Choice, DeliveryKind, Evidence
from storage.tables import delivery

_IDS_A_QUERY: Final = 10_000

NONE_LEFT_OUT: Final = N_("None of them was left out, so nothing changed.")


@command(
    "skip",
    N_("Leave contacts out: not followed, not mentioned again"),
    fr=("ignorer", "passer"),
    ar=("استبعاد", "استبعد", "تجاهل"),
    example="skip 3",
)
async def skip(ctx: Context, who: Selection) -> str | None:
    """Leave contacts out, and cancel what was promised about them."""
    chosen, problem = await selected(ctx, await contacts(ctx), who)
    if who.everything:
        return ctx.text(
            "Nothing changed: to follow nobody, say nothing, or auto off. To leave single people out: skip 1 3."
        )
    if not chosen:
        return problem
    said = await leave_out(ctx, chosen)
    return f"{problem}\n{said}" if problem else said


async def leave_out(ctx: Context, chosen: Sequence[Contact]) -> str:
    """Leave contacts out, cancel what was promised about them, and say so."""
    ids = [each.person_id for each in chosen]
    await decisions.decide(ctx.connection, ctx.person.id, ids, Choice.SKIP, ctx.now)
    cancelled = 0
    for start in range(0, len(ids), _IDS_A_QUERY):
        cancelled += await deliveries.cancel(
            ctx.connection,
            ctx.now,
            delivery.c.person_id == ctx.person.id,
            delivery.c.kind == DeliveryKind.FOLLOW.value,
            delivery.c.contact_id.in_(ids[start : start + _IDS_A_QUERY]),
            deliveries.NOT_BEGUN,
        )
    lines = [ctx.text("Left out: {names}. restore brings them back.", names=_names(ctx, chosen))]
    if cancelled:
        lines.append(
            ctx.plural("{n} follow still to come is cancelled.", "{n} follows still to come are cancelled.", cancelled)
        )
    return "\n".join(lines)


@command(
    "restore",
    N_("Bring contacts back that were left out"),
    fr=("rétablir", "retablir"),
    ar=("إرجاع", "ارجاع", "استعادة", "استرجاع"),
    example="restore 3",
)
async def restore(ctx: Context, who: Selection) -> str | None:
    """Forget that contacts were left out."""
    found = await contacts(ctx)
    chosen, problem = (found, None) if who.everything else await selected(ctx, found, who)
    lines = [problem, await bring_back(ctx, chosen)]
    return "\n".join(filter(None, lines)) or ctx.text(NONE_LEFT_OUT)


async def bring_back(ctx: Context, chosen: Iterable[Contact]) -> str | None:
    """Forget which of some contacts were left out, and say so; None when none of them was."""
    skipped = [each for each in chosen if each.choice is Choice.SKIP]
    if not skipped:
        return None
    await decisions.withdraw(ctx.connection, ctx.person.id, [each.person_id for each in skipped])
    return ctx.text("Back in the list: {names}.", names=_names(ctx, skipped))


def _names(ctx: Context, chosen: Sequence[Contact]) -> str:
    most = 20
    names = [name_of(ctx.account.network, each.native[0]) for each in chosen[:most]]
    return ctx.texts.listing([*names, "…"] if len(chosen) > most else names)


@command(
    "why",
    N_("Explain why a contact is shown, or not, and followed, or not"),
    fr=("pourquoi",),
    ar=("لماذا", "ليش"),
    example="why old_handle",
)
async def why(ctx: Context, handle: XHandle) -> str | None:
    """Explain one contact: the evidence, the lists, what was chosen, and what came of it on each network."""
    contact = next((each for each in await contacts(ctx) if each.x_handle == handle), None)
    return await _shown(ctx, contact) if contact else await _not_shown(ctx, handle)


async def _shown(ctx: Context, contact: Contact) -> str:
    reader = ctx.account.network
    lines = [
        ctx.text(
            "{x} is here as {accounts}, and in the list of people you followed on X.",
            x=x_name(contact.x_handle, reader),
            accounts=ctx.texts.listing([name_of(reader, each) for each in contact.accounts]),
        )
    ]
    if contact.evidence < Evidence.POST:
        lines.append(ctx.text("Their archive says so, which is no proof: I follow them only if you choose them."))
    elif contact.by_id:
        lines.append(ctx.text("They have proved that the account on X was theirs."))
    else:
        lines.append(
            ctx.text("They have proved the handle, but handles change hands: I follow them only if you choose them.")
        )
    if contact.mutual:
        lines.append(ctx.text("They followed you back there."))
    if contact.choice is Choice.SKIP:
        lines.append(ctx.text("You left them out: restore changes it."))
    granted = {grant.network for grant in await grants.active(ctx.connection, ctx.person.id)}
    for network in sorted(contact.networks):
        known = [each for each in contact.follows if each.network is network]
        if known:
            lines += [explain_state(ctx, each) for each in known]
        elif network not in granted:
            lines.append(
                ctx.text("On {network} I do not have your consent: connect gives it.", network=NETWORKS[network])
            )
        elif contact.choice is not Choice.SKIP:
            lines.append(
                ctx.text(
                    "On {network} you have not asked me to follow them yet: follow does.", network=NETWORKS[network]
                )
            )
    return "\n".join(lines)


async def _not_shown(ctx: Context, handle: str) -> str:
    """Explain a missing contact without telling whether somebody hides."""
    own = await links.own(ctx.connection, ctx.person.id)
    x = x_name(handle, ctx.account.network)
    if not len(own.following):
        return ctx.text("I do not know yet whom you followed on X. Hand your list over with: import")
    if any(each.x_handle == handle for each in await claims.of_person(ctx.connection, ctx.person.id)):
        return ctx.text("{x} is you: you are not a contact of your own.", x=x)
    if links.hold(own.following, ctx.world.keys.of_handles([handle])).any():
        return ctx.text(
            "{x} is in your list, but nobody whom you may find has proved here yet to have been {x}. I tell you when that "
            "changes.",
            x=x,
        )
    return ctx.text(
        "Nobody in your list has shown to have been {x} on X. An archive holds numbers, not handles, so I cannot tell "
        "whether {x} is in yours; if so, I tell you as soon as they arrive.",
        x=x,
    )
