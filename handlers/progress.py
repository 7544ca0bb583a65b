"""Where somebody is on the way, and which step comes next."""

from typing import Final

from handlers.context import Context
from handlers.texts import N_
from storage import claims, overview
from storage.overview import Overview
from storage.records import Claim, ClaimState, Evidence

CLAIM: Final = N_("Next step: tell me who you were on X, with claim followed by your old handle.")
IMPORT: Final = N_("Next step: hand over the list of people you followed, with import.")
CONNECT: Final = N_("Next step: let me follow on your behalf, with connect.")
READY: Final = N_("All is set up: contacts shows who is here, follow all follows them.")


async def next_step(ctx: Context) -> str:
    """Say the one step that comes next."""
    held = await claims.of_person(ctx.connection, ctx.person.id)
    return step_after(ctx, held, await overview.of_person(ctx.connection, ctx.person.id))


def step_after(ctx: Context, held: list[Claim], done: Overview) -> str:
    """Say the one step that comes after what a person has done."""
    if not any(each.state is ClaimState.HELD and each.evidence > Evidence.DECLARED for each in held):
        return ctx.text(CLAIM)
    if not done.lists:
        return ctx.text(IMPORT)
    return ctx.text(READY if done.granted else CONNECT)


async def steps_with_links(ctx: Context) -> str:
    """Say which steps are left after the proof, each with its one-time link where there is a web address."""
    from handlers import consents, imports  # they, too, speak of claims

    done = await overview.of_person(ctx.connection, ctx.person.id)
    steps = []
    if not done.lists:
        link = await imports.link_for(ctx)
        steps.append(
            ctx.text(
                N_("Hand over the list of people you followed on X, from your archive, on this page: {link}"), link=link
            )
            if link
            else ctx.text(N_("Hand over the people you followed on X: send me import with their handles after it."))
        )
    if not done.granted:
        link = await consents.link_for(ctx)
        steps.append(
            ctx.text(
                N_("If you wish, let me follow on your behalf those who are here: {link} (disconnect ends it)"),
                link=link,
            )
            if link
            else ctx.text(N_("If you wish, let me follow on your behalf those who are here: send me connect."))
        )
    return "\n".join(steps) if steps else ctx.text(READY)
