"""What an operator does about the index of lists, from the command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from storage import links
from storage.database import Database
from storage.keys import Keys
from storage.records import Direction
from storage.segments import Sizes, tend
from tests.conftest import START
from tests.test_storage_segments import person


def write_configuration(folder: Path, database_url: str) -> Path:
    pseudonym, grant = Keys.generate()
    config = folder / "config.toml"
    config.write_text(f'[database]\nurl = "{database_url}"\n[bluesky]\nenabled = false\n[mastodon]\nenabled = false\n')
    (folder / ".env").write_text(f"REFLOCK_PSEUDONYM_KEY={pseudonym}\nREFLOCK_GRANT_KEYS={grant}\n")
    return config


def reflock(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "bot", *words, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


async def test_the_index_is_verified_and_made_anew(database_url: str, database: Database, tmp_path: Path) -> None:
    config = write_configuration(tmp_path, database_url)
    assert "There is no index yet" in reflock(config, "db", "verify").stdout

    for name in ("ann", "bob"):
        who = await person(database, name)
        async with database.transaction() as connection:
            keys = np.arange(500, dtype=np.uint64) << np.uint64(54)
            await links.add(connection, who, links.TYPED, Direction.FOLLOWING, keys, START, replace=True)
    assert await tend(database, Sizes(pending=100))
    sound = reflock(config, "db", "verify")
    assert (sound.returncode, sound.stdout) == (0, "The index is sound: 1 segments, 1,000 links.\n")

    async with database.transaction() as connection:
        await connection.execute(sa.text("DELETE FROM posting WHERE id = (SELECT min(id) FROM posting)"))
    broken = reflock(config, "db", "verify")
    assert broken.returncode == 1
    assert "Make it anew with: reflock db rebuild" in broken.stderr
    anew = reflock(config, "db", "rebuild")
    assert (anew.returncode, anew.stdout) == (0, "The index is new: 1 segments, 1,000 links.\n")
    assert reflock(config, "db", "verify").returncode == 0


async def test_on_sqlite_the_index_is_not_made_anew_beside_a_bot(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'reflock.sqlite3'}"
    database = Database(url)
    await database.upgrade()
    async with database.alone("bot"):
        refused = reflock(write_configuration(tmp_path, url), "db", "rebuild")
    await database.close()
    assert refused.returncode == 2
    assert "Another Reflock works on" in refused.stderr
