"""The few words in which SQLite and PostgreSQL differ."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.ready import ready

Statement = TypeVar("Statement")


def prepared(make: Callable[[AsyncConnection], Statement]) -> Callable[[AsyncConnection], Statement]:
    """Make a statement once for each kind of database: SQLAlchemy then composes it once, not at every execution."""
    made: Final[dict[str, Statement]] = {}

    def statement(connection: AsyncConnection) -> Statement:
        kind = connection.dialect.name
        if kind not in made:
            made[kind] = ready(make(connection))
        return made[kind]

    return statement


def insert(connection: AsyncConnection, table: sa.Table) -> Any:
    """Begin an INSERT that knows ON CONFLICT (the two dialects' classes share that much, but no base class)."""
    # Only the module of the kind in use is loaded: it is there already.
    return import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)


def least(connection: AsyncConnection, *values: Any) -> Any:
    """Return the smallest value, as the function of that name or, on SQLite, the scalar MIN."""
    return sa.func.least(*values) if connection.dialect.name == "postgresql" else sa.func.min(*values)
