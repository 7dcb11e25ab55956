"""Vouchers, settlement, months and books in the database."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.metering import GATEWAY, GATEWAY_KEY
from tests.support.owner import Owner, make_owner
from tinymlops.billing.invoices import Account, Plan, period_of, verify_invoice
from tinymlops.billing.rating import Tariff
from tinymlops.errors import RefusedError, StorageError, UnknownNameError, UsageError
from tinymlops.fleet import Handed, IssuedVoucher, Till, VoucherTerms
from tinymlops.wire import cose
from tinymlops.wire.encoding import encode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.metering import (
    CHECKPOINT,
    RECORD_BYTES,
    Checkpoint,
    Mark,
    UsageRecord,
    UsageReport,
    Verdict,
    end_of,
    first_mark,
)

START_S, END_S = period_of("2026-11")
TIERED = Tariff.parse("10000@1.50,rest@1.20")


class Shop:
    """An owner with a customer and a device."""

    def __init__(self, owner: Owner, **account: object) -> None:
        owner.hand[0] = START_S
        self.owner, self.till = owner, owner.fleet.till
        self.till.save_account(Account(name="acme", **account), now_s=START_S)  # type: ignore[arg-type]
        self.keys = owner.enrol()

    def issue(self, quota: int = 50_000, **changes: object) -> IssuedVoucher:
        facts: dict[str, object] = {
            "serial": os.urandom(16).hex(), "device_id": self.keys.device_id, "workload": "tiny",
            "account": "acme", "quota": quota, "life_s": 365 * 86_400,
        }  # fmt: skip
        terms = VoucherTerms(**(facts | changes))  # type: ignore[arg-type]
        return self.till.issue(terms, GATEWAY.sign, now_s=START_S + 1)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    owner = make_owner(tmp_path)
    yield Shop(owner, tariff=TIERED)
    owner.fleet.close()


def records(first: int, units: list[int]) -> bytes:
    return b"".join(UsageRecord.new(first + n, one, START_S).to_bytes() for n, one in enumerate(units))


def handed(
    keys: DeviceKeys,
    voucher: IssuedVoucher,
    start: Mark,
    content: bytes,
    *,
    at_s: float = START_S + 100,
    counter: int = 1,
    kind: str = "file",
) -> Handed:
    checkpoint = Checkpoint(
        serial=voucher.serial, start=start, end=end_of(start, content), at_s=0, counter_kind=kind, counter=counter
    )
    report = UsageReport(checkpoint=cose.signed(checkpoint, CHECKPOINT, keys.sign), records=content)
    return Handed(device_id=keys.device_id, checkpoint=checkpoint, report=report, at_s=at_s)


def verdicts(till: Till, *batch: Handed) -> list[Verdict]:
    return [one.verdict for one in till.settle(batch)]


def test_the_decision_table(shop: Shop) -> None:
    voucher = shop.issue(quota=500)
    first = first_mark(voucher.message)
    chain = records(1, [100, 50, 25, 10])
    part = chain[: 2 * RECORD_BYTES]
    middle = end_of(first, part)
    fork = part[:RECORD_BYTES] + records(2, [50, 25, 10, 5])
    much = records(5, [400])

    def say(*batch: Handed) -> list[Verdict]:
        return verdicts(shop.till, *batch)

    def make(start: Mark, content: bytes) -> Handed:
        return handed(shop.keys, voucher, start, content)

    early = make(first, chain[:RECORD_BYTES])
    assert say(make(middle, chain[2 * RECORD_BYTES :])) == [Verdict.GAP]
    assert say(make(first, part), make(first, part)) == [Verdict.BILLED, Verdict.STALE]
    assert say(early) == [Verdict.STALE]
    assert say(make(first, chain)) == [Verdict.BILLED]
    assert say(make(first, chain[: 3 * RECORD_BYTES]), early, make(first, b"")) == [Verdict.STALE] * 3
    assert say(make(first, fork[: 2 * RECORD_BYTES]), make(first, fork)) == [Verdict.FORK] * 2
    assert say(make(first, fork)) == [Verdict.FORK]
    assert say(make(end_of(first, chain), much)) == [Verdict.OVERSPENT]
    assert say(make(end_of(first, chain), much)) == [Verdict.STALE]
    (after,) = shop.till.vouchers()
    assert (after.mark.used, after.mark.seq) == (585, 5)
    assert sum(shop.till.use("2026-11").values()) == 500
    kinds = sorted(one.kind for one in shop.till.incidents([shop.keys.device_id]))
    assert kinds == ["fork", "fork", "overspent"]


def test_a_voucher_is_its_devices_alone(shop: Shop) -> None:
    voucher, other = shop.issue(), shop.owner.enrol()
    with pytest.raises(RefusedError):
        shop.till.settle([handed(other, voucher, first_mark(voucher.message), records(1, [1]))])


def test_a_counter_in_hardware_that_does_not_go_up_is_an_incident(shop: Shop) -> None:
    voucher = shop.issue()
    first = first_mark(voucher.message)
    chain = records(1, [1, 1])
    shop.till.settle([handed(shop.keys, voucher, first, chain[:RECORD_BYTES], kind="tpm2", counter=7)])
    again = handed(shop.keys, voucher, first, chain, kind="tpm2", counter=7)
    assert verdicts(shop.till, again) == [Verdict.BILLED]
    assert [one.kind for one in shop.till.incidents()] == ["counter"]


def a_month(shop: Shop, times: int) -> bytes:
    """A month of use, each report of it sent ``times`` times in any order; the bytes of its invoice."""
    voucher = shop.issue(serial="5" * 32)
    first, content = first_mark(voucher.message), b""
    luck = random.Random(4)  # noqa: S311
    batch = []
    for n, units in enumerate([5000, 5000, 2000, 345]):
        content += UsageRecord.new(n + 1, units, START_S, bytes).to_bytes()
        batch.append(handed(shop.keys, voucher, first, content))
    shop.till.settle(batch)
    again = batch * (times - 1)
    luck.shuffle(again)
    shop.till.settle(again)
    return encode(shop.till.close_month("acme", "2026-11", now_s=END_S))


def test_the_same_batch_ten_times_gives_the_same_invoice(shop: Shop) -> None:
    once = a_month(shop, 1)
    assert once == a_month(shop, 10) == encode(shop.till.close_month("acme", "2026-11", now_s=END_S + 10**7))
    assert b'"amount":17814000' in once
    assert len(shop.till.postings()) == 1
    assert shop.till.incidents() == ()


def test_ten_times_before_the_month_is_closed_gives_the_invoice_of_once(tmp_path: Path) -> None:
    keys = DeviceKeys.generate()
    invoices = []
    for times in (1, 10):
        owner = make_owner(tmp_path / str(times))
        own = Shop(owner, tariff=TIERED)
        own.keys = keys
        _let_in(owner, keys)
        invoices.append(a_month(own, times))
        owner.fleet.close()
    assert invoices[0] == invoices[1]


def _let_in(owner: Owner, keys: DeviceKeys) -> None:
    from tinymlops.fleet import CodeTerms
    from tinymlops.wire.messages import EnrolmentRequest
    from tinymlops.wire.sealing import Cipher

    terms = CodeTerms(expires_s=owner.now_s + 60, root_version=1)
    code = owner.fleet.new_code(terms, root=owner.root, gateway_key=bytes(32))
    request = EnrolmentRequest(
        secret=code.secret, signing_key=keys.public.signing, sealing_key=keys.public.sealing, profile="x86-gateway",
        agent_version="0.1.0", cipher=Cipher.CHACHA20_POLY1305,
    )  # fmt: skip
    owner.fleet.enrol(request, now_s=owner.now_s)


def test_late_use_is_in_the_next_invoice_and_nothing_is_in_two(shop: Shop) -> None:
    voucher = shop.issue()
    first, chain = first_mark(voucher.message), records(1, [100, 50])
    shop.till.settle([handed(shop.keys, voucher, first, chain[:RECORD_BYTES])])
    november = shop.till.close_month("acme", "2026-11", now_s=END_S)
    shop.till.settle([handed(shop.keys, voucher, first, chain, at_s=END_S - 1)])
    december_s = period_of("2026-12").end_s
    december = shop.till.close_month("acme", "2026-12", now_s=december_s)
    assert (november.queries, december.queries) == (100, 50)
    assert verify_invoice(november, GATEWAY_KEY) == 0
    assert verify_invoice(december, GATEWAY_KEY, previous=november) == 0
    with pytest.raises(UsageError, match="not over"):
        shop.till.close_month("acme", "2027-01", now_s=december_s)
    with pytest.raises(RefusedError, match="already"):
        shop.till.close_month("acme", "2026-10", now_s=december_s)


def test_prepaid_money_is_owed_at_once_and_earned_when_used(tmp_path: Path) -> None:
    shop = Shop(make_owner(tmp_path), plan=Plan.PREPAID)
    voucher = shop.issue(quota=3, price=10)
    first, content = first_mark(voucher.message), b""
    for month, part in (("2026-11", 1), ("2026-12", 2), ("2027-01", 3)):
        content += records(part, [1])
        shop.till.settle([handed(shop.keys, voucher, first, content, at_s=period_of(month).start_s + 5)])
        invoice = shop.till.close_month("acme", month, now_s=period_of(month).end_s)
        assert invoice.amount == (10 if part == 1 else 0)
    balances = {name: shop.till.balance(name) for name in ("receivable:acme", "deferred:acme", "revenue")}
    assert balances == {"receivable:acme": 10, "deferred:acme": 0, "revenue": -10}
    assert shop.till.pay("acme", 10, reference="bank 1", now_s=END_S)
    assert not shop.till.pay("acme", 10, reference="bank 1", now_s=END_S)
    assert shop.till.balance("receivable:acme") == 0
    assert sum(entry.micro for posting in shop.till.postings() for entry in posting.entries) == 0
    shop.owner.fleet.close()


def test_a_credit_note_gives_back_once_and_never_too_much(shop: Shop) -> None:
    a_month(shop, 1)
    invoice = shop.till.invoices()[0]

    def give(micro: int, name: str) -> bool:
        return shop.till.credit(invoice.invoice_id[:8], micro, "dispute", reference=name, now_s=END_S)

    assert give(7_814_000, "a")
    assert not give(7_814_000, "a")
    with pytest.raises(UsageError):
        give(10_000_001, "b")
    assert give(10_000_000, "b")
    with pytest.raises(UsageError):
        give(1, "c")
    assert shop.till.balance("receivable:acme") == 0


def test_the_books_can_only_grow(shop: Shop) -> None:
    a_month(shop, 1)
    for change in ("UPDATE ledger_entries SET micro = 0", "DELETE FROM ledger_entries", "UPDATE ledger SET what = ''"):
        with pytest.raises(StorageError, match="append-only"), shop.till._database.writing() as connection:
            connection.execute(text(change))


def test_postpaid_credit_bounds_what_may_be_owed(tmp_path: Path) -> None:
    shop = Shop(make_owner(tmp_path), credit=1_500_000)
    shop.issue(quota=600)
    with pytest.raises(RefusedError, match="credit"):
        shop.issue(quota=401)
    shop.issue(quota=400)
    shop.owner.fleet.close()


def test_vouchers_are_numbered_listed_and_taken_back(shop: Shop) -> None:
    one, two = shop.issue(), shop.issue()
    assert (one.epoch, two.epoch) == (1, 2)
    assert shop.issue(serial=one.serial) == one
    shop.till.revoke(one.serial, now_s=START_S + 5)
    listed = shop.till.vouchers_for(shop.keys.device_id, now_s=START_S + 6)
    assert [(voucher.serial, voucher.revoked_s is None) for voucher in listed] == [
        (one.serial, False), (two.serial, True)
    ]  # fmt: skip
    assert shop.till.vouchers_for(shop.keys.device_id, now_s=START_S + 366 * 86_400) == ()
    with pytest.raises(UsageError):
        shop.till.revoke("0" * 32, now_s=START_S)
    with pytest.raises(UnknownNameError):
        shop.issue(account="nobody")
    with pytest.raises(UsageError):
        shop.issue(device_id="0" * 32)
