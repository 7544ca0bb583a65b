"""The inverted index of the lists, made from them and thrown away with them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add segments and postings; lists are numbered in the order of their commits from now on."""
    op.create_table(
        "segment",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("bits", sa.Integer(), nullable=False),
        sa.Column("links", sa.BigInteger(), nullable=False),
        sa.Column("lo", sa.BigInteger(), nullable=False),
        sa.Column("hi", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_segment"),
    )
    op.create_table(
        "posting",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_posting"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # They do not compress: to try costs more than it saves.
        op.execute("ALTER TABLE posting ALTER COLUMN data SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE upload ALTER COLUMN data SET STORAGE EXTERNAL")
    op.execute("INSERT INTO sequence (name, value) SELECT 'upload', COALESCE(MAX(slot), 0) FROM upload")
    op.execute("INSERT INTO sequence (name, value) VALUES ('segment', 0)")
