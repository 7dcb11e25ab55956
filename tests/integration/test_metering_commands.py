"""Sell queries from the command line: customer, voucher, use, invoice, verification, dispute."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.support.owner import NOW_S, make_owner
from tests.unit.cli.running import tinymlops
from tinymlops.billing.invoices import month_before, period_of
from tinymlops.fleet import Handed
from tinymlops.gateway.keys import GatewayKey
from tinymlops.wire import cose
from tinymlops.wire.metering import (
    ACKNOWLEDGEMENT,
    CHECKPOINT,
    Checkpoint,
    UsageRecord,
    UsageReport,
    end_of,
    first_mark,
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYMLOPS_DATABASE", f"sqlite:///{tmp_path / 'fleet.sqlite'}")
    monkeypatch.setenv("TINYMLOPS_STATE", str(tmp_path / "project"))
    monkeypatch.setenv("TINYMLOPS_GATEWAY_KEY", str(tmp_path / "gateway.pem"))
    GatewayKey.create(tmp_path / "gateway.pem")
    return tmp_path


def said(*words: str, code: int = 0) -> str:
    ended = tinymlops(*words)
    assert ended.returncode == code, ended.stderr
    return ended.stdout if code == 0 else ended.stderr


def test_from_the_customer_to_the_credit_note(shop: Path) -> None:
    owner = make_owner(shop)
    device = owner.enrol()
    assert "10000@1.50,rest@1.20" in said("invoice", "account", "acme", "--tariff", "10000@1.50,rest@1.20")
    told = said("voucher", "issue", device.device_id[:8], "tiny", "--queries", "50000", "--account", "acme")
    (voucher,) = owner.fleet.till.vouchers()
    assert told.startswith(f"{voucher.serial}: 50,000 queries of tiny on {device.device_id}")
    month = month_before(time.time())
    first = first_mark(voucher.message)
    records = b"".join(UsageRecord.new(seq, units, NOW_S).to_bytes() for seq, units in ((1, 12_000), (2, 345)))
    checkpoint = Checkpoint(serial=voucher.serial, start=first, end=end_of(first, records), at_s=0)
    report = UsageReport(checkpoint=cose.signed(checkpoint, CHECKPOINT, device.sign), records=records)
    at_s = period_of(month).end_s - 5
    (answer,) = owner.fleet.till.settle(
        [Handed(device_id=device.device_id, checkpoint=checkpoint, report=report, at_s=at_s)]
    )
    assert "12,345" in said("voucher", "show")
    assert json.loads(said("usage", "--month", month, "--json"))["queries"] == 12_345
    assert "There are no incidents" in said("usage", "--incidents")
    line = said("invoice", "make", "--month", month)
    assert "$17.814" in line
    assert said("invoice", "make", "--month", month) == line
    name = line.split()[0]
    said("invoice", "show", name, "--out", str(shop / "out"))
    page = (shop / "out" / f"{name}.html").read_text()
    assert "$17.814" in page
    assert device.device_id in page
    assert (shop / "out" / f"{name}.csv").read_text().splitlines()[-1].endswith(",total,,,12345,,17.814")
    receipt = cose.signed(answer, ACKNOWLEDGEMENT, GatewayKey.load(shop / "gateway.pem").signature)
    (shop / "receipts").mkdir()
    (shop / "receipts" / "a.receipt").write_bytes(receipt)
    file, key = str(shop / "out" / f"{name}.json"), str(shop / "gateway.pub")
    held = said("invoice", "verify", file, "--gateway-key", key, "--receipts", str(shop / "receipts"))
    assert "1 of 1 receipts" in held
    forged = Path(file).read_bytes().replace(b'"queries":12345', b'"queries":12346')
    Path(file).write_bytes(forged)
    assert "does not hold" in said("invoice", "verify", file, "--gateway-key", key, code=12)
    note = ("invoice", "credit", name, "2.50", "--why", "a broken sensor", "--reference", "n1")
    assert "entered" in said(*note)
    assert "before" in said(*note)
    assert "owes $5.314" in said("invoice", "pay", "acme", "10", "--reference", "b1")
    assert "credit note: a broken sensor" in said("invoice", "books")
    assert "owes $5.314" in said("invoice", "list")
    assert "taken back" in said("voucher", "revoke", voucher.serial[:6])
    assert json.loads(said("voucher", "show", "--json"))["revoked_s"] > 0
    assert "voucher" in said("fleet", "show", device.device_id)
    owner.fleet.close()


def test_what_is_wrong_is_said_in_a_sentence(shop: Path) -> None:
    owner = make_owner(shop)
    device = owner.enrol()
    issue = ("voucher", "issue", device.device_id, "tiny", "--queries", "5", "--account", "nobody")
    assert "no account called 'nobody'" in said(*issue, code=2)
    assert "no tier" in said("invoice", "account", "acme", "--tariff", "cheap", code=2)
    assert "invoices begin with" in said("invoice", "show", "zz", code=2)
    assert "can't be read" in said("invoice", "verify", "none.json", "--gateway-key", "none.pub", code=2)
    assert "vouchers begin with" in said("voucher", "revoke", "zz", code=2)
    owner.fleet.close()


def test_the_flow_closes_the_last_month_for_everybody_and_again(shop: Path) -> None:
    said("invoice", "account", "acme")
    said("invoice", "account", "beta", "--plan", "prepaid", "--free", "10", "--credit", "5")
    from prefect.testing.utilities import prefect_test_harness

    from flows.settle import settle

    with prefect_test_harness():
        first, second = settle(), settle()
    assert [one.account.name for one in first] == ["acme", "beta"]
    assert first == second
    assert {one.period for one in first} == {month_before(time.time())}
    assert os.environ["TINYMLOPS_DATABASE"].startswith("sqlite")
