"""See whether there is room left where Reflock writes."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from bot.doctor import Check, Finding, ok, wrong
from bot.doctor.files import nearest_folder, sqlite_path
from bot.doctor.installation import Installation

_MEGABYTE: Final = 2**20
# The log of SQLite and what lies on the disk beside Reflock's files grow too.
_LEAST_MEGABYTES: Final = 1024
_UPLOADS_AT_ONCE: Final = 4


def checks(here: Installation) -> list[Check]:
    """Return the check."""
    return [Check("Disk", partial(asyncio.to_thread, _room, here))]


def _room(here: Installation) -> Finding:
    least = max(_LEAST_MEGABYTES, _UPLOADS_AT_ONCE * here.loaded.config.web.upload_megabytes)
    folders = {Path(tempfile.gettempdir()): "uploads under way"}
    path = sqlite_path(here)
    if path is not None:
        folders[nearest_folder(path)] = "the database"
    free = {folder: here.free(folder) // _MEGABYTE for folder in folders}
    shown = ", ".join(f"{free[folder]:,} MB free in {folder} ({what})" for folder, what in folders.items())
    if min(free.values()) < least:
        return wrong(f"{shown}; {least:,} MB are needed", "Make room, or move to a larger disk.")
    return ok(shown)
