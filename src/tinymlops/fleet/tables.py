"""The tables. Times are seconds since 1970, like everywhere on the wire.

The migrations make them; a test holds both against each other.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

_NAMES = {"ix": "ix_%(column_0_label)s", "pk": "pk_%(table_name)s", "fk": "fk_%(table_name)s_%(column_0_name)s"}
metadata = MetaData(naming_convention=_NAMES)

# A double in PostgreSQL too, where Float alone would be one only by chance.
_MOMENT = Float(53)
_DEVICE = String(32)
_SERIAL = String(32)
_WORD = String(64)

codes = Table(
    "enrolment_codes",
    metadata,
    # The secret itself is nowhere: a copy of this table lets nobody in.
    Column("digest", String(64), primary_key=True),
    Column("profile", _WORD),
    Column("tags", JSON, nullable=False),
    Column("region", _WORD),
    Column("root_version", Integer, nullable=False),
    Column("expires_s", _MOMENT, nullable=False),
    Column("used_by", _DEVICE),
    Column("used_s", _MOMENT),
)

devices = Table(
    "devices",
    metadata,
    Column("device_id", _DEVICE, primary_key=True),
    Column("signing_key", LargeBinary(32), nullable=False),
    Column("sealing_key", LargeBinary(32), nullable=False),
    Column("profile", _WORD, nullable=False, index=True),
    Column("cipher", _WORD, nullable=False),
    Column("key_protection", _WORD, nullable=False),
    Column("region", _WORD, index=True),
    Column("agent_version", _WORD, nullable=False),
    Column("enrolled_s", _MOMENT, nullable=False),
    Column("revoked_s", _MOMENT),
    Column("seen_s", _MOMENT),
    Column("sequence", BigInteger, nullable=False),
    Column("battery", _MOMENT),
    Column("free_bytes", BigInteger),
    Column("dropped_observations", BigInteger, nullable=False),
)

tags = Table(
    "device_tags",
    metadata,
    Column("device_id", _DEVICE, ForeignKey(devices.c.device_id, ondelete="CASCADE"), primary_key=True),
    Column("tag", _WORD, primary_key=True, index=True),
)

nonces = Table(
    "nonces",
    metadata,
    Column("device_id", _DEVICE, primary_key=True),
    Column("nonce", String(22), primary_key=True),
    Column("expires_s", _MOMENT, nullable=False, index=True),
    sqlite_with_rowid=False,
)

health = Table(
    "health",
    metadata,
    Column("device_id", _DEVICE, ForeignKey(devices.c.device_id, ondelete="CASCADE"), primary_key=True),
    Column("workload", _WORD, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("phase", String(16), nullable=False),
    Column("reported_s", _MOMENT, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("ix_health_workload_version", "workload", "version"),
)

history = Table(
    "health_history",
    metadata,
    Column("device_id", _DEVICE, ForeignKey(devices.c.device_id, ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("reported_s", _MOMENT, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

telemetry = Table(
    "telemetry",
    metadata,
    Column("device_id", _DEVICE, ForeignKey(devices.c.device_id, ondelete="CASCADE"), primary_key=True),
    Column("through", BigInteger, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("rollout_id", String(128), primary_key=True),
    Column("document", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_s", _MOMENT, nullable=False),
)

assignments = Table(
    "assignments",
    metadata,
    Column("device_id", _DEVICE, ForeignKey(devices.c.device_id, ondelete="CASCADE"), primary_key=True),
    # Given out, whether or not anything was published under it.
    Column("counter", BigInteger, nullable=False),
    # The newest one that was published, as JSON.
    Column("content", LargeBinary),
    Column("issued_s", _MOMENT),
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", _WORD, primary_key=True),
    # A `tinymlops.billing.invoices.Account` as JSON.
    Column("document", LargeBinary, nullable=False),
    Column("updated_s", _MOMENT, nullable=False),
)

vouchers = Table(
    "vouchers",
    metadata,
    Column("serial", _SERIAL, primary_key=True),
    Column("device_id", _DEVICE, ForeignKey(devices.c.device_id), nullable=False),
    Column("workload", _WORD, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("account", _WORD, ForeignKey(accounts.c.name), nullable=False, index=True),
    Column("quota", BigInteger, nullable=False),
    # What was to pay when it was issued, in micro-dollars; 0 for postpaid.
    Column("price", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("issued_s", _MOMENT, nullable=False),
    Column("ends_s", _MOMENT, nullable=False),
    Column("revoked_s", _MOMENT),
    # How far its chain is settled.
    Column("seq", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
    Column("head", LargeBinary(32), nullable=False),
    Column("counter_kind", _WORD),
    Column("counter", BigInteger, nullable=False),
    Column("reported_s", _MOMENT),
    # That the package was sold with; use has one of its own.
    Column("invoice_id", _SERIAL),
    Index("ix_vouchers_device_id", "device_id", "workload", "epoch", unique=True),
)

usage_lines = Table(
    "usage_lines",
    metadata,
    Column("serial", _SERIAL, ForeignKey(vouchers.c.serial), primary_key=True),
    Column("seq_from", BigInteger, primary_key=True, autoincrement=False),
    Column("seq_to", BigInteger, nullable=False),
    Column("start_used", BigInteger, nullable=False),
    Column("start_head", LargeBinary(32), nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("records", LargeBinary, nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
    Column("received_s", _MOMENT, nullable=False),
    # Set once, when the month is closed.
    Column("invoice_id", _SERIAL, index=True),
)

incidents = Table(
    "incidents",
    metadata,
    # Digest of the checkpoint: the same message is one incident, however often it is sent.
    Column("incident_id", String(64), primary_key=True),
    Column("serial", _SERIAL, ForeignKey(vouchers.c.serial), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("at_s", _MOMENT, nullable=False),
    Column("known_seq", BigInteger, nullable=False),
    Column("known_used", BigInteger, nullable=False),
    Column("known_head", LargeBinary(32), nullable=False),
    Column("checkpoint", LargeBinary, nullable=False),
    Column("records", LargeBinary, nullable=False),
    Column("what", Text, nullable=False),
)

invoices = Table(
    "invoices",
    metadata,
    Column("invoice_id", _SERIAL, primary_key=True),
    Column("account", _WORD, ForeignKey(accounts.c.name), nullable=False),
    Column("period", String(7), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Index("ix_invoices_account", "account", "period", unique=True),
)

# Append-only: triggers refuse every change.
ledger = Table(
    "ledger",
    metadata,
    Column("reference", String(128), primary_key=True),
    Column("at_s", _MOMENT, nullable=False),
    Column("what", Text, nullable=False),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("reference", String(128), ForeignKey(ledger.c.reference), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("account", String(128), nullable=False, index=True),
    Column("micro", BigInteger, nullable=False),
)

webhook_requests = Table(
    "webhook_requests",
    metadata,
    Column("webhook_id", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("parameters", LargeBinary, nullable=False),
    Column("received_s", _MOMENT, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    # When it may be sent (again); in the future while somebody has taken it.
    Column("due_s", _MOMENT, nullable=False),
    Column("run_id", _WORD),
    Column("note", Text, nullable=False),
    Index("ix_webhook_requests_state", "state", "due_s"),
)
