"""Pay per query: customers, vouchers, settled use, incidents, invoices and the books."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOMENT = sa.Float(53)
_DEVICE = sa.String(32)
_SERIAL = sa.String(32)
_WORD = sa.String(64)
_APPEND_ONLY = ("ledger", "ledger_entries")


def upgrade() -> None:
    """Make them."""
    _vouchers()
    _use()
    _books()
    for table in _APPEND_ONLY:
        _refuse_changes(table)


def _vouchers() -> None:
    op.create_table(
        "accounts",
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("updated_s", _MOMENT, nullable=False),
    )
    op.create_table(
        "vouchers",
        sa.Column("serial", _SERIAL, primary_key=True),
        sa.Column("device_id", _DEVICE, sa.ForeignKey("devices.device_id"), nullable=False),
        sa.Column("workload", _WORD, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("account", _WORD, sa.ForeignKey("accounts.name"), nullable=False, index=True),
        sa.Column("quota", sa.BigInteger, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        sa.Column("issued_s", _MOMENT, nullable=False),
        sa.Column("ends_s", _MOMENT, nullable=False),
        sa.Column("revoked_s", _MOMENT),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("head", sa.LargeBinary(32), nullable=False),
        sa.Column("counter_kind", _WORD),
        sa.Column("counter", sa.BigInteger, nullable=False),
        sa.Column("reported_s", _MOMENT),
        sa.Column("invoice_id", _SERIAL),
    )
    op.create_index("ix_vouchers_device_id", "vouchers", ["device_id", "workload", "epoch"], unique=True)


def _use() -> None:
    op.create_table(
        "usage_lines",
        sa.Column("serial", _SERIAL, sa.ForeignKey("vouchers.serial"), primary_key=True),
        sa.Column("seq_from", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq_to", sa.BigInteger, nullable=False),
        sa.Column("start_used", sa.BigInteger, nullable=False),
        sa.Column("start_head", sa.LargeBinary(32), nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("records", sa.LargeBinary, nullable=False),
        sa.Column("checkpoint", sa.LargeBinary, nullable=False),
        sa.Column("received_s", _MOMENT, nullable=False),
        sa.Column("invoice_id", _SERIAL, index=True),
    )
    op.create_table(
        "incidents",
        sa.Column("incident_id", sa.String(64), primary_key=True),
        sa.Column("serial", _SERIAL, sa.ForeignKey("vouchers.serial"), nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at_s", _MOMENT, nullable=False),
        sa.Column("known_seq", sa.BigInteger, nullable=False),
        sa.Column("known_used", sa.BigInteger, nullable=False),
        sa.Column("known_head", sa.LargeBinary(32), nullable=False),
        sa.Column("checkpoint", sa.LargeBinary, nullable=False),
        sa.Column("records", sa.LargeBinary, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
    )


def _books() -> None:
    op.create_table(
        "invoices",
        sa.Column("invoice_id", _SERIAL, primary_key=True),
        sa.Column("account", _WORD, sa.ForeignKey("accounts.name"), nullable=False),
        sa.Column("period", sa.String(7), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_invoices_account", "invoices", ["account", "period"], unique=True)
    op.create_table(
        "ledger",
        sa.Column("reference", sa.String(128), primary_key=True),
        sa.Column("at_s", _MOMENT, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("reference", sa.String(128), sa.ForeignKey("ledger.reference"), primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("account", sa.String(128), nullable=False, index=True),
        sa.Column("micro", sa.BigInteger, nullable=False),
    )


def _refuse_changes(table: str) -> None:
    """Let the database itself keep the books append-only."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the books are append-only'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'the books are append-only'); END"
        )


def downgrade() -> None:
    """Undo it."""
    for table in (
        "ledger_entries", "ledger", "invoices", "incidents", "usage_lines", "vouchers", "accounts",
    ):  # fmt: skip
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")
