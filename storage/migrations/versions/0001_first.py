"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite gives out row ids only for a column of exactly this type.
_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "budget",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("period", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "period", name="pk_budget"),
    )
    op.create_table(
        "cursor",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_cursor"),
    )
    op.create_table(
        "lane",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("leased_by", sa.String(length=64), nullable=True),
        sa.Column("lease", sa.String(length=16), nullable=True),
        sa.Column("leased_until", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lane"),
    )
    op.create_index("ix_lane_leased_until", "lane", ["leased_until"], unique=False)
    op.create_index("ix_lane_next_at", "lane", ["next_at"], unique=False)
    op.create_table(
        "mastodon_app",
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("server", name="pk_mastodon_app"),
    )
    op.create_table(
        "message",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("network", sa.String(length=16), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("thread_key", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reference", sa.String(length=16), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
    )
    op.create_index("ix_message_account_id_at", "message", ["account_id", "at"], unique=False)
    op.create_index("ix_message_at", "message", ["at"], unique=False)
    op.create_index("ix_message_reference", "message", ["reference"], unique=False)
    op.create_index("ix_message_thread_key_at", "message", ["thread_key", "at"], unique=False)
    op.create_table(
        "person",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("language", sa.String(length=8), nullable=True),
        sa.Column("language_chosen", sa.Boolean(), nullable=False),
        sa.Column("cadence", sa.String(length=8), nullable=False),
        sa.Column("quiet_from", sa.Integer(), nullable=True),
        sa.Column("quiet_to", sa.Integer(), nullable=True),
        sa.Column("discoverable", sa.String(length=8), nullable=False),
        sa.Column("auto", sa.Boolean(), nullable=False),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.Column("notice_due_at", sa.BigInteger(), nullable=True),
        sa.Column("seen_seq", sa.BigInteger(), nullable=False),
        sa.Column("unanswered", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_heard_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_person_notice_due_at", "person", ["notice_due_at"], unique=False)
    op.create_table(
        "sequence",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sequence"),
    )
    op.create_table(
        "session",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_session"),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("network", sa.String(length=16), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("thread", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_account_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
    )
    op.create_index("ix_account_network_handle", "account", ["network", "handle"], unique=False)
    op.create_index("ix_account_person_id", "account", ["person_id"], unique=False)
    op.create_table(
        "batch",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("undone_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_batch_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_batch"),
    )
    op.create_index("ix_batch_person_id", "batch", ["person_id"], unique=False)
    op.create_table(
        "claim",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("x_handle", sa.String(length=15), nullable=False),
        sa.Column("x_id", sa.BigInteger(), nullable=True),
        sa.Column("x_key", sa.BigInteger(), nullable=True),
        sa.Column("handle_key", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("arrival_seq", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("held_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_claim_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_claim"),
        sa.UniqueConstraint("person_id", "x_handle", name="uq_claim_person_id_x_handle"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_claim_version", "claim", ["version"], unique=True)
    op.create_index("ix_claim_x_handle", "claim", ["x_handle"], unique=False)
    op.create_index("ix_claim_x_id", "claim", ["x_id"], unique=False)
    op.create_table(
        "consent",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("network", sa.String(length=16), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_consent_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", name="pk_consent"),
    )
    op.create_index("ix_consent_expires_at", "consent", ["expires_at"], unique=False)
    op.create_index("ix_consent_person_id", "consent", ["person_id"], unique=False)
    op.create_table(
        "consent_grant",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("network", sa.String(length=16), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_consent_grant_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_consent_grant"),
        sa.UniqueConstraint("account_id", name="uq_consent_grant_account_id"),
    )
    op.create_index("ix_consent_grant_person_id", "consent_grant", ["person_id"], unique=False)
    op.create_table(
        "decision",
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("contact_id", _Id, nullable=False),
        sa.Column("choice", sa.String(length=8), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["person.id"], name="fk_decision_contact_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_decision_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("person_id", "contact_id", name="pk_decision"),
    )
    op.create_index("ix_decision_contact_id", "decision", ["contact_id"], unique=False)
    op.create_table(
        "listing",
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_listing_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("person_id", name="pk_listing"),
    )
    op.create_table(
        "report",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("x_handle", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_report_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_report"),
    )
    op.create_index("ix_report_person_id", "report", ["person_id"], unique=False)
    op.create_table(
        "told",
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("contact_id", _Id, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["person.id"], name="fk_told_contact_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_told_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("person_id", "contact_id", name="pk_told"),
    )
    op.create_index("ix_told_contact_id", "told", ["contact_id"], unique=False)
    op.create_table(
        "upload",
        sa.Column("slot", _Id, autoincrement=True, nullable=False),
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("direction", sa.String(length=16), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_upload_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("slot", name="pk_upload"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_upload_person_id", "upload", ["person_id"], unique=False)
    op.create_table(
        "arrival",
        sa.Column("seq", _Id, autoincrement=False, nullable=False),
        sa.Column("claim_id", _Id, nullable=False),
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("next_slot", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["claim_id"], ["claim.id"], name="fk_arrival_claim_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_arrival_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name="pk_arrival"),
    )
    op.create_index("ix_arrival_claim_id", "arrival", ["claim_id"], unique=False)
    op.create_index("ix_arrival_done_seq", "arrival", ["done", "seq"], unique=False)
    op.create_index("ix_arrival_person_id", "arrival", ["person_id"], unique=False)
    op.create_table(
        "code",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("person_id", _Id, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("claim_id", _Id, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["claim_id"], ["claim.id"], name="fk_code_claim_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_code_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", name="pk_code"),
    )
    op.create_index("ix_code_claim_id", "code", ["claim_id"], unique=False)
    op.create_index("ix_code_expires_at", "code", ["expires_at"], unique=False)
    op.create_index("ix_code_person_id", "code", ["person_id"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("id", _Id, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("network", sa.String(length=16), nullable=True),
        sa.Column("person_id", _Id, nullable=True),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("contact_id", _Id, nullable=True),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=True),
        sa.Column("batch_id", _Id, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_delivery_batch_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["contact_id"], ["person.id"], name="fk_delivery_contact_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_delivery_person_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        sa.UniqueConstraint("key", name="uq_delivery_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_delivery_batch_id", "delivery", ["batch_id"], unique=False)
    op.create_index("ix_delivery_contact_id", "delivery", ["contact_id"], unique=False)
    op.create_index("ix_delivery_lane_state_rank_id", "delivery", ["lane", "state", "rank", "id"], unique=False)
    op.create_index("ix_delivery_person_id_kind", "delivery", ["person_id", "kind"], unique=False)
    op.create_index("ix_delivery_settled_at", "delivery", ["settled_at"], unique=False)
    op.create_table(
        "question",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_question_account_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("account_id", name="pk_question"),
    )
    sequence = sa.table("sequence", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    op.bulk_insert(sequence, [{"name": "claim", "value": 0}, {"name": "arrival", "value": 0}])
