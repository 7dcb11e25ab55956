"""Pay per query as one object: each method is a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tinymlops.billing.invoices import Account, Invoice, period_of
from tinymlops.billing.ledger import Posting, paid
from tinymlops.fleet import books, invoicing, usage, vouchers
from tinymlops.fleet.database import Database
from tinymlops.fleet.values import Handed, Incident, IssuedVoucher, Signer, VoucherTerms
from tinymlops.wire.metering import UsageAcknowledgement


class Till:
    """Customers, vouchers, settled use, invoices and books. Safe to use from many threads and processes at once.

    Every method raises `StorageError` when the database can't be reached, read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # Customers and vouchers

    def save_account(self, account: Account, *, now_s: float) -> None:
        """Keep a customer, or change one; months that are closed stay as they are."""
        with self._database.writing() as connection:
            vouchers.save_account(connection, account, now_s=now_s)

    def accounts(self) -> tuple[Account, ...]:
        """All customers, by name."""
        with self._database.reading() as connection:
            return vouchers.accounts(connection)

    def issue(self, terms: VoucherTerms, sign: Signer, *, now_s: float) -> IssuedVoucher:
        """A new voucher; the same serial again gives the one that was made.

        Args:
            terms: What it shall say.
            sign: With the gateway's key.
            now_s: Seconds since 1970.

        Raises:
            UsageError: There is no such device, or it was revoked.
            UnknownNameError: There is no such customer.
            RefusedError: The customer would owe more than its credit.
        """
        with self._database.writing() as connection:
            return vouchers.issue(connection, terms, sign, now_s=now_s)

    def revoke(self, serial: str, *, now_s: float) -> IssuedVoucher:
        """Take a voucher back; raises `UsageError` where there is none."""
        with self._database.writing() as connection:
            return vouchers.revoke(connection, serial, now_s=now_s)

    def vouchers(self, *, device_id: str | None = None, customer: str | None = None) -> tuple[IssuedVoucher, ...]:
        """Vouchers that fit every condition that is given, by device, model and epoch."""
        with self._database.reading() as connection:
            return vouchers.choose(connection, device_id=device_id, customer=customer)

    def vouchers_for(self, device_id: str, *, now_s: float) -> tuple[IssuedVoucher, ...]:
        """What a device has to hear: its vouchers that are not used up or over, also revoked ones."""
        with self._database.reading() as connection:
            return vouchers.of_device(connection, device_id, now_s=now_s)

    # Use

    def settle(self, batch: Sequence[Handed]) -> tuple[UsageAcknowledgement, ...]:
        """What becomes of each report of use, in the order of ``batch``; durable when this returns.

        Raises:
            RefusedError: A report speaks of a voucher that is not its device's; nothing of the batch is kept.
            FormatError: A checkpoint counts other queries than its chain holds; likewise.
        """
        with self._database.writing() as connection:
            return usage.settle(connection, batch)

    def incidents(self, device_ids: Iterable[str] | None = None) -> tuple[Incident, ...]:
        """Use that does not fit, the newest first."""
        with self._database.reading() as connection:
            return usage.incidents(connection, device_ids)

    def use(self, period: str) -> Mapping[tuple[str, str, str], int]:
        """(customer, device, model) → queries settled in a month, closed or not."""
        start_s, end_s = period_of(period)
        with self._database.reading() as connection:
            return usage.use_by_month(connection, start_s, end_s)

    # Money

    def close_month(self, customer: str, period: str, *, now_s: float) -> Invoice:
        """The invoice of a month, the same however often; raises as `tinymlops.fleet.invoicing.close`."""
        with self._database.writing() as connection:
            return invoicing.close(connection, customer, period, now_s=now_s)

    def invoices(self) -> tuple[Invoice, ...]:
        """All invoices, by customer and month."""
        with self._database.reading() as connection:
            return invoicing.invoices(connection)

    def invoice(self, start: str) -> Invoice:
        """The one invoice whose id begins with ``start``; raises `UsageError`."""
        with self._database.reading() as connection:
            return invoicing.find(connection, start)

    def credit(self, invoice_id: str, micro: int, why: str, *, reference: str, now_s: float) -> bool:
        """Give part of an invoice back, once for each ``reference``; whether it was new. Raises `UsageError`."""
        with self._database.writing() as connection:
            return invoicing.credit(connection, invoice_id, micro, why, reference=reference, now_s=now_s)

    def pay(self, customer: str, micro: int, *, reference: str, now_s: float) -> bool:
        """Note a payment, once for each ``reference``; whether it was new. Raises `UnknownNameError`."""
        with self._database.writing() as connection:
            vouchers.account(connection, customer)
            return books.enter(connection, paid(customer, reference, micro, now_s))

    def balance(self, account: str) -> int:
        """What an account of the books holds, in micro-dollars."""
        with self._database.reading() as connection:
            return books.balance(connection, account)

    def postings(self) -> tuple[Posting, ...]:
        """The books, in the order of time."""
        with self._database.reading() as connection:
            return books.postings(connection)
