"""link: accounts on several networks, or several on one, that are the same person."""

import re
from typing import Final

from handlers.contests import announce, tell_each
from handlers.context import Context
from handlers.names import name_of
from handlers.progress import next_step
from handlers.routing import Pattern, command
from handlers.texts import N_
from handlers.words import Code, code
from storage import accounts, claims, codes, merging
from storage.codes import Purpose
from storage.keys import new_code
from storage.records import Account

_CODE: Final = re.compile(r"(?<![A-Z0-9])LK-?[0-9A-Z]{4}-?[0-9A-Z]{4}(?![A-Z0-9])", re.IGNORECASE)
_FRESH: Final = N_("For a fresh one, send link from your other account.")


@command(
    "link",
    N_("Join your accounts on both networks into one person"),
    fr=("lier", "relier", "joindre"),
    ar=("جمع", "اجمع", "دمج", "جمع الحسابات"),
    example="link LK-7F3K-9QXA",
)
async def link(ctx: Context, secret: Code | None = None) -> str | None:
    """Give a code, or join the account that sends one with the account that got it."""
    if secret is None:
        return await _give_code(ctx)
    found = await codes.find(ctx.connection, ctx.world.keys, secret, Purpose.LINK)
    if found is not None:
        # It may have gone over to another person, or been used, until both are held.
        await accounts.hold_persons(ctx.connection, [ctx.person.id, found.person_id])
        found = await codes.find(ctx.connection, ctx.world.keys, secret, Purpose.LINK)
    if found is None:
        problem = N_("The code {code} is not one I gave out, or a newer one replaced it.")
        return ctx.text(problem, code=secret) + "\n" + ctx.text(_FRESH)
    if found.person_id == ctx.person.id:
        return await _joined_already(ctx, found.account_id)
    if found.used_at is not None:
        return ctx.text(N_("The code {code} was used already."), code=secret) + "\n" + ctx.text(_FRESH)
    if await codes.use(ctx.connection, ctx.world.keys, secret, Purpose.LINK, ctx.now) is None:
        if ctx.now < found.expires_at:  # somebody else was faster, just now
            return ctx.text(N_("The code {code} was used already."), code=secret) + "\n" + ctx.text(_FRESH)
        return ctx.text(N_("The code {code} has expired."), code=secret) + "\n" + ctx.text(_FRESH)
    other = await accounts.get_person(ctx.connection, found.person_id)
    giver = await accounts.get(ctx.connection, found.account_id) if found.account_id is not None else None
    return await _join(ctx, other.id, giver)


async def _give_code(ctx: Context) -> str:
    secret = new_code("LK")
    lifetime = ctx.settings.link_lifetime
    await codes.issue(
        ctx.connection,
        ctx.world.keys,
        secret,
        Purpose.LINK,
        person_id=ctx.person.id,
        account_id=ctx.account.id,
        now=ctx.now,
        lifetime=lifetime,
    )
    return "\n\n".join(
        [
            ctx.text(
                N_(
                    "Send me this from your other account, by DM, before {moment}. It makes the two one person, for "
                    "good, so give it to nobody else, and send nobody else's:"
                ),
                moment=ctx.texts.moment(ctx.now + lifetime),
            ),
            f"link {secret}",
        ]
    )


async def _joined_already(ctx: Context, giver_id: str | None) -> str:
    if giver_id == ctx.account.id:
        return ctx.text(N_("That is your own code: send it from the other account, the one that is to join this one."))
    return "\n".join([ctx.text(N_("These accounts are joined already, so nothing changed:")), *await _listed(ctx)])


async def _join(ctx: Context, other_id: int, giver: Account | None) -> str:
    other = await accounts.get_person(ctx.connection, other_id)
    ctx.person, freed = await merging.merge(ctx.connection, other, ctx.person, ctx.now)
    known = await accounts.get(ctx.connection, ctx.account.id)
    assert known is not None  # noqa: S101  # it is the account that is speaking
    ctx.account = known
    if ctx.person.language is not None:  # the older one's settings count from now on
        ctx.texts = ctx.in_language(ctx.person.language)
    held = await claims.of_person(ctx.connection, ctx.person.id)
    await announce(ctx, [*freed, *held])
    await tell_each(ctx, freed)
    if giver is not None and (reached := await accounts.get(ctx.connection, giver.id)) is not None:
        joined = ctx.text(
            N_("{account} has sent the code you asked for: from now on you two are one person to me."),
            account=name_of(reached.network, ctx.account),
        )
        ctx.tell(reached, joined, ctx.texts.language)
    said = [ctx.text(N_("Joined. These accounts are one person to me now:")), *await _listed(ctx)]
    said.append(ctx.text(N_("Lists, claims and decisions count for all of them; settings are those of the older one.")))
    if ctx.person.stopped:
        said.append(ctx.text(N_("You had told me to stop, and that holds: resume ends it.")))
    else:
        said.append(await next_step(ctx))
    return "\n".join(said)


async def _listed(ctx: Context) -> list[str]:
    own = await accounts.of_person(ctx.connection, ctx.person.id)
    return [f"• {name_of(ctx.account.network, each)}" for each in own]


async def code_sent(ctx: Context, matched: str) -> str | None:
    """Take a code that was sent without the command's name."""
    return await link(ctx, code(matched))


PATTERNS: Final = (Pattern(_CODE, code_sent),)
