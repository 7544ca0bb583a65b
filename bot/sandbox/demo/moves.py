"""What somebody does on the way, by the real protocols: prove, hand over a list, consent, follow, join accounts."""

import asyncio
import io
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import httpx

from bot.sandbox.archive import following_js, write_archive
from bot.sandbox.demo import said
from bot.sandbox.demo.browser import Browser, PageProblem, find_form, text_of
from bot.sandbox.demo.community import Resident
from bot.sandbox.demo.diary import Diary, Span
from bot.sandbox.demo.lines import Line, Said, StepFailed
from bot.sandbox.demo.phrases import number
from bot.sandbox.demo.stage import Stage
from bot.sandbox.x import XAccount

# Somebody whose page does not load presses the button again: so often, with this pause.
_RELOADS: Final = 240
_RELOAD_SECONDS: Final = 0.25

T = TypeVar("T")


class Moves:
    """The moves of everybody in the story; what they did stands in the diary."""

    def __init__(self, stage: Stage, diary: Diary) -> None:
        self.stage: Final = stage
        self.diary: Final = diary
        # How often somebody had to ask anew because a page had broken off.
        self.begun_anew: Final = Counter[Line]()

    async def claim(self, line: Line, x_handle: str) -> str:
        """Ask for the farewell post; return it, as it is to be posted on X."""
        answer = await line.ask(f"claim {x_handle}", said.POST_THIS, said.FRESH_POST)
        return _farewell(line, answer)

    async def prove(self, line: Line, *, x_account: XAccount | None = None, x_handle: str = "") -> Said:
        """Claim, post the farewell on X and send its link; return what the bot says to it."""
        resident = line.resident
        x_account = x_account or self.stage.x_accounts[resident.x_id]
        farewell = await self.claim(line, x_handle or x_account.screen_name)
        begun = time.time()
        url = x_account.post(farewell, lang=resident.language)
        answer = await line.ask(url, said.PROVED, said.FROZEN, said.NOT_THE_AUTHOR)
        if answer.phrase is said.PROVED:
            page = self.diary.of(resident)
            page.claims += 1
            page.is_known_on(line.network)
            if x_account.x_id == resident.x_id:
                page.proved = Span(begun, time.time())
        return answer

    async def hand_over(self, line: Line, offered: str, *, whole_archive: bool = False) -> Said:
        """Open the one-time page in what the bot said, choose the archive, and wait for the answer by DM."""
        resident = line.resident
        name, content = _archive_of(resident, whole=whole_archive)
        url, mark, begun = _link_in(said.IMPORT_LINK, offered), len(line.received), time.time()
        browser = Browser(self.stage.http)
        line.pages.append((said.ALREADY_HERE, said.NOBODY_HERE))
        forms = list[dict[str, str]]()

        async def upload() -> None:
            if not forms:
                page = await browser.enter(url)
                forms.append(find_form(page, lambda form: "key" in form.fields).fields)
            # Sent again when the answer was lost: by its key the form is known, and nothing is said twice.
            answer = await browser.post(f"{self.stage.public_url}/import", forms[0], [("files", (name, content))])
            if answer.status_code != 303:
                raise PageProblem(f"{answer.status_code}: {text_of(answer.text)}")

        for _ in self._again(f"{resident.name} could not send the list"):
            try:
                await _pressing(upload)
                break
            except httpx.TransportError:
                continue  # it broke off under way
        answer = await line.hears(said.ALREADY_HERE, said.NOBODY_HERE, since=mark, why="after the upload")
        page = self.diary.of(resident)
        page.uploaded = Span(begun, time.time())
        page.entries = len(set(resident.follows))
        page.listed = list(resident.friends)
        page.here = number(answer.fields["n"]) if answer.phrase is said.ALREADY_HERE else 0
        return answer

    async def consent(self, line: Line, offered: str, *, on: Line | None = None) -> Said:
        """Walk from the link in what the bot said through the server's consent page and back."""
        consenting = on or line
        mark = len(line.received)
        url: str | None = _link_in(said.CONNECT_LINK, offered)
        browser = Browser(self.stage.http)
        for problems in self._again(f"{line.resident.name} could not consent"):
            if url is None:
                self.begun_anew[line] += 1
                url = _link_in(said.CONNECT_LINK, (await line.ask("connect", said.CONNECT_HERE)).text)
                browser = Browser(self.stage.http)
            line.pages.append((said.GRANTED,))
            try:
                await self._walk(browser, url, consenting)
                break
            except (PageProblem, httpx.TransportError) as problem:
                # The page said, or showed by not loading, that it was in vain: so one begins anew.
                problems.append(repr(problem))
                url = None
                if line.finds(said.GRANTED, since=mark):
                    break
        answer = await line.hears(said.GRANTED, since=mark, why="after the consent")
        page = self.diary.of(line.resident)
        page.granted[consenting.network] = time.time()
        page.is_known_on(consenting.network)
        return answer

    def _again(self, what: str) -> Iterator[list[str]]:
        """Go on beginning anew as long as patience lasts; then StepFailed, with the problems that were written down."""
        end, problems = time.monotonic() + self.stage.patience, list[str]()
        while time.monotonic() < end:
            yield problems
        raise StepFailed(f"{what}: {'; '.join(problems) or 'the page broke off every time'}")

    async def _walk(self, browser: Browser, url: str, line: Line) -> None:
        async def begin() -> str:
            page = await browser.enter(url)
            button = ("account", line.actor)
            form = find_form(page, lambda form: button in form.buttons)
            answer = await browser.post(str(page.url), {**form.fields, "account": line.actor})
            if answer.status_code != 303:
                raise PageProblem(f"{answer.status_code}: {text_of(answer.text)}")
            return str(answer.headers["location"])

        consent_page = await _pressing(begin)
        back = await line.person.approve(consent_page)
        answer = await _pressing(lambda: browser.get(back))
        if answer.status_code != 303:
            raise PageProblem(f"{answer.status_code}: {text_of(answer.text)}")

    async def follow_all(self, line: Line, words: str = "follow all") -> Said:
        """Ask for a preview, say yes, and wait until it has begun; that there is nothing to follow is fine."""
        begun, mark = time.time(), len(line.received)
        preview = await line.ask(words, said.SHALL_I, said.SHALL_I_LATER, said.NOTHING_TO_FOLLOW, said.NOBODY_YET)
        if preview.phrase is said.NOTHING_TO_FOLLOW and said.I_WOULD.find(preview.text):
            preview = await line.hears(said.SHALL_I, since=mark)  # it comes in the next part
        if preview.phrase not in (said.SHALL_I, said.SHALL_I_LATER):
            return preview
        answer = await line.ask(
            "oui" if re.search(r"\boui\b", preview.text) else "yes",
            said.HERE_WE_GO,
            said.KEPT_IN_MIND,
            also=(said.FOLLOWED,),
        )
        self.diary.of(line.resident).chose.append(Span(begun, time.time()))
        return answer

    async def auto_on(self, line: Line) -> None:
        """Have newcomers followed without being asked."""
        await line.ask("auto on", said.AUTO_ON)
        self.diary.of(line.resident).auto_since = time.time()

    async def join(self, first: Line, second: Line) -> Said:
        """Join two accounts of one person by a code from the first, sent from the second."""
        answer = await first.ask("link", said.SEND_FROM_OTHER)
        match = said.LINK_CODE.search(answer.text)
        if match is None:
            raise StepFailed(f"{first.resident.name} got no code to send from the other account.")
        joined = await second.ask(f"link {match[1]}", said.JOINED)
        for each in (first, second):
            self.diary.of(first.resident).is_known_on(each.network)
        return joined


async def _pressing(load: Callable[[], Awaitable[T]]) -> T:
    """Load a page; while nobody answers there, try again like somebody who presses the button."""
    for _ in range(_RELOADS):
        try:
            return await load()
        except httpx.ConnectError:
            await asyncio.sleep(_RELOAD_SECONDS)
    return await load()


def _farewell(line: Line, answer: Said) -> str:
    """Find the post in the answer: the paragraph with the code."""
    for paragraph in re.split(r"\n\s*\n", answer.text):
        if said.CODE.search(paragraph):
            return paragraph.strip()
    raise StepFailed(f"{line.resident.name} got no post with a code in it.")


def _link_in(expression: re.Pattern[str], text: str) -> str:
    links = expression.findall(text)
    if not links:
        raise StepFailed(f"There is no link {expression.pattern} in: {text}")
    return str(links[-1])


def _archive_of(resident: Resident, *, whole: bool) -> tuple[str, bytes]:
    """Return the file that somebody hands over: their own, or one made up in X's exact format."""
    if resident.archive is not None:
        return resident.archive
    if not whole:
        return "following.js", following_js(resident.follows)
    packed = io.BytesIO()
    write_archive(packed, x_id=resident.x_id, screen_name=resident.x_handle, following=resident.follows, followers=[])
    return "twitter-archive.zip", packed.getvalue()
