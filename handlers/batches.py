"""What is said of a batch of follows once it is through, and what is checked right before each of them."""

from typing import TYPE_CHECKING, Final

from handlers.context import Context, Speech
from handlers.matching import NETWORKS
from handlers.names import name_of
from handlers.refusals import explain
from handlers.texts import N_
from storage import accounts, arrivals, claims, decisions, deliveries, follows
from storage.deliveries import Promise
from storage.follows import Batch, Followed
from storage.records import (
    Choice,
    ClaimState,
    Delivery,
    DeliveryKind,
    DeliveryState,
    Discoverable,
    Evidence,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_NAMED: Final = 10
# Long batches take hours: a word now and then.
_LONG: Final = 200
_MILESTONES: Final = (75, 50, 25)
_NEWCOMERS: Final = "newcomers"


def notice_key(person_id: int, contact_ids: list[int], first_seq: int) -> str:
    """Make the key of a notice of newcomers; it names them, so that they can be checked when it is sent."""
    return f"{_NEWCOMERS}:{person_id}:{first_seq}:{'.'.join(map(str, contact_ids))}"


async def may_still(connection: "AsyncConnection", delivery: Delivery) -> str | None:
    """Check consent again, right before a delivery is performed; return why it may not be any more, or None."""
    if delivery.kind not in (DeliveryKind.NOTICE, DeliveryKind.FOLLOW) or delivery.person_id is None:
        return None
    person = (await accounts.persons(connection, [delivery.person_id])).get(delivery.person_id)
    if person is None:
        return "gone"
    if person.stopped:
        return "stopped"
    if delivery.kind is DeliveryKind.NOTICE:
        return await _newcomers_still(connection, delivery) if delivery.key.startswith(f"{_NEWCOMERS}:") else None
    return await _follow_still(connection, delivery)


async def _follow_still(connection: "AsyncConnection", delivery: Delivery) -> str | None:
    contact_id = await follows.contact_of(connection, delivery.id)
    if contact_id is None or delivery.person_id is None:
        return "contact_gone"
    if delivery.batch_id is not None:
        # Not locked: an undo that comes now waits for this delivery, and takes it back once it is done.
        batch = await follows.get_batch(connection, delivery.batch_id)
        if batch is not None and batch.undone_at is not None:
            return "undone"
    if await decisions.about(connection, delivery.person_id, contact_id) is Choice.SKIP:
        return "skipped"
    least = Evidence.POST if follows.is_automatic(delivery.key) else Evidence.ARCHIVE
    return None if contact_id in await _standing(connection, [contact_id], least) else "contact_gone"


async def _newcomers_still(connection: "AsyncConnection", delivery: Delivery) -> str | None:
    """Hold a notice back when somebody it names has gone; the others are told anew, unless it was begun to be sent."""
    ids, _, part = delivery.key.split(":", 3)[3].partition(":")
    contact_ids = [int(each) for each in ids.split(".")]
    person_id = int(delivery.key.split(":", 2)[1])
    standing = await _standing(connection, contact_ids, Evidence.POST)
    told = await arrivals.told_of(connection, person_id, contact_ids)
    if told == standing == set(contact_ids):
        return None
    # What was begun to be sent may have come through: of the others nobody is told twice.
    if part == "0" and told and delivery.attempts == 1:
        await arrivals.take_back(connection, person_id, contact_ids, delivery.due_at)
    return "newcomer_gone"


async def _standing(connection: "AsyncConnection", contact_ids: list[int], least: Evidence) -> set[int]:
    """Return the contacts who still let themselves be found, and whose claim still stands with enough evidence."""
    found = await accounts.persons(connection, contact_ids)
    held = await claims.of_persons(connection, contact_ids)
    return {
        person_id
        for person_id, person in found.items()
        if person.discoverable is not Discoverable.OFF
        and any(each.state is ClaimState.HELD and each.evidence >= least for each in held.get(person_id, ()))
    }


async def undo_done(ctx: Context, batch_id: int) -> int:
    """Promise to take back every follow of an undone batch that we made; return how many those are."""
    ours = [each for each in await follows.of_batch(ctx.connection, batch_id) if each.to_undo]
    promises = []
    for each in ours:
        target = await accounts.get(ctx.connection, each.target)
        promises.append(
            Promise(
                kind=DeliveryKind.UNFOLLOW,
                key=f"unfollow:{each.id}",
                lane=deliveries.act_lane(each.account_id),
                payload={"actor": each.target, "handle": target.handle if target else "", "uri": each.uri},
                network=each.network,
                person_id=ctx.person.id,
                account_id=each.account_id,
                contact_id=each.contact_id,
                batch_id=batch_id,
            )
        )
    await deliveries.promise(ctx.connection, promises, ctx.now)
    return len(ours)


async def batch_progress(ctx: Context, batch_id: int) -> None:
    """Say how a batch went, once it is through; of a long one, also how far it is.

    Called in the transaction that settles some of its deliveries. What is said is keyed by the batch, so it is said
    once however often this is called.
    """
    batch = await follows.lock_batch(ctx.connection, batch_id)
    if batch is None:
        return
    counts = await follows.tally(ctx.connection, batch_id, DeliveryKind.FOLLOW)
    waiting = sum(counts.get(state.value, 0) for state in deliveries.UNDONE)
    if batch.undone_at is not None:
        await _undo_progress(ctx, batch, waiting)
    elif waiting:
        await _milestone(ctx, batch, counts, waiting)
    else:
        await _summary(ctx, batch, counts)


async def _undo_progress(ctx: Context, batch: Batch, waiting: int) -> None:
    if waiting:
        return
    await undo_done(ctx, batch.id)  # a follow may have been under way when the undo came
    counts = await follows.tally(ctx.connection, batch.id, DeliveryKind.UNFOLLOW)
    if any(counts.get(state.value) for state in deliveries.UNDONE) or not counts:
        return
    refused = counts.get(DeliveryState.REFUSED.value, 0)
    taken_back = sum(counts.values()) - refused - counts.get(DeliveryState.CANCELLED.value, 0)
    lines = [ctx.plural("Undone: {n} follow is taken back.", "Undone: {n} follows are taken back.", taken_back)]
    if refused:
        lines.append(
            ctx.plural(
                "{n} could not be taken back: unfollow that account yourself, please.",
                "{n} could not be taken back: unfollow those accounts yourself, please.",
                refused,
            )
        )
    await _say(ctx, f"batch:{batch.id}:undone", lines)


async def _milestone(ctx: Context, batch: Batch, counts: dict[str, int], waiting: int) -> None:
    total = sum(counts.values())
    percent = (total - waiting) * 100 // total
    reached = next((each for each in _MILESTONES if percent >= each), None)
    if total <= _LONG or reached is None:
        return
    number = ctx.texts.number
    said = ctx.text("Following: {done} of {total} so far.", done=number(total - waiting), total=number(total))
    await _say(ctx, f"batch:{batch.id}:{reached}", [said])


async def _summary(ctx: Context, batch: Batch, counts: dict[str, int]) -> None:
    followed = await follows.of_batch(ctx.connection, batch.id)
    refused = [each for each in followed if each.state is DeliveryState.REFUSED]
    if await follows.was_automatic(ctx.connection, batch.id) and not refused:
        return  # the notice said already that they would be followed
    lines = []
    if n := counts.get("done", 0):
        lines.append(ctx.plural("Done: I followed {n} account for you.", "Done: I followed {n} accounts for you.", n))
    if n := counts.get("requested", 0):
        lines.append(
            ctx.plural(
                "{n} account has yet to agree to be followed.", "{n} accounts have yet to agree to be followed.", n
            )
        )
    if n := counts.get("already", 0):
        lines.append(ctx.plural("You followed {n} account already.", "You followed {n} accounts already.", n))
    if n := counts.get(DeliveryState.CANCELLED.value, 0):
        lines.append(ctx.plural("{n} follow was cancelled.", "{n} follows were cancelled.", n))
    if refused:
        lines.append(ctx.plural("{n} could not be followed:", "{n} could not be followed:", len(refused)))
        lines += [await _refused_line(ctx, each) for each in refused[:_NAMED]]
        if len(refused) > _NAMED:
            lines.append(ctx.plural("… and {n} more: contacts", "… and {n} more: contacts", len(refused) - _NAMED))
    if counts.get("done", 0) or counts.get("requested", 0):
        lines.append(ctx.text("undo takes it back."))
    await _say(ctx, f"batch:{batch.id}:done", lines)


async def _refused_line(ctx: Context, refused: Followed) -> str:
    target = await accounts.get(ctx.connection, refused.target)
    name = name_of(ctx.account.network, target) if target else refused.target
    return ctx.text("{account}: {reason}", account=name, reason=explain(ctx, refused.outcome))


async def _say(ctx: Context, key: str, lines: list[str]) -> None:
    """Say something of a batch where the person wrote last."""
    voice = (await accounts.voices_of(ctx.connection, [ctx.person.id])).get(ctx.person.id)
    reader = await accounts.get(ctx.connection, voice) if voice else None
    if reader is None or not lines:
        return
    ctx.speeches.append(
        Speech(
            account=reader,
            text="\n".join(lines),
            language=ctx.texts.language,
            key=key,
            notice=True,
            thread=reader.thread,
        )
    )


def explain_state(ctx: Context, followed: Followed) -> str:
    """Say in a sentence what came of one follow."""
    network = NETWORKS[followed.network]
    if followed.undone:
        return ctx.text("On {network} you took the follow back.", network=network)
    if followed.pending:
        return ctx.text("On {network} the follow is still to come.", network=network)
    if followed.state is DeliveryState.DONE:
        message = {
            "already": N_("On {network} you followed them before I came."),
            "requested": N_("On {network} I asked for you; they have yet to agree."),
        }.get(followed.outcome or "", N_("On {network} I followed them for you."))
        return ctx.text(message, network=network)
    if followed.state is DeliveryState.CANCELLED:
        message = N_("On {network} the follow was cancelled: {reason}.")
    else:
        message = N_("On {network} I could not follow them: {reason}.")
    return ctx.text(message, network=network, reason=explain(ctx, followed.outcome or "cancelled"))
