"""Find the command in a message, bind the words to its handler's signature, or answer with its usage."""

import difflib
import inspect
import re
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

from handlers.context import Context
from handlers.names import quoted
from handlers.texts import N_
from handlers.words import READERS, SHAPES, WHOLE, WordError
from storage import accounts, questions
from storage.records import Question

Handler = Callable[..., Awaitable[str | None]]
Answer = Callable[[Context, Question, str], Awaitable[str | None]]

_EDGES: Final = " \t\r\n.,;:!?¡¿،؛؟\"'()[]{}<>«»…/\\*_`~|"


class Decorated(Protocol):
    """A handler that carries its declaration."""

    command: "Command"


@dataclass(frozen=True)
class Command:
    """One command: its English name, the aliases by language, and the handler whose signature is its grammar.

    `public` commands hold nothing personal and are answered where they were asked; all others by DM. A stopped person
    is answered only by commands declared `when_stopped`.
    """

    name: str
    summary: str
    handler: Handler
    aliases: Mapping[str, tuple[str, ...]]
    public: bool = False
    when_stopped: bool = False
    example: str = ""

    @cached_property
    def parameters(self) -> list[inspect.Parameter]:
        """Return what the handler takes after its context."""
        return list(inspect.signature(self.handler, eval_str=True).parameters.values())[1:]

    @cached_property
    def usage(self) -> str:
        """Write the command's grammar from the handler's signature: follow [all | 1 3 5-9]."""
        shapes = [
            _shape(each) for each in self.parameters if not each.name.startswith("_")
        ]  # _: taken, but not looked at
        return " ".join([self.name, *shapes])

    def bind(self, words: str) -> list[Any]:
        """Read the words after the command's name into arguments; raise UsageError or WordError."""
        left = words.split()
        arguments: list[Any] = []
        for parameter in self.parameters:
            kind, optional = _kind(parameter)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                arguments += [_read(kind, word) for word in left]
                return arguments
            if not left:
                if not optional:
                    raise UsageError
                arguments.append(parameter.default)
                continue
            whole = kind in WHOLE
            arguments.append(_read(kind, words.split(maxsplit=len(arguments))[-1] if whole else left[0]))
            left = [] if whole else left[1:]
        if left:
            raise UsageError
        return arguments


class UsageError(Exception):
    """The words do not fit the command's grammar."""


def command(
    name: str,
    summary: str,
    *,
    fr: Sequence[str] = (),
    ar: Sequence[str] = (),
    en: Sequence[str] = (),
    public: bool = False,
    when_stopped: bool = False,
    example: str = "",
) -> Callable[[Handler], Handler]:
    """Declare a handler's command: further words for it by language, and one (translatable) line of help."""

    def declare(handler: Handler) -> Handler:
        handler.command = Command(  # type: ignore[attr-defined]  # a declaration rides on its function
            name, summary, handler, {"en": tuple(en), "fr": tuple(fr), "ar": tuple(ar)}, public, when_stopped, example
        )
        return handler

    return declare


@dataclass(frozen=True, slots=True)
class Pattern:
    """A message that needs no command's name, because its form says what it is: a post's address, a code."""

    expression: re.Pattern[str]
    handler: Handler  # takes the context and what the expression matched


class Router:
    """All commands, in the order in which help lists them.

    `answers` take the answer to a pending question, by the question's kind; an answer that returns None was none,
    and the message goes on as if nothing had been asked.
    """

    def __init__(
        self,
        handlers: Sequence[Handler],
        answers: Mapping[str, Answer],
        patterns: Sequence[Pattern],
        unknown: Callable[[Context, str, str | None], Awaitable[str | None]],
    ) -> None:
        self.commands: Final = [typing.cast("Decorated", handler).command for handler in handlers]
        self.answers: Final = answers
        self.patterns: Final = patterns
        self._unknown = unknown
        self._words: dict[str, tuple[Command, str | None]] = {}
        for each in self.commands:
            self._add(each.name, each, None)
            for language, aliases in each.aliases.items():
                for alias in aliases:
                    self._add(alias, each, None if language == "en" else language)

    def _add(self, word: str, each: Command, language: str | None) -> None:
        if word in self._words and self._words[word][0] is not each:
            raise ValueError(f"{word!r} is declared for two commands: {self._words[word][0].name} and {each.name}.")
        self._words.setdefault(word, (each, language))

    def find(self, word: str) -> Command | None:
        """Return the command of this name or alias, if there is one."""
        found = self._words.get(_fold(word))
        return found[0] if found else None

    async def route(self, context: Context) -> None:
        """Answer one message: a command, a recognised form, the answer to a question, or the nearest command."""
        assert context.heard is not None  # noqa: S101  # a message is what is routed
        words = strip_mentions(context.heard.text, context.settings.bots.values())
        named, alias, rest = self._split(words)
        language = _language(context, alias)
        context.texts = context.texts.catalogue.texts(language)
        if context.person.stopped and not (named and named.when_stopped):
            return
        if language != context.person.language:  # what follows later, and a bare "import", is said in it too
            await accounts.change(context.connection, context.person.id, language=language)
        if named is not None:
            await self._call(context, named, rest)
            return
        for pattern in self.patterns:
            if match := pattern.expression.search(words):
                _answer(context, await pattern.handler(context, match[0]), public=False)
                return
        question = await questions.pending(context.connection, context.account.id, context.now)
        if question is not None and question.kind in self.answers:
            answer = await self.answers[question.kind](context, question, words.strip(_EDGES))
            if answer is not None:
                _answer(context, answer, public=False)
                return
        _answer(context, await self._unknown(context, words, self._nearest(words)), public=context.heard.public)

    def heeds_always(self, context: Context) -> bool:
        """Tell whether a message is a command that is carried out even for those who want silence, or wrote too much."""
        assert context.heard is not None  # noqa: S101  # a message is what is routed
        named, _, _ = self._split(strip_mentions(context.heard.text, context.settings.bots.values()))
        return named is not None and named.when_stopped

    def _split(self, words: str) -> tuple[Command | None, str | None, str]:
        """Take the longest known name off the front: one word, or two as in "forget me"."""
        parts = words.split(maxsplit=2)
        for count in (2, 1):
            if len(parts) >= count and (found := self._words.get(_fold(" ".join(parts[:count])))):
                rest = words.split(maxsplit=count)[count:]
                return *found, (rest[0].strip() if rest else "")
        return None, None, words

    async def _call(self, context: Context, named: Command, rest: str) -> None:
        try:
            arguments = named.bind(rest)
        except WordError as error:
            problem = context.text(error.message, word=quoted(error.word))
            _answer(context, f"{problem}\n{usage(context, named)}", public=False)
            return
        except UsageError:
            heard = context.text(
                N_('I read "{words}" as {command}, but the words after it do not fit.'),
                words=quoted(f"{named.name} {rest}"),
                command=named.name,
            )
            _answer(context, f"{heard}\n{usage(context, named)}", public=False)
            return
        _answer(context, await named.handler(context, *arguments), public=named.public)

    def _nearest(self, words: str) -> str | None:
        """Guess which command was meant: with the words after it, where those fit."""
        first, _, rest = words.strip().partition(" ")
        near = difflib.get_close_matches(_fold(first), self._words, n=1, cutoff=0.6)
        if not near:
            return None
        meant = self._words[near[0]][0]
        try:
            fits = bool(rest) and bool(meant.bind(rest))
        except (UsageError, WordError):
            fits = False
        return f"{meant.name} {quoted(rest)}" if fits else meant.name


def usage(context: Context, named: Command) -> str:
    """Say how a command is written, with an example where it has one."""
    line = context.text(N_("Write it like this: {usage}"), usage=named.usage)
    return f"{line}\n{context.text(N_('For example: {example}'), example=named.example)}" if named.example else line


def strip_mentions(text: str, bots: typing.Iterable[str]) -> str:
    """Take mentions of the bot out of a text, wherever they stand, with or without the server's name."""
    for bot in bots:
        name, _, host = bot.lstrip("@").partition("@")
        tail = rf"(?:@{re.escape(host)})?" if host else ""
        text = re.sub(rf"(?<![\w@/.])@{re.escape(name)}{tail}(?![\w@-])(?!\.\w)", " ", text, flags=re.IGNORECASE)
    return text.strip()


def _answer(context: Context, answer: str | None, *, public: bool) -> None:
    if answer:
        context.say(answer, public=public and context.heard is not None and context.heard.public)


def _language(context: Context, alias: str | None) -> str | None:
    """Choose the language of an answer: the chosen one, the command's, the post's, the last one."""
    if context.person.language_chosen:
        return context.person.language
    match = context.texts.catalogue.match
    declared = next(
        (found for tag in (context.heard.languages if context.heard else ()) if (found := match(tag))), None
    )
    return alias or declared or context.person.language


def _fold(word: str) -> str:
    return " ".join(part.strip(_EDGES) for part in word.casefold().replace("’", "'").split())


def _kind(parameter: inspect.Parameter) -> tuple[Any, bool]:
    kind, optional = parameter.annotation, parameter.default is not inspect.Parameter.empty
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    return kind, optional


def _shape(parameter: inspect.Parameter) -> str:
    kind, optional = _kind(parameter)
    if typing.get_origin(kind) is typing.Literal:
        shape = " | ".join(typing.get_args(kind))
    else:
        shape = SHAPES.get(kind, f"<{parameter.name}>")
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"[{shape} …]"
    return f"[{shape}]" if optional else shape


def _read(kind: Any, word: str) -> Any:
    if typing.get_origin(kind) is typing.Literal:
        if word.lower() in typing.get_args(kind):
            return word.lower()
        raise WordError(N_('"{word}" is not one of the words that can stand there.'), word)
    if kind is int:
        if re.fullmatch(r"\d{1,6}", word):
            return int(word)
        raise WordError(N_('"{word}" is not a number.'), word)
    return READERS[kind](word)
