"""Vouchers in the database: issued, found, revoked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select, update

from tinymlops.billing import ledger
from tinymlops.billing.invoices import Account, Plan
from tinymlops.billing.rating import cost, dollars
from tinymlops.errors import RefusedError, UnknownNameError, UsageError
from tinymlops.fleet import books, devices, tables
from tinymlops.fleet.database import insert
from tinymlops.fleet.values import IssuedVoucher, Signer, VoucherTerms
from tinymlops.wire import cose
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.metering import VOUCHER, Mark, Voucher, first_mark

MOST_IN_A_LIST = 64


def save_account(connection: Connection, account: Account, *, now_s: float) -> None:
    """Keep a customer, or change one."""
    row = {"name": account.name, "document": encode(account), "updated_s": now_s}
    first = insert(connection, tables.accounts)
    changed = first.on_conflict_do_update(
        index_elements=[tables.accounts.c.name],
        set_={"document": first.excluded.document, "updated_s": first.excluded.updated_s},
    )
    connection.execute(changed, row)


def accounts(connection: Connection) -> tuple[Account, ...]:
    """All customers, by name."""
    c = tables.accounts.c
    return tuple(decode(document, Account) for document in connection.scalars(select(c.document).order_by(c.name)))


def account(connection: Connection, name: str) -> Account:
    """The customer of that name; raises `UnknownNameError`."""
    known = {one.name: one for one in accounts(connection)}
    if name not in known:
        raise UnknownNameError("account", name, sorted(known) or ["(none yet: `tinymlops invoice account NAME`)"])
    return known[name]


def issue(connection: Connection, terms: VoucherTerms, sign: Signer, *, now_s: float) -> IssuedVoucher:
    """A new voucher, signed, and its price in the books where it is prepaid.

    Raises:
        UsageError: There is no such device, or it was revoked.
        UnknownNameError: There is no such customer.
        RefusedError: The customer would owe more than its credit.
    """
    device, customer = devices.find(connection, terms.device_id), account(connection, terms.account)
    if device is None or device.revoked_s is not None:
        raise UsageError(f"no device {terms.device_id!r} is let in", "see `tinymlops fleet list`")
    v = tables.vouchers.c
    same = (v.device_id == terms.device_id, v.workload == terms.workload)
    epoch = (connection.execute(select(func.max(v.epoch)).where(*same)).scalar() or 0) + 1
    known = connection.execute(select(tables.vouchers).where(v.serial == terms.serial)).one_or_none()
    if known is not None:
        return _issued(known)
    _check_credit(connection, customer, terms.quota, now_s)
    voucher = Voucher(
        serial=terms.serial, device=terms.device_id, workload=terms.workload, quota=terms.quota,
        issued_s=int(now_s), expires_s=int(now_s) + terms.life_s, grace_s=terms.grace_s, epoch=epoch,
    )  # fmt: skip
    prepaid = customer.plan is Plan.PREPAID
    price = (cost(terms.quota, customer.tariff) if terms.price is None else terms.price) if prepaid else 0
    message = cose.signed(voucher, VOUCHER, sign)
    _insert(connection, voucher, message, customer.name, price)
    if price:
        books.enter(connection, ledger.sale(customer.name, voucher.serial, price, float(voucher.issued_s)))
    return _issued(connection.execute(select(tables.vouchers).where(v.serial == terms.serial)).one())


def revoke(connection: Connection, serial: str, *, now_s: float) -> IssuedVoucher:
    """Take a voucher back; its device hears of it at its next round.

    Raises:
        UsageError: There is no such voucher.
    """
    v = tables.vouchers.c
    connection.execute(
        update(tables.vouchers).where(v.serial == serial, v.revoked_s.is_(None)).values(revoked_s=float(int(now_s)))
    )
    found = choose(connection, serials=(serial,))
    if not found:
        raise UsageError(f"there is no voucher {serial!r}", "see `tinymlops voucher show`")
    return found[0]


def choose(
    connection: Connection, *, serials: Iterable[str] = (), device_id: str | None = None, customer: str | None = None
) -> tuple[IssuedVoucher, ...]:
    """Vouchers that fit every condition that is given, by device, model and epoch."""
    v = tables.vouchers.c
    conditions: list[ColumnElement[bool]] = []
    if serials:
        conditions.append(v.serial.in_(list(serials)))
    if device_id is not None:
        conditions.append(v.device_id == device_id)
    if customer is not None:
        conditions.append(v.account == customer)
    chosen = select(tables.vouchers).where(*conditions).order_by(v.device_id, v.workload, v.epoch)
    return tuple(_issued(row) for row in connection.execute(chosen))


def of_device(connection: Connection, device_id: str, *, now_s: float) -> tuple[IssuedVoucher, ...]:
    """What a device has to hear: vouchers that are not used up or over, also revoked ones; the oldest first."""
    v = tables.vouchers.c
    chosen = (
        select(tables.vouchers)
        .where(v.device_id == device_id, v.ends_s > now_s, v.used < v.quota)
        .order_by(v.epoch)
        .limit(MOST_IN_A_LIST)
    )
    return tuple(_issued(row) for row in connection.execute(chosen))


def _check_credit(connection: Connection, customer: Account, quota: int, now_s: float) -> None:
    """Check that what is owed, what is used and what may still be used stays within the credit."""
    if customer.credit is None or customer.plan is Plan.PREPAID:
        return
    v = tables.vouchers.c
    live = (v.account == customer.name, v.revoked_s.is_(None), v.ends_s > now_s)
    still = connection.execute(select(func.sum(v.quota - v.used)).where(*live)).scalar() or 0
    units = books.open_units(connection, customer.name) + int(still) + quota
    owed = books.balance(connection, f"receivable:{customer.name}") + cost(units, customer.tariff)
    if owed > customer.credit:
        raise RefusedError(
            f"{customer.name} could owe {dollars(owed)} then, and its credit is {dollars(customer.credit)}",
            "issue a smaller one, wait for a payment (`tinymlops invoice pay`), or raise the credit",
        )


def _insert(connection: Connection, voucher: Voucher, message: bytes, customer: str, price: int) -> None:
    connection.execute(
        tables.vouchers.insert(),
        {
            "serial": voucher.serial, "device_id": voucher.device, "workload": voucher.workload,
            "epoch": voucher.epoch, "account": customer, "quota": voucher.quota, "price": price, "message": message,
            "issued_s": voucher.issued_s, "ends_s": voucher.ends_s, "seq": 0, "used": 0,
            "head": first_mark(message).head, "counter": 0,
        },
    )  # fmt: skip


def _issued(row: Row[Any]) -> IssuedVoucher:
    return IssuedVoucher(
        serial=row.serial, device_id=row.device_id, workload=row.workload, epoch=row.epoch, account=row.account,
        quota=row.quota, price=row.price, message=row.message, issued_s=row.issued_s, ends_s=row.ends_s,
        revoked_s=row.revoked_s, mark=Mark(row.seq, row.used, row.head), reported_s=row.reported_s,
    )  # fmt: skip
