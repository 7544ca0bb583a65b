"""What follows from a claim that changed: its person's contacts learn of it, and the others who claimed the same do."""

from collections.abc import Callable, Iterable
from typing import Final

from handlers.context import Context
from handlers.names import x_name
from handlers.texts import N_, Texts
from storage import accounts, arrivals
from storage.claims import Outcome
from storage.records import Account, Claim, ClaimState, Evidence

_EVIDENCE: Final = {
    Evidence.DECLARED: N_("said by you, not proved yet"),
    Evidence.ARCHIVE: N_("shown by its archive"),
    Evidence.POST: N_("proved by a post"),
    Evidence.OAUTH: N_("proved by signing in with X"),
    Evidence.OPERATOR: N_("confirmed by an operator"),
}

FROZEN: Final = N_(
    "Somebody else claims {x} with the same kind of evidence as you. Until that is settled I show it to nobody and "
    "follow nobody because of it. A post settles it: claim {handle}"
)
FROZEN_PROVED: Final = N_(
    "Somebody else has proved {x} as well as you. Until that is settled I show it to nobody and follow nobody because "
    "of it. An operator settles it: report {handle} and your words."
)
OUTBID: Final = N_(
    "Somebody else holds {x} with stronger evidence, so your claim to it is withdrawn. If that is wrong, "
    "prove it with a post (claim {handle}) or ask an operator (report {handle})."
)
FREE: Final = N_("Nobody contests {x} any more: your claim to it stands.")


async def settle(ctx: Context, outcome: Outcome) -> None:
    """Announce what may be announced, and tell the others what became of their claims; the caller answers its own."""
    await announce(ctx, [outcome.claim, *outcome.freed])
    await tell_each(ctx, [*outcome.outbid, *outcome.contested_with, *outcome.freed])


async def announce(ctx: Context, changed: Iterable[Claim]) -> None:
    """Let those arrive whose claims stand and are proved (what an arrival takes is for `storage.arrivals` to say)."""
    for each in changed:
        await arrivals.arrive(ctx.connection, each, ctx.now)


def standing(claim: Claim) -> str:
    """Choose the message that says how a claim stands beside those of others, after a change."""
    if claim.state is ClaimState.CONTESTED:
        return FROZEN if claim.evidence < Evidence.POST else FROZEN_PROVED
    return OUTBID if claim.state is ClaimState.WITHDRAWN else FREE


async def tell_each(ctx: Context, changed: Iterable[Claim]) -> None:
    """Say to several persons how their claims stand now, each in their language; never to who is asking."""
    for each in changed:
        if each.person_id == ctx.person.id:
            continue

        def say(texts: Texts, reader: Account, told: Claim = each) -> str:
            return texts.text(standing(told), x=x_name(told.x_handle, reader.network), handle=told.x_handle)

        await tell_person(ctx, each.person_id, say)


async def tell_person(ctx: Context, person_id: int, say: Callable[[Texts, Account], str]) -> None:
    """Say something to another person, once, where they talked to us."""
    person = (await accounts.persons(ctx.connection, [person_id])).get(person_id)
    voice = (await accounts.voices_of(ctx.connection, [person_id])).get(person_id)
    reader = await accounts.get(ctx.connection, voice) if voice is not None else None
    if person is None or reader is None:
        return
    texts = ctx.in_language(person.language)
    ctx.tell(reader, say(texts, reader), texts.language)


def describe(ctx: Context, claim: Claim) -> str:
    """Say in a line how a claim stands."""
    x = x_name(claim.x_handle, ctx.account.network)
    how = ctx.text(_EVIDENCE[claim.evidence])
    if claim.state is ClaimState.CONTESTED:
        return ctx.text(N_("{x}: {evidence}; frozen, because somebody else claims it too"), x=x, evidence=how)
    if claim.state is ClaimState.HELD and claim.x_id is None:
        return ctx.text(N_("{x}: {evidence}; its account number is not known yet"), x=x, evidence=how)
    return ctx.text(N_("{x}: {evidence}"), x=x, evidence=how)
