"""Read a real X archive for the leading part; it is opened here and handed to nobody but the demo's own bot."""

from pathlib import Path
from typing import Final

from bot.sandbox.demo.community import FEWEST, RealArchive
from handlers.archive import ArchiveError, read_archive
from handlers.texts import Catalogue

_TOO_FEW: Final = (
    "{path} names {n} people that its owner followed; the story needs at least {fewest}. "
    "Take the whole zip, or data/following.js."
)
# What the bot's upload page takes at most ([web] upload_megabytes, with room for the form around it).
_MOST_BYTES: Final = 63 * 2**20


class BadArchive(Exception):
    """The archive cannot be used; the text says why and what to do."""


def read_real_archive(path: Path) -> RealArchive:
    """Return what an archive (a zip, or following.js alone) says."""
    try:
        content = path.read_bytes()
        lists = read_archive([(path.name, content)])
    except OSError as error:
        raise BadArchive(f"{path} cannot be read: {error.strerror}.") from None
    except ArchiveError as error:
        raise BadArchive(Catalogue().texts(None).text(error.message, **error.values)) from None
    following = () if lists.following is None else tuple(int(x_id) for x_id in lists.following)
    if len(following) < FEWEST:
        raise BadArchive(_TOO_FEW.format(path=path, n=len(following), fewest=FEWEST))
    file = (path.name, content) if len(content) <= _MOST_BYTES else None
    return RealArchive(following, lists.account_x_id, lists.x_handle, file)
