"""Write the list that Mastodon's own import takes: as its export writes it, so that nothing has to be changed in it."""

import csv
import io
import re
from collections.abc import Iterable
from typing import Final

from handlers.names import plain_name
from storage.records import Account

_COLUMNS: Final = ("Account address", "Show boosts", "Notify on new posts", "Languages")
# A name and a host, each beginning with a letter, a digit or an underscore: no spreadsheet takes that for a formula.
_ADDRESS: Final = re.compile(r"\w[\w.-]*@[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


def following_accounts(accounts: Iterable[Account]) -> str:
    """Return the file; what is no address is left out, because nobody could be followed by it."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    addresses = dict.fromkeys(plain_name(each) for each in accounts)
    writer.writerows((each, "true", "false", "") for each in addresses if _ADDRESS.fullmatch(each))
    return file.getvalue()
