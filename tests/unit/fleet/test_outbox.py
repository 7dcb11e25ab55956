"""The outbox of webhooks in SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.outbox_contract import OutboxContract


class TestSQLite(OutboxContract):
    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'fleet.sqlite'}"
