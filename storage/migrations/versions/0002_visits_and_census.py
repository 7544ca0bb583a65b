"""Whose browser spent a link, and how much there was of everything at the end of each day."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what the pages need."""
    op.add_column("code", sa.Column("used_by", sa.LargeBinary(length=32), nullable=True))
    op.create_table(
        "census",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("people", sa.BigInteger(), nullable=False),
        sa.Column("links", sa.BigInteger(), nullable=False),
        sa.Column("reconnections", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_census"),
    )
