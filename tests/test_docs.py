"""What is written about Reflock is held to what Reflock is: commands, targets, links, help, French."""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from bot.__main__ import main
from bot.config import Secrets
from handlers import router
from handlers.routing import Command

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text("utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")
LOCALES = ROOT / "handlers" / "locales"
# What `make texts` takes for messages; compared with the Makefile below.
KEYWORDS = "text plural:1,2 N_"

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _code(document: Path) -> str:
    """Return what a document shows as code: fenced blocks and spans."""
    text = document.read_text("utf-8")
    return "\n".join([*_FENCE.findall(text), *_SPAN.findall(_FENCE.sub("", text))])


def _row(command: Command) -> str:
    """Write a command's line of README's table."""
    usage = command.usage.replace("|", "\\|")
    french, arabic = (", ".join(command.aliases[language]) for language in ("fr", "ar"))
    return f"| `{usage}` | {command.summary} | {french} | {arabic} |"


# The commands of the bot.


@pytest.mark.parametrize("command", router.commands, ids=lambda command: command.name)
def test_every_command_has_a_summary_and_words_in_every_language(command: Command) -> None:
    assert command.summary
    assert not command.summary.endswith(".")
    assert command.aliases["fr"]
    assert command.aliases["ar"]


@pytest.mark.parametrize("command", router.commands, ids=lambda command: command.name)
def test_every_command_is_in_the_readme(command: Command) -> None:
    assert _row(command) in README.splitlines()


def test_the_readme_lists_no_other_command_and_keeps_the_order_of_help() -> None:
    rows = re.findall(r"^\| `.*$", README.partition("## Commands")[2].partition("\n## ")[0], re.MULTILINE)

    assert rows == [_row(command) for command in router.commands]


# The command line.


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, each in group.commands.items():
        yield f"{path} {name}", each
        if isinstance(each, click.Group):
            yield from _commands(each, f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), list(_commands(main, "reflock")), ids=lambda value: str(value))
def test_everything_on_the_command_line_has_help_and_is_documented(path: str, command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts[0]} has no help"
    if not isinstance(command, click.Group):
        documented = _code(ROOT / "README.md") + _code(ROOT / "docs" / "operating.md")
        assert path in documented


def test_every_secret_is_documented() -> None:
    missing = [name for name in Secrets.model_fields if f"REFLOCK_{name.upper()}" not in OPERATING]

    assert missing == []


def test_every_measurement_is_documented() -> None:
    measured = set(re.findall(r'"(reflock_[a-z_]+)"', (ROOT / "bot" / "web" / "gauges.py").read_text("utf-8")))

    assert measured
    assert set(re.findall(r"`(reflock_[a-z_]+)`", OPERATING)) == measured


# The documents themselves.


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?<![\w./-])make ([a-z]+)", _code(document)))

    assert named - targets == set()


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken = []
    for target in _LINK.findall(document.read_text("utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = re.findall(r"`((?:bot|handlers|storage|tests|bench|docs|\.ci)/[\w./-]*)`", document.read_text("utf-8"))

    assert [name for name in named if not (ROOT / name).exists()] == []


# The catalogues.


def _extracted() -> Catalog:
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]  # Babel's command line has no types
    keywords: dict[str, tuple[int, ...] | None] = {"text": None, "plural": (1, 2), "N_": None}
    catalog = Catalog()
    for folder in ("handlers", "bot"):
        for name, line, message, comments, context in extract_from_dir(
            ROOT / folder, method_map=methods, options_map=options, keywords=keywords
        ):
            catalog.add(message, None, [(f"{folder}/{name}", line)], auto_comments=comments, context=context)
    return catalog


def _translated(language: str) -> Catalog:
    path = LOCALES / language / "LC_MESSAGES" / "reflock.po"
    assert path.exists(), f"there is no catalogue for {language}: make texts"
    with path.open("rb") as file:
        return read_po(file, locale=language, domain="reflock")


def _languages() -> list[str]:
    return sorted({"fr"} | {path.parts[-3] for path in LOCALES.glob("*/LC_MESSAGES/reflock.po")})


def _strings(texts: str | tuple[str, ...] | list[str] | None) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts or [""])


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def _fits(message: Message) -> bool:
    """Tell whether a translation fills in what its source does; a singular may say its number in words."""
    wanted = {field for text in _strings(message.id) for field in _fields(text)}
    plural = {"n"} if message.pluralizable else set()
    return all(wanted - plural <= _fields(text) <= wanted | plural for text in _strings(message.string))


def test_every_test_that_holds_the_sandbox_to_something_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")))
    written = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert named
    assert named - written == set()
    assert [document.name for document in DOCUMENTS if "@@" in document.read_text(encoding="utf-8")] == []


def test_messages_are_extracted_as_the_makefile_does() -> None:
    assert f'-k "{KEYWORDS}"' in (ROOT / "Makefile").read_text("utf-8")
    assert len(_extracted()) > 200


def _said(source: Path) -> Iterator[tuple[int, str]]:
    """Yield the literals that a source says or declares for translation, found by its grammar."""
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            count = {"text": 1, "N_": 1, "plural": 2}.get(name, 0)
            for argument in node.args[:count]:
                for each in (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value:
                        yield each.lineno, each.value


def test_no_message_is_hidden_from_the_translators() -> None:
    # The extraction reads tokens: it overlooks what stands in an f-string, or in a condition without N_ around it.
    known = {text for message in _extracted() if message.id for text in _strings(message.id)}
    sources = [*(ROOT / "handlers").rglob("*.py"), *(ROOT / "bot").rglob("*.py")]
    hidden = [
        f"{source.relative_to(ROOT)}:{line}: {text}"
        for source in sources
        if "sandbox" not in source.parts
        for line, text in _said(source)
        if text not in known
    ]

    assert hidden == []


@pytest.mark.parametrize("language", _languages())
def test_every_message_is_translated(language: str) -> None:
    translated = _translated(language)
    missing = []
    for message in _extracted():
        found = translated.get(message.id) if message.id else None
        if message.id and (found is None or not all(_strings(found.string))):
            missing.append(f"{message.locations[0]}: {_strings(message.id)[0]}")

    assert missing == [], f"{len(missing)} messages have no translation into {language}; run make texts, then translate"


@pytest.mark.parametrize("language", _languages())
def test_no_translation_is_a_guess_or_left_over(language: str) -> None:
    known = {_strings(message.id)[0] for message in _extracted() if message.id}
    translated = [message for message in _translated(language) if message.id]

    assert [message.id for message in translated if message.fuzzy] == []
    assert [message.id for message in translated if _strings(message.id)[0] not in known] == []


@pytest.mark.parametrize("language", _languages())
def test_translations_keep_the_fields(language: str) -> None:
    wrong = [message.id for message in _translated(language) if message.id and not _fits(message)]

    assert wrong == []


@pytest.mark.parametrize("language", _languages())
def test_plurals_have_the_forms_of_their_language(language: str) -> None:
    translated = _translated(language)
    wrong = [
        message.id
        for message in translated
        if message.pluralizable and len(_strings(message.string)) != translated.num_plurals
    ]

    assert wrong == []
