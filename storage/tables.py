"""The schema, for SQLite and PostgreSQL alike. Times are epoch milliseconds; keys are signed 64-bit pseudonyms."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives out row ids only for a column of exactly this type.
_Id = BigInteger().with_variant(Integer, "sqlite")


def _person(*, nullable: bool = False) -> Column[int]:
    return Column("person_id", _Id, ForeignKey("person.id", ondelete="CASCADE"), nullable=nullable)


person = Table(
    "person",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("language", String(8)),
    Column("language_chosen", Boolean, nullable=False),
    Column("cadence", String(8), nullable=False),
    Column("quiet_from", Integer),
    Column("quiet_to", Integer),
    Column("discoverable", String(8), nullable=False),
    Column("auto", Boolean, nullable=False),
    Column("stopped", Boolean, nullable=False),
    Column("notice_due_at", BigInteger),
    Column("seen_seq", BigInteger, nullable=False),
    Column("unanswered", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_heard_at", BigInteger, nullable=False),
    Index("ix_person_notice_due_at", "notice_due_at"),
    sqlite_autoincrement=True,  # a forgotten person's id is never given out again
)

account = Table(
    "account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("network", String(16), nullable=False),
    Column("handle", Text, nullable=False),
    _person(),
    Column("thread", Text),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_account_person_id", "person_id"),
    Index("ix_account_network_handle", "network", "handle"),
)

claim = Table(
    "claim",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _person(),
    Column("x_handle", String(15), nullable=False),
    Column("x_id", BigInteger),
    Column("x_key", BigInteger),
    Column("handle_key", BigInteger, nullable=False),
    Column("evidence", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("arrival_seq", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("held_at", BigInteger),
    UniqueConstraint("person_id", "x_handle"),
    Index("ix_claim_x_id", "x_id"),
    Index("ix_claim_x_handle", "x_handle"),
    Index("ix_claim_version", "version", unique=True),
    sqlite_autoincrement=True,
)

# One-time codes and links: only a keyed digest is kept.
code = Table(
    "code",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("purpose", String(16), nullable=False),
    _person(),
    Column("account_id", Text),
    Column("claim_id", _Id, ForeignKey("claim.id", ondelete="CASCADE")),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("used_by", LargeBinary(32)),
    Index("ix_code_person_id", "person_id"),
    Index("ix_code_claim_id", "claim_id"),
    Index("ix_code_expires_at", "expires_at"),
)

# How much there was of everything at the end of each day, in UTC (`day` is days since the epoch).
census = Table(
    "census",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("people", BigInteger, nullable=False),
    Column("links", BigInteger, nullable=False),
    Column("reconnections", BigInteger, nullable=False),
)

# Written once, never updated: SQLite rewrites the whole row of a blob on any UPDATE.
upload = Table(
    "upload",
    metadata,
    Column("slot", _Id, primary_key=True, autoincrement=True),
    _person(),
    Column("source", String(32), nullable=False),
    Column("direction", String(16), nullable=False),
    Column("n", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("ix_upload_person_id", "person_id"),
    sqlite_autoincrement=True,
)

# The inverted index of the lists of people followed, derived from them: a segment covers the slots from `lo` to `hi`.
segment = Table(
    "segment",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("state", String(8), nullable=False),
    Column("level", Integer, nullable=False),
    Column("bits", Integer, nullable=False),
    Column("links", BigInteger, nullable=False),
    Column("lo", BigInteger, nullable=False),
    Column("hi", BigInteger, nullable=False),
)

posting = Table(
    "posting",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

arrival = Table(
    "arrival",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("claim_id", _Id, ForeignKey("claim.id", ondelete="CASCADE"), nullable=False),
    _person(),
    Column("at", BigInteger, nullable=False),
    Column("next_slot", BigInteger, nullable=False),
    Column("done", Boolean, nullable=False),
    Index("ix_arrival_done_seq", "done", "seq"),
    Index("ix_arrival_person_id", "person_id"),
    Index("ix_arrival_claim_id", "claim_id"),
)

# One notice per (recipient, newcomer), ever: the primary key sees to it.
told = Table(
    "told",
    metadata,
    Column("person_id", _Id, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("contact_id", _Id, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Index("ix_told_contact_id", "contact_id"),
)

decision = Table(
    "decision",
    metadata,
    Column("person_id", _Id, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("contact_id", _Id, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("choice", String(8), nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("ix_decision_contact_id", "contact_id"),
)

# The numbered list a person was shown last: packed little-endian int64 person ids, so that `follow 3` means what was read.
listing = Table(
    "listing",
    metadata,
    Column("person_id", _Id, ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# "grant" is a reserved word of SQL.
consent_grant = Table(
    "consent_grant",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _person(),
    Column("account_id", Text, nullable=False, unique=True),
    Column("network", String(16), nullable=False),
    Column("issuer", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_consent_grant_person_id", "person_id"),
)

# A consent under way: what must be remembered between the start and the callback, encrypted.
consent = Table(
    "consent",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    _person(),
    Column("network", String(16), nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Index("ix_consent_person_id", "person_id"),
    Index("ix_consent_expires_at", "expires_at"),
)

# Our registration as an app on one Mastodon-API server, encrypted.
mastodon_app = Table(
    "mastodon_app",
    metadata,
    Column("server", Text, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

message = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),
    Column("network", String(16), nullable=False),
    Column("account_id", Text, nullable=False),
    Column("thread_key", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reference", String(16)),
    Column("secret", LargeBinary),  # the encrypted message, kept only while it has FAILED
    Index("ix_message_account_id_at", "account_id", "at"),
    Index("ix_message_thread_key_at", "thread_key", "at"),
    Index("ix_message_at", "at"),
    Index("ix_message_reference", "reference"),
)

cursor = Table(
    "cursor",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

# The bot's own sessions on the networks, encrypted.
session = Table(
    "session",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)

# A queue in which order holds; who leases it performs its deliveries one after the other.
lane = Table(
    "lane",
    metadata,
    Column("name", Text, primary_key=True),
    Column("line", String(32), nullable=False, server_default="ask"),  # the lanes with which it is worked off
    Column("rank", Integer, nullable=False),
    Column("next_at", BigInteger),  # when it next has something to do; NULL: nothing
    Column("leased_by", String(64)),
    Column("lease", String(16)),  # which lease it is: one that was lost does not become valid again
    Column("leased_until", BigInteger),
    Column("failures", Integer, nullable=False),
    Index("ix_lane_line_rank_next_at", "line", "rank", "next_at"),
    Index("ix_lane_leased_until", "leased_until"),
)

batch = Table(
    "batch",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _person(),
    Column("created_at", BigInteger, nullable=False),
    Column("undone_at", BigInteger),
    Index("ix_batch_person_id", "person_id"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("lane", Text, nullable=False),
    Column("network", String(16)),
    _person(nullable=True),
    Column("account_id", Text),
    Column("contact_id", _Id, ForeignKey("person.id", ondelete="CASCADE")),
    Column("rank", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_at", BigInteger),
    Column("batch_id", _Id, ForeignKey("batch.id", ondelete="SET NULL")),
    Column("created_at", BigInteger, nullable=False),
    Column("settled_at", BigInteger),
    Column("result", Text),
    Column("reason", Text),
    Index("ix_delivery_lane_state_rank_id", "lane", "state", "rank", "id"),
    Index("ix_delivery_person_id_kind", "person_id", "kind"),
    Index("ix_delivery_contact_id", "contact_id"),
    Index("ix_delivery_batch_id", "batch_id"),
    Index("ix_delivery_settled_at", "settled_at"),
    sqlite_autoincrement=True,
)

# How much of an allowance is used: the theoretical arrival time of the generic cell rate algorithm.
budget = Table(
    "budget",
    metadata,
    Column("name", Text, primary_key=True),
    Column("period", BigInteger, primary_key=True, autoincrement=False),
    Column("tat", BigInteger, nullable=False),
)

question = Table(
    "question",
    metadata,
    Column("account_id", Text, ForeignKey("account.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("data", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

report = Table(
    "report",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    _person(),
    Column("x_handle", Text, nullable=False),
    Column("words", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("done", Boolean, nullable=False),
    Index("ix_report_person_id", "person_id"),
)

# Numbers given out in the order of the commits (a PostgreSQL sequence does not promise that).
sequence = Table(
    "sequence",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
