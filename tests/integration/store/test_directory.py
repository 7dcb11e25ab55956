"""A folder keeps the contract, also under many processes and kill -9."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.store_contract import StoreContract
from tinymlops.store import DirectoryStore


class TestDirectory(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> DirectoryStore:
        return DirectoryStore(tmp_path / "store")
