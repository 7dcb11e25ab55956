"""Webhooks: requests that came in, until what they ask for has begun."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

_MOMENT = sa.Float(53)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "webhook_requests",
        sa.Column("webhook_id", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("parameters", sa.LargeBinary, nullable=False),
        sa.Column("received_s", _MOMENT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_s", _MOMENT, nullable=False),
        sa.Column("run_id", sa.String(64)),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("ix_webhook_requests_state", "webhook_requests", ["state", "due_s"])


def downgrade() -> None:
    """Remove it."""
    op.drop_table("webhook_requests")
