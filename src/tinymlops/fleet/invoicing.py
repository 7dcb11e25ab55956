"""Months are closed: settled use becomes an invoice, once; the same month again gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from tinymlops.billing import ledger
from tinymlops.billing.invoices import (
    Account,
    Invoice,
    Package,
    Plan,
    Statement,
    invoice_id_of,
    make_invoice,
    period_of,
)
from tinymlops.billing.rating import dollars
from tinymlops.errors import RefusedError, UsageError
from tinymlops.fleet import books, tables, vouchers
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.metering import Mark, end_of


def close(connection: Connection, customer: str, period: str, *, now_s: float) -> Invoice:
    """The invoice of a month: made if there is none, else the one that was made.

    Use counts for the month in which its report came. What came while a month was being closed is in the next one:
    every settled line is in one invoice, and in one only.

    Raises:
        UsageError: The month is not over, or a later one is closed already.
        UnknownNameError: There is no such customer.
    """
    known = load(connection, customer, period)
    if known is not None:
        return known
    end_s = period_of(period).end_s
    account = vouchers.account(connection, customer)
    _check_order(connection, customer, period, end_s, now_s)
    invoice_id = invoice_id_of(customer, period, account.tariff)
    statements = _statements(connection, customer, end_s)
    packages, sold = _packages(connection, customer, end_s)
    invoice = make_invoice(account, period, statements, packages)
    i = {"invoice_id": invoice_id, "account": customer, "period": period, "amount": invoice.amount}
    connection.execute(tables.invoices.insert(), {**i, "document": encode(invoice)})
    _mark(connection, customer, end_s, invoice_id, sold)
    _enter(connection, account, invoice, end_s)
    return invoice


def load(connection: Connection, customer: str, period: str) -> Invoice | None:
    """The invoice of a month, or None."""
    i = tables.invoices.c
    document = connection.execute(select(i.document).where(i.account == customer, i.period == period)).scalar()
    return None if document is None else decode(document, Invoice)


def find(connection: Connection, start: str) -> Invoice:
    """The one invoice whose id begins like this; raises `UsageError`."""
    i = tables.invoices.c
    found = connection.execute(select(i.document).where(i.invoice_id.startswith(start, autoescape=True))).all()
    if len(found) != 1:
        raise UsageError(f"{len(found)} invoices begin with {start!r}", "see `tinymlops invoice list`")
    return decode(found[0].document, Invoice)


def invoices(connection: Connection) -> tuple[Invoice, ...]:
    """All of them, by customer and month."""
    i = tables.invoices.c
    return tuple(decode(one, Invoice) for one in connection.scalars(select(i.document).order_by(i.account, i.period)))


def credit(connection: Connection, invoice_id: str, micro: int, why: str, *, reference: str, now_s: float) -> bool:
    """Give part of an invoice back; the same ``reference`` again changes nothing. Whether it was new.

    Raises:
        UsageError: More than the invoice is worth, or nothing.
    """
    invoice, prefix = find(connection, invoice_id), "credit:"
    e = tables.ledger_entries.c
    name = f"{invoice.invoice_id}/{reference}"
    if connection.execute(select(tables.ledger).where(tables.ledger.c.reference == prefix + name)).one_or_none():
        return False
    of_it = (e.reference.startswith(f"{prefix}{invoice.invoice_id}/", autoescape=True), e.account == "credits")
    given = int(connection.execute(select(func.sum(e.micro)).where(*of_it)).scalar() or 0)
    if not 0 < micro <= invoice.amount - given:
        raise UsageError(
            f"{dollars(micro)} can't be given back: the invoice is worth {dollars(invoice.amount - given)}",
            "give an amount above nothing, and no more than that",
        )
    posting = ledger.credited(invoice.account.name, name, micro, now_s)
    return books.enter(connection, ledger.Posting(
        reference=posting.reference, at_s=now_s, what=f"credit note: {why}", entries=posting.entries
    ))  # fmt: skip


def _check_order(connection: Connection, customer: str, period: str, end_s: float, now_s: float) -> None:
    if now_s < end_s:
        raise UsageError(f"{period} is not over", "close it in the next month")
    i = tables.invoices.c
    later = connection.execute(select(func.max(i.period)).where(i.account == customer)).scalar()
    if later is not None and later > period:
        raise RefusedError(f"{customer} has an invoice of {later} already", "months are closed one after the other")


def _statements(connection: Connection, customer: str, end_s: float) -> list[Statement]:
    """Use that is in no invoice yet: of each voucher from its first open line to its last."""
    u, v, d = tables.usage_lines.c, tables.vouchers.c, tables.devices.c
    chosen = (
        select(tables.usage_lines, v.message.label("voucher"), d.signing_key, d.sealing_key)
        .join(tables.vouchers, u.serial == v.serial)
        .join(tables.devices, v.device_id == d.device_id)
        .where(v.account == customer, u.invoice_id.is_(None), u.received_s < end_s)
        .order_by(u.serial, u.seq_from)
    )
    parts: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(chosen):
        parts.setdefault(row.serial, []).append(row)
    return [_statement(rows) for rows in parts.values()]


def _statement(rows: list[Row[Any]]) -> Statement:
    first, last = rows[0], rows[-1]
    return Statement(
        voucher=first.voucher, signing_key=first.signing_key, sealing_key=first.sealing_key,
        start_seq=first.seq_from - 1, start_used=first.start_used,
        end=end_of(Mark(last.seq_from - 1, last.start_used, last.start_head), last.records),
        checkpoint=last.checkpoint, units=sum(row.units for row in rows),
    )  # fmt: skip


def _packages(connection: Connection, customer: str, end_s: float) -> tuple[list[Package], list[str]]:
    v = tables.vouchers.c
    sold = (v.account == customer, v.price > 0, v.invoice_id.is_(None), v.issued_s < end_s)
    rows = connection.execute(select(tables.vouchers).where(*sold).order_by(v.serial)).all()
    packages = [
        Package(serial=row.serial, device=row.device_id, workload=row.workload, quota=row.quota, amount=row.price)
        for row in rows
    ]
    return packages, [one.serial for one in packages]


def _mark(connection: Connection, customer: str, end_s: float, invoice_id: str, sold: Iterable[str]) -> None:
    """Note which lines and packages are in this invoice, so that they are in no other."""
    u, v = tables.usage_lines.c, tables.vouchers.c
    own = select(v.serial).where(v.account == customer)
    lines = (u.serial.in_(own), u.invoice_id.is_(None), u.received_s < end_s)
    connection.execute(update(tables.usage_lines).where(*lines).values(invoice_id=invoice_id))
    for serial in sold:
        connection.execute(update(tables.vouchers).where(v.serial == serial).values(invoice_id=invoice_id))


def _enter(connection: Connection, account: Account, invoice: Invoice, at_s: float) -> None:
    if account.plan is Plan.POSTPAID:
        owed = sum(line.amount for line in invoice.tiers)
        if owed:
            books.enter(connection, ledger.used_postpaid(account.name, invoice.invoice_id, owed, at_s))
        return
    earned = sum(_earned(connection, one) for one in invoice.statements)
    if earned:
        books.enter(connection, ledger.used_prepaid(account.name, invoice.invoice_id, earned, at_s))


def _earned(connection: Connection, one: Statement) -> int:
    """What a prepaid voucher's use is worth: by the whole use, so that rounding adds up to the price in the end."""
    v = tables.vouchers.c
    row = connection.execute(select(v.price, v.quota).where(v.message == one.voucher)).one()
    before = min(one.start_used, row.quota)
    return int(row.price * (before + one.units) // row.quota - row.price * before // row.quota)
