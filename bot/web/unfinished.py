"""Keep uploads under way: what has arrived so far, so that a lost connection need not begin anew.

Each lies in a file without a name, which is gone with the last one who holds it, and with the process.
"""

import asyncio
import tempfile
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from bot.events import Clock
from storage.keys import new_token

_LIFETIME_SECONDS: Final = 3600
# Somebody may have two tabs open, and a telephone.
_EACH: Final = 3
_ALL: Final = 100


class TooLongError(Exception):
    """More arrived than was announced."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a finished upload came to: words for its sender, and whether the lists were kept."""

    words: str
    kept: bool


class Upload:
    """One upload of `length` bytes; `answer` is there once it is finished, and what was uploaded is gone then."""

    def __init__(self, person_id: int, length: int, until: int) -> None:
        self.person_id: Final = person_id
        self.length: Final = length
        self.until: Final = until
        self.answer: Answer | None = None
        self.finishing: Final = asyncio.Lock()
        self._offset = 0
        self._file = tempfile.TemporaryFile()  # closed by the next line  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._writing = asyncio.Lock()
        self._writer = object()

    @property
    def is_complete(self) -> bool:
        """Tell whether everything has arrived."""
        return self._offset == self.length

    async def offset(self) -> int:
        """Return how much has arrived; who was still sending is not listened to any more, so it stays true."""
        self._writer = object()
        async with self._writing:
            return self._offset

    async def append(self, offset: int, chunks: AsyncIterator[bytes]) -> bool:
        """Take what follows the first `offset` bytes; False where that is not what has arrived, or another one sends."""
        self._writer = own = object()
        async with self._writing:
            if offset != self._offset:
                return False
        async for chunk in chunks:
            async with self._writing:
                if own is not self._writer:
                    return False
                if self._offset + len(chunk) > self.length:
                    raise TooLongError
                await asyncio.to_thread(self._write, self._offset, chunk)
                self._offset += len(chunk)
        return True

    def content(self) -> bytes:
        """Return everything that has arrived."""
        self._file.seek(0)
        return self._file.read()

    def finish(self, answer: Answer) -> None:
        """Keep only the answer, for senders who did not hear it."""
        self.answer = answer
        self._file.truncate(0)

    def _write(self, offset: int, chunk: bytes) -> None:
        self._file.seek(offset)
        self._file.write(chunk)


class Unfinished:
    """All uploads under way, oldest first; the oldest make room for new ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: dict[str, Upload] = {}

    def begin(self, person_id: int, length: int) -> str:
        """Begin an upload and return its id, which nobody can guess."""
        self._forget_old()
        mine = [each for each, upload in self._all.items() if upload.person_id == person_id]
        for surplus in {*mine[: 1 - _EACH], *list(self._all)[: 1 - _ALL]}:
            del self._all[surplus]
        upload_id = new_token()
        self._all[upload_id] = Upload(person_id, length, self._clock() + _LIFETIME_SECONDS * 1000)
        # Also when nobody comes any more.
        asyncio.get_running_loop().call_later(_LIFETIME_SECONDS + 1, self._forget_old)
        return upload_id

    def find(self, upload_id: str, person_id: int) -> Upload | None:
        """Return somebody's upload; None for a stranger's, and for one that has made room or is too old."""
        self._forget_old()
        upload = self._all.get(upload_id)
        return upload if upload is not None and upload.person_id == person_id else None

    def _forget_old(self) -> None:
        now = self._clock()
        for upload_id in [each for each, upload in self._all.items() if upload.until <= now]:
            del self._all[upload_id]
