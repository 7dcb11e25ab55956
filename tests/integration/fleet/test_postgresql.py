"""The fleet's record in a real PostgreSQL: the same promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fleet_contract import FleetContract
from tests.support.postgresql import PostgreSQL, postgresql


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


class TestPostgreSQL(FleetContract):
    @pytest.fixture
    def address(self, server: PostgreSQL) -> str:
        return server.database()
