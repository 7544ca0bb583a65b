"""What is said of a batch of follows once it is through, and what is checked right before each of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from handlers.cadence import after_quiet
from handlers.context import Context, Speech, World
from handlers.following import GRANT_LOST, how_long, time_for
from handlers.matching import is_sure, surest_of
from handlers.names import NETWORKS, name_of
from handlers.refusals import explain
from handlers.texts import N_
from storage import accounts, arrivals, decisions, deliveries, follows, grants, lanes
from storage.deliveries import Promise
from storage.follows import Batch, Followed
from storage.records import UNDONE, Choice, Delivery, DeliveryKind, DeliveryState, Evidence, Person

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_NAMED: Final = 10
_IDS_A_QUERY: Final = 10_000
# Long batches take hours: a word now and then.
_LONG: Final = 200
_BATCHES_NAMED: Final = 5
_MILESTONES: Final = (75, 50, 25)


async def may_not(connection: "AsyncConnection", world: World, due: Sequence[Delivery], now: int) -> dict[int, str]:
    """Check consent again, right before deliveries are performed; return why not, by id."""
    checked = [each for each in due if each.kind in (DeliveryKind.NOTICE, DeliveryKind.FOLLOW)]
    of_person: dict[int, list[Delivery]] = {}
    for each in checked:
        if each.person_id is not None:
            of_person.setdefault(each.person_id, []).append(each)
    if not of_person:
        return {}
    persons = await accounts.persons(connection, of_person)
    reasons: dict[int, str] = {}
    for person_id, theirs in of_person.items():
        person = persons.get(person_id)
        if person is None:
            reasons.update({each.id: "gone" for each in theirs})
            continue
        if follows_due := [each for each in theirs if each.kind is DeliveryKind.FOLLOW]:
            reasons.update(await _follows_not(connection, world, person, follows_due))
        for each in theirs:
            if each.kind is DeliveryKind.NOTICE:
                reason = await _notice_not(connection, world, person, each, now)
                if reason is not None:
                    reasons[each.id] = reason
    return reasons


async def _notice_not(
    connection: "AsyncConnection", world: World, person: Person, delivery: Delivery, now: int
) -> str | None:
    if delivery.key.startswith(arrivals.NOTICE):
        return await _newcomers_still(connection, world, person, delivery, now)
    return "stopped" if person.stopped else None


async def _follows_not(
    connection: "AsyncConnection", world: World, person: Person, due: Sequence[Delivery]
) -> dict[int, str]:
    """Tell which follows on one person's behalf are no longer to be made, and why: a few queries for however many."""
    # Not locked: an undo that comes now waits for these deliveries, and takes them back once they are done.
    batches = await follows.batches(connection, {each.batch_id for each in due if each.batch_id is not None})
    undone = {batch.id for batch in batches.values() if batch.undone_at is not None}
    contact_ids = list(dict.fromkeys(each.contact_id for each in due if each.contact_id is not None))
    unwanted = await _unwanted(connection, person, contact_ids)
    surest = await surest_of(connection, world.keys, person, contact_ids)
    reasons: dict[int, str] = {}
    for each in due:
        if each.contact_id is None:
            reasons[each.id] = "contact_gone"
            continue
        automatic = follows.is_automatic(each.key)
        reason = "undone" if each.batch_id in undone else unwanted.get(each.contact_id)
        pair = surest.get(each.contact_id)
        if reason is not None:
            # One that was begun may have come through: it is made sure of, and taken back when it is settled.
            if each.attempts == 1:
                reasons[each.id] = reason
        elif automatic and not person.auto and each.attempts == 1:
            reasons[each.id] = "auto_off"
        elif pair is None or (automatic and not is_sure(pair[0].by_id, pair[1].evidence)):
            reasons[each.id] = "contact_gone"
    return reasons


async def _unwanted(connection: "AsyncConnection", person: Person, contact_ids: Collection[int]) -> dict[int, str]:
    """Tell which contacts a person no longer wants to follow, and why."""
    if person.stopped:
        return dict.fromkeys(contact_ids, "stopped")
    choices = await decisions.about(connection, person.id, contact_ids)
    return {contact_id: "skipped" for contact_id, choice in choices.items() if choice is Choice.SKIP}


async def _newcomers_still(
    connection: "AsyncConnection", world: World, person: Person, delivery: Delivery, now: int
) -> str | None:
    """Hold a notice back when it may not come now, or when somebody it names has gone; the others are told anew.

    Not when it was begun to be sent: it may have come through, and nobody is told of anybody twice.
    """
    contact_ids = arrivals.named_in(delivery.key)
    told = await arrivals.told_of(connection, person.id, contact_ids)
    fresh = arrivals.part_of(delivery.key) == "0" and delivery.attempts == 1
    surest = await surest_of(connection, world.keys, person, contact_ids)
    standing = {each for each, (_, claim) in surest.items() if claim.evidence >= Evidence.POST}
    if person.stopped:
        reason = "stopped"
    elif not told == standing == set(contact_ids):
        reason = "newcomer_gone"
    elif fresh and after_quiet(person, now) > now:
        reason = "quiet"
    else:
        return None
    if fresh and told:
        await arrivals.take_back(connection, person.id, contact_ids, now)
    return reason


async def _take_back_unwanted(ctx: Context, batch: Batch, settled: Collection[int]) -> None:
    """Promise to take back what came through although the person has skipped it, or said stop, meanwhile."""
    done = [each for each in await follows.of_ids(ctx.connection, settled) if each.to_undo]
    unwanted = await _unwanted(ctx.connection, ctx.person, {each.contact_id for each in done}) if done else {}
    for each in done:
        if each.contact_id in unwanted:
            await _promise_unfollows(ctx, batch.id, [each])
            await follows.mark_taken_back(ctx.connection, each)


async def undo_done(ctx: Context, batch_id: int) -> int:
    """Promise to take back every follow of an undone batch that we made; return how many those are."""
    ours = [each for each in await follows.of_batch(ctx.connection, batch_id) if each.to_undo]
    await _promise_unfollows(ctx, batch_id, ours)
    return len(ours)


async def _promise_unfollows(ctx: Context, batch_id: int, ours: Sequence[Followed]) -> None:
    handles = await _handles_of(ctx, {each.contact_id for each in ours})
    promises = [
        Promise(
            kind=DeliveryKind.UNFOLLOW,
            key=f"unfollow:{each.id}",
            lane=lanes.act_lane(each.account_id),
            payload={"actor": each.target, "handle": handles.get(each.target, ""), "uri": each.uri},
            network=each.network,
            person_id=ctx.person.id,
            account_id=each.account_id,
            contact_id=each.contact_id,
            batch_id=batch_id,
        )
        for each in ours
    ]
    await deliveries.promise(ctx.connection, promises, ctx.now)


async def _handles_of(ctx: Context, contact_ids: Collection[int]) -> dict[str, str]:
    """Return the handles of contacts' accounts, by account, a few queries for however many."""
    ids, handles = list(contact_ids), {}
    for start in range(0, len(ids), _IDS_A_QUERY):
        of_some = await accounts.accounts_of(ctx.connection, ids[start : start + _IDS_A_QUERY])
        handles.update({account.id: account.handle for of_one in of_some.values() for account in of_one})
    return handles


async def progress_of(ctx: Context, person_id: int, batch_id: int) -> None:
    """Say how somebody else's batch went, because the event has changed it."""
    person = (await accounts.persons(ctx.connection, [person_id])).get(person_id)
    voice = (await accounts.voices_of(ctx.connection, [person_id])).get(person_id)
    reader = await accounts.get(ctx.connection, voice) if voice is not None else None
    if person is not None and reader is not None:
        texts = ctx.in_language(person.language)
        await batch_progress(replace(ctx, person=person, account=reader, texts=texts), batch_id)


async def batch_progress(ctx: Context, batch_id: int, settled: Collection[int] = ()) -> None:
    """Say how a batch went, once it is through; of a long one, also how far it is.

    Called in the transaction that settles some of its deliveries (by id). What is said is keyed by the batch, so it is
    said once however often this is called.
    """
    batch = await follows.lock_batch(ctx.connection, batch_id)
    if batch is None:
        return
    if batch.undone_at is None and settled:
        await _take_back_unwanted(ctx, batch, settled)
    counts = await follows.tally(ctx.connection, batch_id, DeliveryKind.FOLLOW)
    waiting = _waiting(counts)
    if batch.undone_at is not None:
        await _undo_progress(ctx, batch, waiting)
    elif waiting:
        await _milestone(ctx, batch, counts, waiting)
    else:
        await _summary(ctx, batch, counts)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is, or the undoing of it: so much of it is through; `lines` say it in words."""

    done: int
    total: int
    lines: list[str]

    @property
    def over(self) -> bool:
        """Tell whether nothing is to come any more."""
        return self.done == self.total


async def progress_in(ctx: Context, batch: Batch) -> Progress:
    """Say how far a batch of the person's is."""
    counts = await follows.tally(ctx.connection, batch.id, DeliveryKind.FOLLOW)
    waiting = _waiting(counts)
    if batch.undone_at is not None:
        return await _progress_back(ctx, batch, waiting)
    total = sum(counts.values())
    if waiting:
        lines = [_so_far(ctx, total - waiting, total), how_long(ctx, await time_for(ctx))]
    else:
        summary = await _summary_lines(ctx, await follows.of_batch(ctx.connection, batch.id), counts)
        lines = summary or [ctx.text("Nothing of it is still to come.")]
    return Progress(total - waiting, total, lines)


async def _progress_back(ctx: Context, batch: Batch, under_way: int) -> Progress:
    """Say how far an undo is; follows that were under way when it came are taken back once they are through."""
    counts = await follows.tally(ctx.connection, batch.id, DeliveryKind.UNFOLLOW)
    total, waiting = sum(counts.values()) + under_way, _waiting(counts) + under_way
    if not waiting:
        lines = _undone_lines(ctx, counts) or [ctx.text("Nothing of it is still to come.")]
        return Progress(total, total, lines)
    number = ctx.texts.number
    so_far = ctx.text("Taken back: {done} of {total} so far.", done=number(total - waiting), total=number(total))
    return Progress(total - waiting, total, [so_far, how_long(ctx, await time_for(ctx))])


def _waiting(counts: Mapping[str, int]) -> int:
    return sum(counts.get(state.value, 0) for state in UNDONE)


async def _undo_progress(ctx: Context, batch: Batch, waiting: int) -> None:
    if waiting:
        return
    await undo_done(ctx, batch.id)  # a follow may have been under way when the undo came
    counts = await follows.tally(ctx.connection, batch.id, DeliveryKind.UNFOLLOW)
    if _waiting(counts) or not counts:
        return
    await _say(ctx, f"batch:{batch.id}:undone", _undone_lines(ctx, counts))


def _undone_lines(ctx: Context, counts: Mapping[str, int]) -> list[str]:
    # An unfollow is called off only for want of a consent.
    refused = counts.get(DeliveryState.REFUSED.value, 0) + counts.get(DeliveryState.CANCELLED.value, 0)
    lines = []
    if taken_back := sum(counts.values()) - refused:
        lines.append(ctx.plural("Undone: {n} follow is taken back.", "Undone: {n} follows are taken back.", taken_back))
    if refused:
        lines.append(
            ctx.plural(
                "{n} could not be taken back: unfollow that account yourself, please.",
                "{n} could not be taken back: unfollow those accounts yourself, please.",
                refused,
            )
        )
    return lines


async def _milestone(ctx: Context, batch: Batch, counts: dict[str, int], waiting: int) -> None:
    total = sum(counts.values())
    percent = (total - waiting) * 100 // total
    reached = next((each for each in _MILESTONES if percent >= each), None)
    if total <= _LONG or reached is None:
        return
    await _say(ctx, f"batch:{batch.id}:{reached}", [_so_far(ctx, total - waiting, total)])


def _so_far(ctx: Context, done: int, total: int) -> str:
    number = ctx.texts.number
    return ctx.text("Following: {done} of {total} so far.", done=number(done), total=number(total))


async def _summary(ctx: Context, batch: Batch, counts: dict[str, int]) -> None:
    followed = await follows.of_batch(ctx.connection, batch.id)
    if await follows.was_automatic(ctx.connection, batch.id) and not _refused(followed):
        return  # the notice said already that they would be followed
    lines = await _summary_lines(ctx, followed, counts)
    if to_undo := {each.account_id for each in followed if each.to_undo}:
        consented = {grant.account_id for grant in await grants.active(ctx.connection, ctx.person.id)}
        lines.append(
            ctx.text("undo takes it back.")
            if to_undo <= consented
            else ctx.text(
                "Where your consent has ended, undo takes nothing back: unfollow there yourself, or send me first: "
                "connect"
            )
        )
    await _say(ctx, f"batch:{batch.id}:done", lines)


def _refused(followed: Iterable[Followed]) -> list[Followed]:
    # What waits for a consent that has ended was told when it happened, as was what the person cancelled.
    return [each for each in followed if each.state is DeliveryState.REFUSED and each.outcome != GRANT_LOST]


async def _summary_lines(ctx: Context, followed: Sequence[Followed], counts: Mapping[str, int]) -> list[str]:
    refused = _refused(followed)
    dropped = [each for each in followed if each.state is DeliveryState.CANCELLED and each.outcome]
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
    if n := counts.get("unclear", 0):
        lines.append(
            ctx.plural(
                "You follow {n} account, or have asked to, and I cannot tell whether it was you or I, because an answer "
                "was lost: undo leaves it.",
                "You follow {n} accounts, or have asked to, and I cannot tell whether it was you or I, because answers "
                "were lost: undo leaves them.",
                n,
            )
        )
    if dropped:
        lines.append(
            ctx.plural("{n} is not to be followed any more.", "{n} are not to be followed any more.", len(dropped))
        )
    if refused:
        lines.append(ctx.plural("{n} could not be followed:", "{n} could not be followed:", len(refused)))
        lines += [await _refused_line(ctx, each) for each in refused[:_NAMED]]
        if len(refused) > _NAMED:
            lines.append(ctx.plural("… and {n} more: contacts", "… and {n} more: contacts", len(refused) - _NAMED))
    return lines


async def _refused_line(ctx: Context, refused: Followed) -> str:
    target = await accounts.get(ctx.connection, refused.target)
    name = name_of(ctx.account.network, target) if target else refused.target
    return ctx.text("{account}: {reason}", account=name, reason=explain(ctx, refused))


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


@dataclass(frozen=True, slots=True)
class StandingBatch:
    """A batch of which `count` follows can still be taken back, in words of where and when they were begun."""

    id: int
    count: int
    networks: str
    moment: str


async def standing_batches(ctx: Context, *, besides: int | None = None) -> list[StandingBatch]:
    """Return the newest of the person's batches of which something can be taken back, without one of them."""
    by_batch: dict[int, list[Followed]] = {}
    for each in await follows.of_person(ctx.connection, ctx.person.id):
        if each.batch_id is None or each.batch_id == besides or each.undone:
            continue
        if each.pending or each.to_undo:
            by_batch.setdefault(each.batch_id, []).append(each)
    standing = []
    for batch_id in sorted(by_batch, reverse=True)[:_BATCHES_NAMED]:
        batch = await follows.get_batch(ctx.connection, batch_id)
        if batch is not None:
            made = by_batch[batch_id]
            networks = ctx.texts.listing([NETWORKS[network] for network in sorted({each.network for each in made})])
            standing.append(StandingBatch(batch_id, len(made), networks, ctx.texts.moment(batch.created_at)))
    return standing


def explain_state(ctx: Context, followed: Followed) -> str:
    """Say in a sentence what came of one follow."""
    network = NETWORKS[followed.network]
    if followed.undone and not followed.begun:
        return ctx.text("On {network} you took the follow back.", network=network)
    if followed.pending:
        return ctx.text("On {network} the follow is still to come.", network=network)
    if followed.state is DeliveryState.DONE:
        message = {
            "already": N_("On {network} you followed them before I came."),
            "requested": N_("On {network} I asked for you; they have yet to agree."),
            "unclear": N_(
                "On {network} you follow them, or have asked to. I cannot tell whether it was you or I, because an answer "
                "was lost, so undo leaves it."
            ),
        }.get(followed.outcome or "", N_("On {network} I followed them for you."))
        return ctx.text(message, network=network)
    if followed.state is DeliveryState.CANCELLED:
        message = N_("On {network} the follow was cancelled: {reason}.")
    else:
        message = N_("On {network} I could not follow them: {reason}.")
    return ctx.text(message, network=network, reason=explain(ctx, followed))
