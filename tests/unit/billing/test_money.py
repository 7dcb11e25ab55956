"""Prices, books and invoices: exact, and the same however often."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.metering import GATEWAY, GATEWAY_KEY, KEYS, NOW_S, a_voucher
from tinymlops.billing.invoices import (
    Account,
    Invoice,
    Package,
    Plan,
    Statement,
    make_invoice,
    month_before,
    period_of,
    verify_invoice,
)
from tinymlops.billing.ledger import Entry, Posting
from tinymlops.billing.rating import Tariff, cost, dollars, micro_dollars, rated
from tinymlops.errors import TinyMLOpsError, UntrustedError, UsageError
from tinymlops.wire import cose
from tinymlops.wire.metering import (
    ACKNOWLEDGEMENT,
    CHECKPOINT,
    Checkpoint,
    Mark,
    UsageAcknowledgement,
    UsageRecord,
    Verdict,
    end_of,
    first_mark,
)

PACKAGE = Package(serial="1" * 32, device="2" * 32, workload="tiny", quota=1000, amount=1_500_000)
TIERED = Tariff.parse("10000@1.50,90000@1.20,rest@0.90")


def test_the_example_of_the_tariff_costs_exactly_17_814() -> None:
    assert cost(12_345, TIERED) == 17_814_000
    assert dollars(cost(12_345, TIERED)) == "$17.814"


def test_the_default_is_a_dollar_fifty_for_a_thousand() -> None:
    assert dollars(cost(1000, Tariff())) == "$1.50"


@given(st.integers(0, 10**7), st.integers(0, 10**5))
def test_every_query_has_one_price(units: int, free: int) -> None:
    tariff = Tariff.parse("10000@1.50,90000@1.20,rest@0.90", free=free)
    lines = rated(units, tariff)
    assert sum(line.units for line in lines) == units
    assert cost(units, tariff) == cost(max(units - free, 0), TIERED)
    one_more = cost(units + 1, tariff) - cost(units, tariff)
    assert one_more in {0, 900, 1200, 1500}


@pytest.mark.parametrize(
    "text", ["", "1.50", "10000@1.50", "rest@1.50,rest@1", "0@1,rest@1", "rest@0.0001", "x@1", "rest@-1"]
)
def test_what_is_no_tariff_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Tariff.parse(text)


def test_a_tariff_reads_as_it_was_written() -> None:
    assert str(TIERED) == "10000@1.50,90000@1.20,rest@0.90"
    assert TIERED.version != Tariff().version


@pytest.mark.parametrize(("text", "micro"), [("17.814", 17_814_000), ("$1,000", 10**9), ("0.000001", 1)])
def test_amounts_of_people(text: str, micro: int) -> None:
    assert micro_dollars(text) == micro


@pytest.mark.parametrize("text", ["", "1.0000001", "-1", "nan", "1e99", "ten"])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        micro_dollars(text)


def test_books_balance() -> None:
    with pytest.raises(UsageError):
        Posting(reference="x", at_s=0, what="", entries=(Entry("a", 1),))


def test_months() -> None:
    assert [month_before(period_of(name).start_s) for name in ("2027-01", "2026-12")] == ["2026-12", "2026-11"]
    assert period_of("2026-12").end_s == period_of("2027-01").start_s
    for name in ("2026-13", "26-1", "2026-1"):
        with pytest.raises(UsageError):
            period_of(name)


def _statement(units: int = 12_345, start_used: int = 0) -> Statement:
    voucher, message = a_voucher(100_000)
    first = first_mark(message)
    start = Mark(1 if start_used else 0, start_used, first.head)
    end = end_of(start, UsageRecord.new(start.seq + 1, units, NOW_S).to_bytes())
    checkpoint = Checkpoint(serial=voucher.serial, start=start, end=end, at_s=int(NOW_S))
    return Statement(
        voucher=message, signing_key=KEYS.public.signing, sealing_key=KEYS.public.sealing, start_seq=start.seq,
        start_used=start_used, end=end, checkpoint=cose.signed(checkpoint, CHECKPOINT, KEYS.sign), units=units,
    )  # fmt: skip


def _invoice(period: str = "2026-11") -> Invoice:
    account = Account(name="acme", tariff=TIERED)
    return make_invoice(account, period, [_statement(12_000), _statement(345)], [])


def _receipt(one: Statement, mark: Mark) -> bytes:
    serial = cose.unchecked(one.checkpoint, CHECKPOINT, Checkpoint).serial
    told = UsageAcknowledgement(serial=serial, mark=mark, verdict=Verdict.BILLED, at_s=int(NOW_S))
    return cose.signed(told, ACKNOWLEDGEMENT, GATEWAY.sign)


def test_an_invoice_is_verified_from_what_the_devices_signed() -> None:
    invoice = _invoice()
    assert invoice.amount == 17_814_000
    assert verify_invoice(invoice, GATEWAY_KEY) == 0
    receipts = [_receipt(one, one.end) for one in invoice.statements]
    assert verify_invoice(invoice, GATEWAY_KEY, [*receipts, _receipt(_statement(), Mark(9, 9, bytes(32)))]) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda one: msgspec.structs.replace(one, amount=one.amount + 1),
        lambda one: msgspec.structs.replace(one, queries=one.queries + 1),
        lambda one: msgspec.structs.replace(one, tiers=one.tiers[:1]),
        lambda one: msgspec.structs.replace(one, period="2026-10"),
        lambda one: msgspec.structs.replace(one, use=()),
        lambda one: msgspec.structs.replace(one, account=Account(name="acme")),
        lambda one: _with(one, units=one.statements[0].units + 1),
        lambda one: _with(one, end=msgspec.structs.replace(one.statements[0].end, used=99_999)),
        lambda one: _with(one, start_used=10),
        lambda one: _with(one, signing_key=GATEWAY_KEY),
        lambda one: _with(one, checkpoint=one.statements[1].checkpoint),
        lambda one: msgspec.structs.replace(one, statements=(*one.statements, one.statements[0])),
        lambda one: msgspec.structs.replace(one, packages=(PACKAGE,)),
    ],
)  # fmt: skip
def test_every_change_of_an_invoice_is_found(change: object) -> None:
    with pytest.raises(TinyMLOpsError):
        verify_invoice(change(_invoice()), GATEWAY_KEY)  # type: ignore[operator]


def _with(invoice: Invoice, **changes: object) -> Invoice:
    first = msgspec.structs.replace(invoice.statements[0], **changes)
    return make_invoice(invoice.account, invoice.period, [first, *invoice.statements[1:]], invoice.packages)


def test_a_receipt_that_says_otherwise_refutes_an_invoice() -> None:
    invoice = _invoice()
    one = invoice.statements[0]
    for mark in (Mark(one.end.seq, one.end.used - 1, one.end.head), Mark(one.end.seq + 1, one.end.used - 1, bytes(32))):
        with pytest.raises(UntrustedError):
            verify_invoice(invoice, GATEWAY_KEY, [_receipt(one, mark)])


def test_an_invoice_goes_on_where_the_one_before_ended() -> None:
    before = _invoice()
    ended = before.statements[0]
    gap = msgspec.structs.replace(ended, start_seq=ended.end.seq, start_used=ended.end.used - 1)
    after = make_invoice(before.account, "2026-12", [msgspec.structs.replace(gap, units=1)], [])
    with pytest.raises(UntrustedError, match="go on"):
        verify_invoice(after, GATEWAY_KEY, previous=before)
    with pytest.raises(UsageError):
        verify_invoice(before, GATEWAY_KEY, previous=after)


def test_a_prepaid_customer_pays_for_packages_only() -> None:
    invoice = make_invoice(Account(name="acme", plan=Plan.PREPAID), "2026-11", [_statement()], [PACKAGE])
    assert (invoice.amount, invoice.queries, invoice.tiers) == (1_500_000, 12_345, ())
