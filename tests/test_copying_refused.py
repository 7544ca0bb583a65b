"""What a copy is refused for before anything is copied."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.copying import copy
from storage.database import Database
from storage.engines import DatabaseError
from storage.tables import person
from tests.conftest import fresh_postgres
from tests.test_copying import everything, nobody_told
from tests.test_storage_segments import person as meet


async def test_a_database_is_known_by_whatever_address_it_is_given(database: Database) -> None:
    if database.is_sqlite:
        file = Path(str(database.url.database))
        (file.parent / "shortcut").symlink_to(file.parent)
        again = Database(f"sqlite:///{file.parent / 'shortcut' / file.name}")
    else:
        again = Database(database.url.update_query_dict({"ssl": "disable"}).render_as_string(hide_password=False))
    await meet(database, "ann")
    before = await everything(database)

    with pytest.raises(DatabaseError, match="is the database that is to be copied"):
        await copy(database, again, nobody_told)

    assert await everything(database) == before
    await again.close()


async def test_who_may_not_see_which_numbers_were_given_out_copies_nothing(postgres: str, tmp_path: Path) -> None:
    database, target = Database(await fresh_postgres(postgres)), Database(f"sqlite:///{tmp_path / 'b.sqlite3'}")
    await database.upgrade()
    ann, bob = [await meet(database, name) for name in ("ann", "bob")]
    async with database.transaction() as connection:
        await connection.execute(sa.delete(person).where(person.c.id == bob))
        await connection.execute(sa.text("CREATE ROLE reader LOGIN"))
        await connection.execute(sa.text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
    as_reader = Database(database.url.set(username="reader").render_as_string(hide_password=False))

    with pytest.raises(DatabaseError, match="ON ALL SEQUENCES") as refused:
        await copy(as_reader, target, nobody_told)

    assert "Nothing was copied" in str(refused.value)
    async with database.transaction() as connection:
        await connection.execute(sa.text("GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader"))
    await copy(as_reader, target, nobody_told)
    assert await meet(target, "eve") > bob > ann
    for each in (as_reader, database, target):
        await each.close()
