"""claim, unclaim, report: who somebody was on X, and how that is proved."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from handlers.contests import announce, describe, settle, standing, tell_each
from handlers.context import Context
from handlers.farewell import farewell
from handlers.names import x_name
from handlers.progress import steps_with_links
from handlers.routing import Answer, Pattern, command
from handlers.texts import N_
from handlers.words import Rest, XHandle, agreed
from storage import accounts, claims, codes, deliveries, lanes, questions, reports
from storage.codes import Purpose
from storage.deliveries import Promise
from storage.keys import new_code
from storage.records import Account, Claim, ClaimState, DeliveryKind, Evidence, Question

_UNCLAIM: Final = "unclaim"
# Enough for anybody's old accounts; more is somebody who collects other people's.
_MOST: Final = 20

_POST: Final = re.compile(
    r"(?<![\w.@/-])(?:https?://)?(?:www\.|mobile\.|m\.)?(?:x|twitter)\.com/(?:#!/)?(i/web|\w{1,20})/status(?:es)?/(\d{1,20})",
    re.IGNORECASE,
)
# As we write it, or as somebody's client or copy made of it: any case, other dashes, or none.
_CODE: Final = re.compile(r"(?<![A-Z0-9])RF[-‐‑–—]?([0-9A-Z]{4})[-‐‑–—]?([0-9A-Z]{4})(?![A-Z0-9])", re.IGNORECASE)
_CODES_A_POST: Final = 5

_X_HANDLE: Final = re.compile(r"[A-Za-z0-9_]{1,15}")
_MOST_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A post as X returned it; `author_id` is None where the look-up does not tell it."""

    author_handle: str
    author_id: int | None
    text: str


class ArchiveMismatch(Exception):
    """An archive is not of the X account that was claimed; the text, in the person's language, says what to do."""


@command(
    "claim",
    N_("Say who you were on X, and get the post that proves it"),
    fr=("prouver", "revendiquer", "réclamer"),
    ar=("إثبات", "اثبات", "أثبت", "اثبت", "مطالبة"),
    example="claim old_handle",
)
async def claim(ctx: Context, handle: XHandle | None = None) -> str | None:
    """Take a claim and answer with a farewell post that carries a one-time code."""
    mine = await claims.of_person(ctx.connection, ctx.person.id)
    if handle is None:
        return _overview(ctx, mine)
    x = x_name(handle, ctx.account.network)
    before = next((each for each in mine if each.x_handle == handle), None)
    if before is None and len(mine) >= _MOST:
        return ctx.text(
            N_("You have claimed {n} X accounts, and that is as many as I take. unclaim drops one."), n=len(mine)
        )
    if before is not None and not _provable(before):
        if before.state is ClaimState.CONTESTED:
            return ctx.text(standing(before), x=x, handle=handle)
        return ctx.text(N_("{x} is proved already: there is nothing left to do for it."), x=x)
    claimed = await claims.declare(ctx.connection, ctx.world.keys, ctx.person.id, handle, ctx.now)
    secret = new_code()
    lifetime = ctx.settings.code_lifetime
    await codes.issue(
        ctx.connection,
        ctx.world.keys,
        secret,
        Purpose.CLAIM,
        person_id=ctx.person.id,
        account_id=ctx.account.id,
        claim_id=claimed.id,
        now=ctx.now,
        lifetime=lifetime,
    )
    first = (
        N_("To prove that {x} was you, post this on X. It is your goodbye at the same time:")
        if before is None
        else N_("Here is a fresh post for {x}: from now on only the code in it counts. Post this on X:")
    )
    then = N_(
        "Then send me the link to that post. The code in it works until {moment}; change the other words as you like."
    )
    otherwise = N_(
        "Is {x} deleted already? Its archive is weaker evidence, but it counts (import), "
        "or an operator can have a look (report {handle})."
    )
    return "\n\n".join(
        [
            ctx.text(first, x=x),
            farewell(ctx.texts, await _own_accounts(ctx), secret),
            ctx.text(then, moment=ctx.texts.moment(ctx.now + lifetime)),
            ctx.text(otherwise, x=x, handle=handle),
        ]
    )


def _overview(ctx: Context, mine: list[Claim]) -> str:
    how = ctx.text(N_("Write claim and your old handle on X, as in: claim old_handle. You may have had several."))
    if not mine:
        return ctx.text(N_("You have not told me yet who you were on X.")) + "\n" + how
    return "\n".join([ctx.text(N_("Who you were on X:")), *(f"• {describe(ctx, each)}" for each in mine), how])


def _provable(each: Claim) -> bool:
    """Tell whether a post could add anything to a claim."""
    return each.evidence < Evidence.POST or each.x_id is None


async def _own_accounts(ctx: Context) -> list[Account]:
    """Return the person's accounts, the one that is speaking first."""
    own = await accounts.of_person(ctx.connection, ctx.person.id)
    return sorted(own, key=lambda each: each.id != ctx.account.id)


@command(
    "unclaim",
    N_("Take a claim to an X account back"),
    fr=("renoncer",),
    ar=("تنازل", "سحب المطالبة", "إلغاء المطالبة", "الغاء المطالبة"),
    example="unclaim old_handle",
)
async def unclaim(ctx: Context, handle: XHandle) -> str | None:
    """Ask before a claim is taken back."""
    mine = await claims.of_person(ctx.connection, ctx.person.id)
    claimed = next((each for each in mine if each.x_handle == handle), None)
    x = x_name(handle, ctx.account.network)
    if claimed is None:
        return ctx.text(N_("You have no claim to {x}, so nothing changed. claim lists yours."), x=x)
    expires_at = ctx.now + ctx.settings.question_lifetime
    await questions.ask(ctx.connection, ctx.account.id, _UNCLAIM, {"claim": claimed.id}, expires_at)
    return ctx.text(
        N_(
            "Shall I forget that {x} was you? Nobody could find you by it any more, and to get it back you would have to "
            "prove it again. Answer yes or no."
        ),
        x=x,
    )


async def _unclaim_answered(ctx: Context, question: Question, words: str) -> str | None:
    sure = agreed(words)
    if sure is None:
        return None
    await questions.drop(ctx.connection, ctx.account.id)
    claimed = await claims.get(ctx.connection, json.loads(question.data)["claim"])
    if claimed is None or claimed.person_id != ctx.person.id or claimed.state is ClaimState.WITHDRAWN:
        return ctx.text(N_("That claim is gone already."))
    x = x_name(claimed.x_handle, ctx.account.network)
    if not sure:
        return ctx.text(N_("Good, your claim to {x} stays as it is."), x=x)
    freed = await claims.withdraw(ctx.connection, claimed, ctx.now, erase=True)
    await announce(ctx, freed)
    await tell_each(ctx, freed)
    return ctx.text(N_("Done: your claim to {x} is withdrawn."), x=x)


@command(
    "report",
    N_("Ask an operator to look at an X account: deleted, contested, or somebody else's"),
    fr=("signaler",),
    ar=("بلاغ", "إبلاغ", "ابلاغ"),
    example="report old_handle it was mine, and is deleted",
)
async def report(ctx: Context, handle: XHandle, words: Rest | None = None) -> str | None:
    """Write down what an operator should look at, and give it a number."""
    number = await reports.add(ctx.connection, ctx.person.id, handle, words or "", ctx.now)
    said = ctx.text(
        N_("Your report about {x} is with the operators, under the number {number}."),
        x=x_name(handle, ctx.account.network),
        number=number,
    )
    if words:
        return said
    more = N_("If there is something they should know, add it: report {handle} and then your words.")
    return f"{said}\n{ctx.text(more, handle=handle)}"


async def post_sent(ctx: Context, matched: str) -> str | None:
    """Promise to look up a post whose link was sent; the result is the answer."""
    mine = await claims.of_person(ctx.connection, ctx.person.id)
    if not any(_provable(each) for each in mine):
        if mine:
            return ctx.text(
                N_("That is a post on X, but your claims are proved already. For another account: claim old_handle.")
            )
        return ctx.text(
            N_(
                "That is a post on X, but you have not told me yet who you were there. Send me claim and your old "
                "handle; I answer with a post that proves it."
            )
        )
    match = _POST.search(matched)
    assert match is not None  # noqa: S101  # it is what was matched
    await deliveries.promise(
        ctx.connection,
        [
            Promise(
                kind=DeliveryKind.LOOKUP,
                key=f"{ctx.about}:lookup",
                lane=lanes.ask_lane(ctx.account.id),
                payload={"url": f"https://x.com/{match[1]}/status/{match[2]}"},
                network=ctx.account.network,
                person_id=ctx.person.id,
                account_id=ctx.account.id,
            )
        ],
        ctx.now,
    )
    return None


async def code_sent(ctx: Context, _matched: str) -> str | None:
    """Explain where a claim's code belongs."""
    return ctx.text(N_("That code belongs in a post on X. Post it there, then send me the link to the post."))


_PROBLEMS: Final[Mapping[str, str]] = {
    "gone": N_(
        "X says that this post is gone, or not public. Is the account protected or deleted? Post the farewell where "
        "everybody can read it and send me its link; or use your archive (import) or an operator (report)."
    ),
    "not_a_post": N_("That link does not lead to a post on X. It should look like x.com/old_handle/status/1234567890."),
}
_UNREACHABLE: Final = N_(
    "X did not answer when I looked the post up. Nothing is lost: send me the same link again later."
)


async def looked_up(ctx: Context, post: LookedUp | None, problem: str | None) -> str | None:
    """Answer what a post proves, by the text and the author that X returned.

    Without the author's numeric id only the handle is proved: the claim is held as POST, but without an id, so it is
    neither announced nor followed, and the code keeps working: the same link, sent again, adds the id.
    """
    if post is None:
        return ctx.text(_PROBLEMS.get(problem or "", _UNREACHABLE))
    found = list(dict.fromkeys(f"RF-{match[1]}-{match[2]}".upper() for match in _CODE.finditer(post.text)))
    if not found:
        return ctx.text(
            N_(
                "I read that post, but there is none of my codes in it. They look like RF-7F3K-9QXA: "
                "post the text I gave you as it is, and send me the link to that post."
            )
        )
    problems = []
    for secret in found[:_CODES_A_POST]:
        claimed, wrong = await _claim_of(ctx, secret, post)
        if claimed is not None:
            return await _proved(ctx, claimed, secret, post)
        problems.append(wrong)
    return problems[0]


async def _claim_of(ctx: Context, secret: str, post: LookedUp) -> tuple[Claim | None, str]:
    """Return the claim that a code proves, or what is wrong with it."""
    code = await codes.find(ctx.connection, ctx.world.keys, secret, Purpose.CLAIM)
    if code is None:
        return None, ctx.text(
            N_("The code {code} is not one of mine, or a newer one replaced it. A fresh one: claim and your handle."),
            code=secret,
        )
    if code.person_id != ctx.person.id:
        return None, ctx.text(
            N_("The code {code} was given to somebody else, so it proves nothing about you. Yours: claim old_handle."),
            code=secret,
        )
    claimed = await claims.get(ctx.connection, code.claim_id) if code.claim_id is not None else None
    if claimed is None or claimed.state is ClaimState.WITHDRAWN:
        return None, ctx.text(
            N_("The claim that the code {code} was for has been withdrawn. To begin again: claim and your handle."),
            code=secret,
        )
    if code.used_at is not None:
        return None, ctx.text(
            N_("The code {code} was used already, and counts once. Status: {status}"),
            code=secret,
            status=describe(ctx, claimed),
        )
    if not code.works(ctx.now):
        return None, ctx.text(
            N_("The code {code} has expired. For a fresh post, send me: claim {handle}"),
            code=secret,
            handle=claimed.x_handle,
        )
    same_id = claimed.x_id is not None and claimed.x_id == post.author_id
    if not same_id and post.author_handle.lower() != claimed.x_handle:
        network = ctx.account.network
        return None, ctx.text(
            N_("That post was written by {author}, but you claimed {x}. Post it as {x}, or send me: claim {handle}"),
            author=x_name(post.author_handle, network),
            x=x_name(claimed.x_handle, network),
            handle=post.author_handle.lower(),
        )
    return claimed, ""


async def _proved(ctx: Context, claimed: Claim, secret: str, post: LookedUp) -> str:
    if post.author_id is not None:
        await codes.use(ctx.connection, ctx.world.keys, secret, Purpose.CLAIM, ctx.now)
    outcome = await claims.raise_evidence(
        ctx.connection,
        ctx.world.keys,
        claimed,
        x_id=post.author_id,
        # Some early handles are longer than X allows now, and than we can match: then the claim keeps its own.
        x_handle=post.author_handle if _X_HANDLE.fullmatch(post.author_handle) else claimed.x_handle,
        evidence=Evidence.POST,
        now=ctx.now,
    )
    await settle(ctx, outcome)
    if (lost := _lost(ctx, outcome.claim)) is not None:
        return lost
    x = x_name(outcome.claim.x_handle, ctx.account.network)
    if post.author_id is None:
        proved = ctx.text(
            N_(
                "{x} is yours: that is proved. But X did not tell me the account's number just now, and without it I "
                "announce you to nobody. Keep the post and send me its link again later."
            ),
            x=x,
        )
    else:
        proved = ctx.text(N_("Proved: {x} was you."), x=x)
    return f"{proved}\n\n{await steps_with_links(ctx)}"


def _lost(ctx: Context, own: Claim) -> str | None:
    """Say that a claim does not stand, if so."""
    if own.state not in (ClaimState.CONTESTED, ClaimState.WITHDRAWN):
        return None
    return ctx.text(standing(own), x=x_name(own.x_handle, ctx.account.network), handle=own.x_handle)


async def evidence_from_archive(ctx: Context, x_id: int, x_handle: str) -> str:
    """Write down that an uploaded archive names an X account, and say what that is worth.

    Raise ArchiveMismatch, having written nothing, when the archive is not of an account that was claimed.
    """
    if not _X_HANDLE.fullmatch(x_handle) or not 0 < x_id <= _MOST_ID:
        raise ArchiveMismatch(ctx.text(N_("The archive names no X account that I can read. Is manifest.js complete?")))
    x_handle = x_handle.lower()
    mine = await claims.of_person(ctx.connection, ctx.person.id)
    x = x_name(x_handle, ctx.account.network)
    same = next((each for each in mine if each.x_id == x_id), None)
    if same is None:
        same = next((each for each in mine if each.x_handle == x_handle), None)
        held = [each for each in mine if each.x_id is not None]
        if same is not None and same.x_id is not None:
            raise ArchiveMismatch(
                ctx.text(
                    N_(
                        "This archive is of another account than the {x} you claimed: their numbers differ. I kept nothing "
                        "of it. If that is wrong, ask an operator: report {handle} and your words."
                    ),
                    x=x,
                    handle=x_handle,
                )
            )
        if same is None and held:
            names = ctx.texts.listing([x_name(each.x_handle, ctx.account.network) for each in held])
            raise ArchiveMismatch(
                ctx.text(
                    N_(
                        "This archive is of {x}, but you are {names}. If {x} was yours too, send me first: claim {handle}"
                    ),
                    x=x,
                    names=names,
                    handle=x_handle,
                )
            )
    elif same.evidence >= Evidence.POST:
        return ctx.text(
            N_("The archive is of {x}, which you have proved already."), x=x_name(same.x_handle, ctx.account.network)
        )
    if same is None:
        same = await claims.declare(ctx.connection, ctx.world.keys, ctx.person.id, x_handle, ctx.now)
    outcome = await claims.raise_evidence(
        ctx.connection, ctx.world.keys, same, x_id=x_id, x_handle=x_handle, evidence=Evidence.ARCHIVE, now=ctx.now
    )
    await settle(ctx, outcome)
    return _lost(ctx, outcome.claim) or ctx.text(
        N_(
            "The archive says that you were {x}. That is no proof yet, so people choose by hand whether to follow you. "
            "A post proves it: claim {handle}"
        ),
        x=x,
        handle=x_handle,
    )


async def review(ctx: Context, claim_id: int, *, for_it: bool) -> str:
    """Carry an operator's decision out and tell everybody concerned; the context is of the claim's own person.

    Raise LookupError when there is no such claim.
    """
    outcome = await claims.decide(ctx.connection, claim_id, ctx.now, for_it=for_it)
    await settle(ctx, outcome)
    x = x_name(outcome.claim.x_handle, ctx.account.network)
    decided = (
        N_("An operator has looked at it and confirmed: {x} was you.")
        if for_it
        else N_("An operator has looked at it and does not confirm that {x} was you, so your claim is withdrawn.")
    )
    return ctx.text(decided, x=x)


ANSWERS: Final[Mapping[str, Answer]] = {_UNCLAIM: _unclaim_answered}
PATTERNS: Final = (Pattern(_POST, post_sent), Pattern(_CODE, code_sent))
