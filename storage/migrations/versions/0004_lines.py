"""Lanes of what is said name their network, and the first that has something to do is found by an index alone."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Give what is still to be said its new lane."""
    op.drop_index("ix_lane_leased_until", "lane")
    op.create_index("ix_lane_leased_until_next_at", "lane", ["leased_until", "next_at"])
    op.execute(
        "UPDATE delivery SET lane = 'say:' || network || ':' || substr(lane, 5) "
        "WHERE lane LIKE 'say:%' AND network IS NOT NULL"
    )
    op.execute("DELETE FROM lane WHERE name LIKE 'say:%'")
    op.execute(
        "INSERT INTO lane (name, rank, next_at, failures) "
        "SELECT lane, MIN(rank), MIN(due_at), 0 FROM delivery "
        "WHERE lane LIKE 'say:%' AND state IN ('promised', 'leased') GROUP BY lane"
    )
