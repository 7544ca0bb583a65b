"""Lanes know their line, so the first of a line that has something to do is found however many wait in the others."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Tell apart what is said on each network, and what is asked or done elsewhere."""
    op.add_column("lane", sa.Column("line", sa.String(32), nullable=False, server_default="ask"))
    op.execute("UPDATE lane SET line = 'say:bluesky' WHERE name LIKE 'say:bluesky:%'")
    op.execute("UPDATE lane SET line = 'say:mastodon' WHERE name LIKE 'say:mastodon:%'")
    op.drop_index("ix_lane_next_at", "lane")
    op.drop_index("ix_lane_leased_until_next_at", "lane")
    op.create_index("ix_lane_line_rank_next_at", "lane", ["line", "rank", "next_at"])
    op.create_index("ix_lane_leased_until", "lane", ["leased_until"])
