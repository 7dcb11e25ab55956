"""Invoices: made of settled use, the same bytes however often; and how a customer checks one without believing us."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from tinymlops.billing.rating import Tariff, TierLine, rated
from tinymlops.errors import UntrustedError, UsageError
from tinymlops.wire import cose
from tinymlops.wire.encoding import Versioned
from tinymlops.wire.fields import PublicKey, Word
from tinymlops.wire.identity import PublicKeys
from tinymlops.wire.metering import (
    ACKNOWLEDGEMENT,
    CHECKPOINT,
    VOUCHER,
    Checkpoint,
    Mark,
    Message,
    UsageAcknowledgement,
    Voucher,
    first_mark,
)

_PERIOD = re.compile(r"(?P<year>2\d{3})-(?P<month>0[1-9]|1[0-2])")


class Plan(StrEnum):
    """When a customer pays."""

    PREPAID = "prepaid"
    """Each voucher is paid when it is issued; its use costs nothing more."""
    POSTPAID = "postpaid"
    """A month's use is paid after the month; vouchers are the credit."""


class Account(Versioned, frozen=True, kw_only=True):
    """A customer.

    Attributes:
        name: Of the customer.
        plan: When it pays.
        tariff: What queries cost.
        credit: Micro-dollars that may be owed and open in vouchers together, or None for no limit.
    """

    name: Word
    plan: Plan = Plan.POSTPAID
    tariff: Tariff = Tariff()
    credit: Annotated[int, Meta(ge=0)] | None = None


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A prepaid voucher that was sold.

    Attributes:
        serial: Of the voucher.
        device: That may use it.
        workload: The model.
        quota: Queries.
        amount: Micro-dollars.
    """

    serial: str
    device: str
    workload: str
    quota: int
    amount: int


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """Use of one voucher in an invoice, with its proof.

    Attributes:
        voucher: As we signed it.
        signing_key: Of the device.
        sealing_key: Of the device; the digest of both keys is its id.
        start_seq: Where the last invoice ended: records.
        start_used: Likewise: queries.
        end: Where this one ends.
        checkpoint: In which the device itself says so, with its signature.
        units: Queries of this invoice.
    """

    voucher: Message
    signing_key: PublicKey
    sealing_key: PublicKey
    start_seq: int
    start_used: int
    end: Mark
    checkpoint: Message
    units: int


class UseRow(msgspec.Struct, frozen=True, kw_only=True):
    """Use of a model on a device.

    Attributes:
        device: Its id.
        workload: The model.
        units: Queries.
    """

    device: str
    workload: str
    units: int


class Invoice(Versioned, frozen=True, kw_only=True):
    """What a customer owes for a month, and why.

    Attributes:
        invoice_id: Digest of account, period and tariff.
        account: The customer, with the tariff of the time.
        period: The month, as in ``2026-11`` (UTC).
        queries: In all.
        use: By device and model.
        tiers: How the queries are priced; empty for a prepaid account.
        packages: Prepaid ones that were sold.
        statements: The proof of every voucher's use.
        amount: To pay, in micro-dollars.
    """

    invoice_id: str
    account: Account
    period: str
    queries: int
    use: tuple[UseRow, ...]
    tiers: tuple[TierLine, ...]
    packages: tuple[Package, ...]
    statements: tuple[Statement, ...]
    amount: int


class Period(NamedTuple):
    """A month: its first second, and the first second after it, since 1970."""

    start_s: float
    end_s: float


def period_of(name: str) -> Period:
    """The month called ``name``, in UTC.

    Raises:
        UsageError: It is not written like ``2026-11``.
    """
    found = _PERIOD.fullmatch(name)
    if found is None:
        raise UsageError(f"{name!r} is no month", "write it like 2026-11")
    year, month = int(found["year"]), int(found["month"])
    first = datetime(year, month, 1, tzinfo=UTC)
    after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return Period(first.timestamp(), after.timestamp())


def month_before(now_s: float) -> str:
    """The last month that is over."""
    now = datetime.fromtimestamp(now_s, UTC)
    return f"{now.year - 1}-12" if now.month == 1 else f"{now.year}-{now.month - 1:02d}"


def invoice_id_of(account: str, period: str, tariff: Tariff) -> str:
    """Names an invoice: 32 hexadecimal digits that follow from what it is for."""
    return hashlib.sha256(f"tinymlops/invoice/v1\n{account}\n{period}\n{tariff.version}".encode()).hexdigest()[:32]


def make_invoice(
    account: Account, period: str, statements: Sequence[Statement], packages: Sequence[Package]
) -> Invoice:
    """The invoice of a month; the same use in any order gives the same invoice."""
    statements = tuple(sorted(statements, key=lambda one: (one.voucher, one.end.seq)))
    use, queries = _use(statements), sum(one.units for one in statements)
    packages = tuple(sorted(packages, key=lambda one: one.serial))
    tiers = rated(queries, account.tariff) if account.plan is Plan.POSTPAID else ()
    return Invoice(
        invoice_id=invoice_id_of(account.name, period, account.tariff),
        account=account,
        period=period,
        queries=queries,
        use=use,
        tiers=tiers,
        packages=packages,
        statements=statements,
        amount=sum(line.amount for line in tiers) + sum(one.amount for one in packages),
    )


def verify_invoice(
    invoice: Invoice, gateway_key: bytes, receipts: Sequence[bytes] = (), previous: Invoice | None = None
) -> int:
    """Check an invoice: its sums, and that the customer's own devices signed every query of it.

    Args:
        invoice: To check.
        gateway_key: Ed25519 public key that signed the vouchers, as the devices know it.
        receipts: Signed acknowledgements that the devices kept.
        previous: The invoice before, so that nothing is in both.

    Returns:
        How many of the receipts speak of vouchers in this invoice.

    Raises:
        UntrustedError: Something does not hold; it says what.
        FormatError: A proof can't be read.
    """
    for statement in invoice.statements:
        _check_statement(statement, gateway_key)
    again = make_invoice(invoice.account, invoice.period, invoice.statements, invoice.packages)
    if again != invoice:
        raise _wrong("its sums do not follow from its proofs")
    serials = [_voucher(one).serial for one in invoice.statements]
    if len(set(serials)) != len(serials):
        raise _wrong("it holds a voucher twice")
    if previous is not None:
        _check_previous(invoice, previous)
    ends = {_voucher(one).serial: one.end for one in invoice.statements}
    return sum(_check_receipt(receipt, ends, gateway_key) for receipt in receipts)


def _use(statements: Sequence[Statement]) -> tuple[UseRow, ...]:
    units: dict[tuple[str, str], int] = defaultdict(int)
    for one in statements:
        voucher = _voucher(one)
        units[voucher.device, voucher.workload] += one.units
    return tuple(UseRow(device=key[0], workload=key[1], units=units[key]) for key in sorted(units))


def _voucher(statement: Statement) -> Voucher:
    return cose.unchecked(statement.voucher, VOUCHER, Voucher)


def _check_statement(one: Statement, gateway_key: bytes) -> None:
    voucher = cose.opened(one.voucher, VOUCHER, gateway_key, Voucher)
    if PublicKeys(one.signing_key, one.sealing_key).device_id != voucher.device:
        raise _wrong(f"the keys of voucher {voucher.serial} are not those of its device")
    signed = cose.opened(one.checkpoint, CHECKPOINT, one.signing_key, Checkpoint)
    if (signed.serial, signed.end) != (voucher.serial, one.end):
        raise _wrong(f"device {voucher.device} signed another use of voucher {voucher.serial}")
    if not one.start_seq and (one.start_used or (not signed.start.seq and signed.start != first_mark(one.voucher))):
        raise _wrong(f"the use of voucher {voucher.serial} does not begin with the voucher")
    if one.units != min(one.end.used, voucher.quota) - min(one.start_used, voucher.quota):
        raise _wrong(f"{one.units} queries of voucher {voucher.serial} are not those that its device signed")


def _check_previous(invoice: Invoice, previous: Invoice) -> None:
    if (previous.account.name, previous.period) >= (invoice.account.name, invoice.period):
        raise UsageError("the invoice before is not from before", "give the one of an earlier month of this account")
    ends = {_voucher(one).serial: one.end for one in previous.statements}
    for one in invoice.statements:
        serial = _voucher(one).serial
        if serial in ends and (ends[serial].seq, ends[serial].used) != (one.start_seq, one.start_used):
            raise _wrong(f"voucher {serial} does not go on where the invoice before ended")


def _check_receipt(receipt: bytes, ends: dict[str, Mark], gateway_key: bytes) -> bool:
    told = cose.opened(receipt, ACKNOWLEDGEMENT, gateway_key, UsageAcknowledgement)
    end = ends.get(told.serial)
    if end is None:
        return False
    if told.mark.seq == end.seq and told.mark != end:
        raise _wrong(f"a receipt of voucher {told.serial} says another count for the same record")
    if (told.mark.seq - end.seq) * (told.mark.used - end.used) < 0:
        raise _wrong(f"a receipt of voucher {told.serial} contradicts the order of its counts")
    return True


def _wrong(what: str) -> UntrustedError:
    return UntrustedError(f"this invoice does not hold: {what}", "dispute it, with this message and the receipts")
