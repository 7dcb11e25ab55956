"""The fleet's record in a real PostgreSQL: the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.fleet_contract import FleetContract
from tests.support.outbox_contract import OutboxContract
from tests.support.owner import make_owner
from tests.support.postgresql import PostgreSQL, postgresql
from tests.unit.fleet.test_till import END_S, TIERED, Shop, a_month, handed, records, verdicts
from tinymlops.errors import StorageError
from tinymlops.fleet import open_fleet
from tinymlops.wire.encoding import encode
from tinymlops.wire.metering import Verdict, first_mark


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as server:
        yield server


def test_use_is_settled_and_invoiced_there_too(server: PostgreSQL, tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    owner.fleet.close()
    owner.fleet = open_fleet(server.database())
    shop = Shop(owner, tariff=TIERED)
    once = a_month(shop, 3)
    assert b'"amount":17814000' in once
    assert encode(shop.till.close_month("acme", "2026-11", now_s=END_S)) == once
    voucher = shop.till.vouchers()[0]
    fork = handed(shop.keys, voucher, first_mark(voucher.message), records(1, [12_345]))
    assert [verdicts(shop.till, fork) for _ in range(2)] == [[Verdict.FORK]] * 2
    assert [one.kind for one in shop.till.incidents()] == ["fork"]
    with pytest.raises(StorageError, match="append-only"), shop.till._database.writing() as connection:
        connection.execute(text("DELETE FROM ledger_entries"))
    owner.fleet.close()


class TestPostgreSQL(FleetContract):
    @pytest.fixture
    def address(self, server: PostgreSQL) -> str:
        return server.database()


class TestOutboxInPostgreSQL(OutboxContract):
    @pytest.fixture
    def address(self, server: PostgreSQL) -> str:
        return server.database()
