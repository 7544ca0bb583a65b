"""The few words in which SQLite and PostgreSQL differ."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

Insert = postgresql.Insert | sqlite.Insert


def insert(connection: AsyncConnection, table: sa.Table) -> Any:
    """Begin an INSERT that knows ON CONFLICT (the two dialects' classes share that much, but no base class)."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def least(connection: AsyncConnection, *values: Any) -> Any:
    """Return the smallest value, as the function of that name or, on SQLite, the scalar MIN."""
    return sa.func.least(*values) if connection.dialect.name == "postgresql" else sa.func.min(*values)
