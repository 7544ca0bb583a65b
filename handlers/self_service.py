"""Between a person and the bot: status, lang, cancel, stop, resume."""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from handlers import follows
from handlers.contests import describe
from handlers.context import Context
from handlers.names import name_of, quoted
from handlers.notices import CADENCE, DISCOVERABLE, look_anew
from handlers.progress import next_step, step_after
from handlers.routing import command
from handlers.texts import N_
from handlers.words import Tag
from storage import accounts, arrivals, claims, deliveries, overview, questions
from storage.overview import Overview
from storage.records import DeliveryKind, DeliveryState, Direction
from storage.tables import delivery

AUTO: Final[Mapping[bool, str]] = {
    True: N_("auto is on: proved newcomers are followed at once."),
    False: N_("auto is off: I follow nobody unless you say so."),
}


@command(
    "status",
    N_("What I know about you, and how far things are"),
    fr=("statut", "état", "etat"),
    ar=("حالة", "الحالة", "حالتي", "وضعي"),
    when_stopped=True,
)
async def status(ctx: Context) -> str | None:
    """Say who a person is to the bot."""
    person_id = ctx.person.id
    own = await accounts.of_person(ctx.connection, person_id)
    held = await claims.of_person(ctx.connection, person_id)
    done = await overview.of_person(ctx.connection, person_id)
    network = ctx.account.network
    lines = [ctx.text(N_("Your accounts:"))]
    for each in own:
        name = name_of(network, each)
        if each.id in done.granted:
            name = ctx.text(N_("{account} (connected: I may follow for you there)"), account=name)
        lines.append(f"• {name}")
    if held:
        lines += [ctx.text(N_("Who you were on X:")), *(f"• {describe(ctx, each)}" for each in held)]
    lines += _lists(ctx, done)
    lines += _follows(ctx, done)
    if done.coming and (coming := await follows.progress(ctx)) is not None:
        lines.append(coming)
    lines.append(ctx.text(CADENCE[ctx.person.cadence]))
    lines.append(ctx.text(AUTO[ctx.person.auto]))
    lines.append(ctx.text(DISCOVERABLE[ctx.person.discoverable]))
    if ctx.person.stopped:
        lines.append(ctx.text(N_("You told me to stop, so I keep silent until you send resume.")))
    else:
        lines.append(step_after(ctx, held, done))
    return "\n".join(lines)


def _lists(ctx: Context, done: Overview) -> list[str]:
    if not done.lists:
        return [ctx.text(N_("Your lists: none yet."))]
    lines = []
    if n := done.lists.get(Direction.FOLLOWING, 0):
        lines.append(ctx.plural("Your list: {n} account you followed.", "Your list: {n} accounts you followed.", n))
    if n := done.lists.get(Direction.FOLLOWERS, 0):
        lines.append(
            ctx.plural("Your list: {n} account that followed you.", "Your list: {n} accounts that followed you.", n)
        )
    return lines


def _follows(ctx: Context, done: Overview) -> list[str]:
    made = done.follows.get(DeliveryState.DONE, 0)
    refused = done.follows.get(DeliveryState.REFUSED, 0)
    lines = []
    if made or done.coming:
        lines.append(ctx.plural("{n} follow made for you so far.", "{n} follows made for you so far.", made))
    if refused:
        lines.append(ctx.plural("{n} follow was refused.", "{n} follows were refused.", refused))
    return lines


@command(
    "lang",
    N_("Choose the language I answer in"),
    en=("language",),
    fr=("langue",),
    ar=("لغة", "اللغة"),
    example="lang fr",
)
async def lang(ctx: Context, language: Tag | None = None) -> str | None:
    """Remember the chosen language, and answer in it."""
    if language is None:
        return _languages(ctx)
    found = _find_language(ctx, language)
    if found is None:
        problem = N_('I do not speak "{language}" yet.')
        return ctx.text(problem, language=quoted(language)) + "\n" + _languages(ctx)
    before = ctx.person.language if ctx.person.language_chosen else None
    await accounts.change(ctx.connection, ctx.person.id, language=found, language_chosen=True)
    ctx.texts = ctx.in_language(found)
    if before == found:
        return ctx.text(N_("I answer you in {language} already."), language=own_name(found))
    return ctx.text(N_("From now on I answer you in {language}."), language=own_name(found))


def _languages(ctx: Context) -> str:
    spoken = [f"{own_name(each)} (lang {each})" for each in ctx.texts.catalogue.languages]
    return ctx.text(N_("I speak {languages}."), languages=ctx.texts.listing(spoken))


def _find_language(ctx: Context, word: str) -> str | None:
    """Find a language of ours by its code or by its name, in itself, in English or in the answer's language."""
    from babel import Locale

    if (found := ctx.texts.catalogue.match(word)) is not None:
        return found
    for each in ctx.texts.catalogue.languages:
        locale = Locale.parse(each)
        names = (locale.get_display_name(each), locale.english_name, locale.get_display_name(ctx.texts.language))
        if word.casefold() in [(name or "").casefold() for name in names]:
            return each
    return None


def own_name(language: str) -> str:
    """Return what a language calls itself."""
    from babel import Locale

    return Locale.parse(language).get_display_name(language) or language


@command(
    "stop",
    N_("Silence: no notices, and no more follows"),
    fr=("arrêter", "arreter", "arrête"),
    ar=("توقف", "توقفي", "أوقف", "اوقف", "إيقاف", "ايقاف", "صمت"),
    when_stopped=True,
)
async def stop(ctx: Context) -> str | None:
    """Fall silent, and cancel what is still to come."""
    if ctx.person.stopped:
        return ctx.text(N_("I am silent already, and stay so until you send resume."))
    await accounts.change(ctx.connection, ctx.person.id, stopped=True)
    await questions.drop(ctx.connection, ctx.account.id)
    cancelled = await deliveries.cancel(
        ctx.connection,
        ctx.now,
        delivery.c.person_id == ctx.person.id,
        delivery.c.kind == DeliveryKind.FOLLOW.value,
        deliveries.NOT_BEGUN,
    )
    # Notices of newcomers are held back when their turn comes, and told anew after resume.
    await deliveries.cancel(
        ctx.connection,
        ctx.now,
        delivery.c.person_id == ctx.person.id,
        delivery.c.kind == DeliveryKind.NOTICE.value,
        sa.not_(delivery.c.key.startswith(arrivals.NOTICE)),
    )
    said = ctx.text(N_("I fall silent: no notices, no follows. resume ends it; forget me removes all I know of you."))
    if cancelled:
        said += "\n" + ctx.plural(
            "{n} follow still to come is cancelled.", "{n} follows still to come are cancelled.", cancelled
        )
    return said


@command(
    "resume", N_("End the silence"), fr=("reprendre",), ar=("استئناف", "استأنف", "استانف", "تكلم"), when_stopped=True
)
async def resume(ctx: Context) -> str | None:
    """Speak again."""
    if not ctx.person.stopped:
        return ctx.text(N_("I was not stopped, so nothing changed."))
    await accounts.change(ctx.connection, ctx.person.id, stopped=False, unanswered=0)
    await look_anew(ctx)
    again = ctx.text(N_("I am back. Follows that stop cancelled stay cancelled; to have them made, send me: follow"))
    return again + "\n" + await next_step(ctx)


@command(
    "cancel",
    N_("Drop the question I asked last"),
    fr=("annuler", "abandonner"),
    ar=("إلغاء", "الغاء", "ألغ", "الغ"),
    when_stopped=True,
)
async def cancel(ctx: Context) -> str | None:
    """Drop the pending question, and say which it was."""
    from handlers import router  # the router is made of this handler, among others

    pending = await questions.pending(ctx.connection, ctx.account.id, ctx.now)
    await questions.drop(ctx.connection, ctx.account.id)
    if pending is None:
        return ctx.text(N_("Nothing was waiting for your answer. undo takes follows back, stop silences me."))
    asked = router.find(pending.kind)
    if asked is None:
        return ctx.text(N_("Good: I no longer wait for your answer, and nothing was done."))
    return ctx.text(
        N_("Good: I no longer wait for your answer about {command}, and nothing was done."), command=asked.name
    )
