"""The first schema."""

import sqlalchemy as sa
from alembic import op

from storage.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    bind = op.get_bind()
    metadata.create_all(bind)
    bind.execute(
        sa.insert(metadata.tables["sequence"]), [{"name": "claim", "value": 0}, {"name": "arrival", "value": 0}]
    )
