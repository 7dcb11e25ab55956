"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.Float(53)
_DEVICE = sa.String(32)
_WORD = sa.String(64)


def upgrade() -> None:
    """Make them."""
    _devices()
    _requests_and_health()
    _rollouts()


def _of_a_device() -> sa.Column[str]:
    return sa.Column("device_id", _DEVICE, sa.ForeignKey("devices.device_id", ondelete="CASCADE"), primary_key=True)


def _devices() -> None:
    op.create_table(
        "enrolment_codes",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("profile", _WORD),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("region", _WORD),
        sa.Column("root_version", sa.Integer, nullable=False),
        sa.Column("expires_s", _MOMENT, nullable=False),
        sa.Column("used_by", _DEVICE),
        sa.Column("used_s", _MOMENT),
    )
    op.create_table(
        "devices",
        sa.Column("device_id", _DEVICE, primary_key=True),
        sa.Column("signing_key", sa.LargeBinary(32), nullable=False),
        sa.Column("sealing_key", sa.LargeBinary(32), nullable=False),
        sa.Column("profile", _WORD, nullable=False, index=True),
        sa.Column("cipher", _WORD, nullable=False),
        sa.Column("key_protection", _WORD, nullable=False),
        sa.Column("region", _WORD, index=True),
        sa.Column("agent_version", _WORD, nullable=False),
        sa.Column("enrolled_s", _MOMENT, nullable=False),
        sa.Column("revoked_s", _MOMENT),
        sa.Column("seen_s", _MOMENT),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("battery", _MOMENT),
        sa.Column("free_bytes", sa.BigInteger),
        sa.Column("dropped_observations", sa.BigInteger, nullable=False),
    )
    op.create_table("device_tags", _of_a_device(), sa.Column("tag", _WORD, primary_key=True, index=True))


def _requests_and_health() -> None:
    op.create_table(
        "nonces",
        sa.Column("device_id", _DEVICE, primary_key=True),
        sa.Column("nonce", sa.String(22), primary_key=True),
        sa.Column("expires_s", _MOMENT, nullable=False, index=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "health",
        _of_a_device(),
        sa.Column("workload", _WORD, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("reported_s", _MOMENT, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_health_workload_version", "health", ["workload", "version"])
    op.create_table(
        "health_history",
        _of_a_device(),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("reported_s", _MOMENT, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table("telemetry", _of_a_device(), sa.Column("through", sa.BigInteger, nullable=False))


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("rollout_id", sa.String(128), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_s", _MOMENT, nullable=False),
    )
    op.create_table(
        "assignments",
        _of_a_device(),
        sa.Column("counter", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary),
        sa.Column("issued_s", _MOMENT),
    )


def downgrade() -> None:
    """Undo it."""
    for table in (
        "assignments",
        "rollouts",
        "telemetry",
        "health_history",
        "health",
        "nonces",
        "device_tags",
        "devices",
        "enrolment_codes",
    ):
        op.drop_table(table)
