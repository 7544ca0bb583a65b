"""Meeting somebody: start, guide, exit, and what is said to a message that was not understood."""

import re
from collections.abc import Mapping
from typing import Final

from handlers.context import Context
from handlers.farewell import farewell
from handlers.names import quoted, unaddressed
from handlers.progress import CLAIM, step_after
from handlers.routing import Command, command
from handlers.texts import N_
from handlers.words import Rest
from storage import accounts, claims, overview

# Words of thanks, by their letters alone, and the language that they, like a command's alias, are answered in.
_THANKS: Final[Mapping[str, str | None]] = {"thanks": None, "thankyou": None, "merci": "fr", "شكرا": "ar"}

# Said in public too: with a translation's longer words it must still fit into one post of 300 graphemes.
_SHORT: Final = N_(
    "Hello! I find the people you followed on X again, on Bluesky and Mastodon. By DM: 1. claim your old handle, "
    "2. import your list, 3. connect. To begin, send me: start"
)


@command(
    "start",
    N_("Say hello, and see where you are"),
    en=("hello", "hi", "hey"),
    fr=("bonjour", "bonsoir", "salut", "coucou", "commencer"),
    ar=("مرحبا", "مرحبًا", "أهلا", "اهلا", "أهلًا", "سلام", "السلام عليكم", "ابدأ", "ابدا"),
    public=True,
    when_stopped=True,
)
async def start(ctx: Context, *_words: str) -> str | None:
    """Introduce the bot; by DM, show where somebody is."""
    if ctx.heard is not None and ctx.heard.public:
        return ctx.text(_SHORT)
    if ctx.person.stopped:
        return ctx.text(N_("Hello again! You had told me to stop, so I keep silent. resume lets me speak again."))
    held = await claims.of_person(ctx.connection, ctx.person.id)
    done = await overview.of_person(ctx.connection, ctx.person.id)
    if not held and not done.lists:
        return _introduction(ctx)
    step = step_after(ctx, held, done)
    return ctx.text(N_("Hello again!")) + "\n" + step + "\n" + ctx.text(N_("status tells you more."))


def _introduction(ctx: Context) -> str:
    return "\n".join(
        [
            ctx.text(N_("Hello! I am a bot that finds the people you followed on X again, in three steps:")),
            ctx.text(N_("1. Say who you were there: claim old_handle. I answer with a farewell post that proves it.")),
            ctx.text(
                N_(
                    "2. Hand over your list: import. Of your archive I keep only whom you followed and who followed you."
                )
            ),
            ctx.text(N_("3. Let me follow for you, if you wish: connect, then follow all.")),
            ctx.text(
                N_("From then on I tell you, by name, who arrives. guide explains more, help lists all commands.")
            ),
            ctx.text(CLAIM),
        ]
    )


@command(
    "guide",
    N_("The three steps, explained"),
    fr=("étapes", "etapes"),
    ar=("دليل", "الدليل", "خطوات", "الخطوات", "شرح"),
)
async def guide(ctx: Context) -> str | None:
    """Explain the three steps."""
    return "\n\n".join(
        [
            ctx.text(N_("Five minutes, spread over a day or two, because X takes its time to make an archive:")),
            ctx.text(
                N_(
                    "1. Ask X for your archive (Settings, Your account, Download an archive of your data). While X makes "
                    "it, send me claim and your old handle: I answer with a farewell post for X that proves it was "
                    "you. Post it and send me its link."
                )
            ),
            ctx.text(
                N_(
                    "2. When the archive is there, send me import. You get a page that takes it, or only its files "
                    "following.js and follower.js. I keep nothing but those two lists, as pseudonyms that name nobody. "
                    "Without an archive: import and the handles you remember."
                )
            ),
            ctx.text(
                N_(
                    "3. contacts shows who is here already. With connect you let me follow for you, follow all follows "
                    "them, undo takes it back. With an account on both networks, link joins the two."
                )
            ),
            ctx.text(
                N_(
                    "Nothing is deleted on X, and you need not leave it. discoverable says who may find you; export "
                    "shows all I know; forget me removes it; stop silences me."
                )
            ),
        ]
    )


@command(
    "exit",
    N_("A word of farewell for X, ready to be posted"),
    fr=("adieu", "quitter"),
    ar=("وداع", "وداعا", "وداعًا", "خروج"),
)
async def exit_(ctx: Context) -> str | None:
    """Write a farewell post without a code."""
    own = await accounts.of_person(ctx.connection, ctx.person.id)
    own.sort(key=lambda each: each.id != ctx.account.id)
    return "\n\n".join(
        [
            ctx.text(N_("A farewell you may post on X:")),
            farewell(ctx.texts, own),
            ctx.text(N_("If it is to prove who you were as well, send me claim and your old handle instead.")),
        ]
    )


@command(
    "help",
    N_("All commands, or one of them explained"),
    en=("commands",),
    fr=("aide", "commandes"),
    ar=("مساعدة", "المساعدة", "ساعدني", "أوامر", "اوامر"),
    when_stopped=True,
    example="help claim",
)
async def help_(ctx: Context, command: Rest | None = None) -> str | None:
    """List the commands in their declared order, or explain one, from the declarations themselves."""
    from handlers import router  # the router is made of this handler, among others

    if command is None:
        lines = [f"{each.name}: {ctx.text(each.summary)}" for each in router.commands]
        more = ctx.text(
            N_("help with a command's name explains that command. You may write to me by DM or by mention.")
        )
        return "\n".join([ctx.text(N_("What you can send me:")), *lines, more])
    asked = router.find(command)
    if asked is None:
        return ctx.text(
            N_('I have no command "{words}". help lists all of them.'),
            words=quoted(command),
        )
    return explain(ctx, asked)


def explain(ctx: Context, asked: Command) -> str:
    """Say how a command is written, what it does, and its other names."""
    network = ctx.account.network
    lines = [f"{asked.name}: {ctx.text(asked.summary)}"]
    lines.append(ctx.text(N_("Write it like this: {usage}"), usage=unaddressed(asked.usage, network)))
    if asked.example:
        lines.append(ctx.text(N_("For example: {example}"), example=unaddressed(asked.example, network)))
    aliases = [alias for language in asked.aliases.values() for alias in language]
    if aliases:
        lines.append(ctx.text(N_("Other words for it: {words}"), words=ctx.texts.listing(aliases)))
    return "\n".join(lines)


def _with_pleasure(ctx: Context, language: str | None) -> str:
    if language is not None and not ctx.person.language_chosen:
        ctx.texts = ctx.in_language(language)
    return ctx.text(N_("With pleasure."))


async def unknown(ctx: Context, words: str, nearest: str | None) -> str | None:
    """Answer thanks, and what was not understood: with the nearest command, or, to no words at all, with hello."""
    public = ctx.heard is not None and ctx.heard.public
    letters = re.sub(r"\W", "", words.casefold())
    if letters in _THANKS:
        return None if public else _with_pleasure(ctx, _THANKS[letters])
    if not words or (public and nearest is None):
        return await start(ctx)
    if nearest is not None:
        return ctx.text(
            N_('I did not understand "{words}". Did you mean {command}? help lists all I can do.'),
            words=quoted(words),
            command=nearest,
        )
    return ctx.text(
        N_('I did not understand "{words}". help lists all I can do; start shows the next step.'), words=quoted(words)
    )
