"""``tinymlops invoice``: customers, invoices, payments and disputes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinymlops.cli.voucher import database_option, open_record

if TYPE_CHECKING:
    from tinymlops.billing.invoices import Invoice


@click.group()
def invoice() -> None:
    """Customers and what they owe."""


@invoice.command()
@click.argument("name")
@click.option("--plan", type=click.Choice(["postpaid", "prepaid"]), default="postpaid", show_default=True)
@click.option("--tariff", default="rest@1.50", show_default=True, help="Dollars per 1,000: 10000@1.50,rest@1.20.")
@click.option("--free", type=click.IntRange(0), default=0, show_default=True, help="Queries a month free of charge.")
@click.option("--credit", help="Most that may be owed, in dollars.  [default: no limit]")
@database_option
def account(name: str, plan: str, tariff: str, free: int, credit: str | None, database_url: str | None) -> None:
    """Make the customer NAME, or change its terms; closed months stay as they are."""
    import re

    from tinymlops.billing.invoices import Account, Plan
    from tinymlops.billing.rating import Tariff, micro_dollars
    from tinymlops.errors import UsageError

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(f"{name!r} is not a name", "use letters, digits and . _ - in names, 64 at most")
    terms = Account(
        name=name,
        plan=Plan(plan),
        tariff=Tariff.parse(tariff, free=free),
        credit=None if credit is None else micro_dollars(credit, what="credit"),
    )
    with open_record(database_url) as record:
        record.till.save_account(terms, now_s=time.time())
    click.echo(f"{name}: {plan}, {terms.tariff} dollars per 1,000 queries.")


@invoice.command()
@click.argument("customer", required=False)
@click.option("--month", help="As in 2026-11.  [default: the last one that is over]")
@database_option
def make(customer: str | None, month: str | None, database_url: str | None) -> None:
    """Close a month for CUSTOMER, or for all; again, it shows the same invoice. `flows/settle.py` does it monthly."""
    from tinymlops.billing.invoices import month_before

    period = month or month_before(time.time())
    with open_record(database_url) as record:
        names = [customer] if customer else [one.name for one in record.till.accounts()]
        for name in names:
            click.echo(_line(record.till.close_month(name, period, now_s=time.time())))
    if not names:
        click.echo("There are no customers: `tinymlops invoice account NAME` makes one.")


@invoice.command(name="list")
@database_option
def list_invoices(database_url: str | None) -> None:
    """List all invoices, and what each customer owes."""
    from tinymlops.billing.rating import dollars

    with open_record(database_url) as record:
        for one in record.till.invoices():
            click.echo(_line(one))
        for customer in record.till.accounts():
            owed = record.till.balance(f"receivable:{customer.name}")
            click.echo(f"{customer.name} ({customer.plan}) owes {dollars(owed)}.")


@invoice.command()
@click.argument("invoice_id")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Folder.  [default: .]")
@database_option
def show(invoice_id: str, out: Path, database_url: str | None) -> None:
    """Write an invoice as .html (print it to PDF), .csv and .json (with its proofs)."""
    from tinymlops.billing.documents import invoice_csv, invoice_file, invoice_html
    from tinymlops.files import write_atomic

    with open_record(database_url) as record:
        found = record.till.invoice(invoice_id)
    click.echo(_line(found))
    for ending, content in (("html", invoice_html(found)), ("csv", invoice_csv(found)), ("json", invoice_file(found))):
        path = out / f"{found.invoice_id[:8]}.{ending}"
        write_atomic(path, content)
        click.echo(str(path))


@invoice.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--gateway-key", type=click.Path(path_type=Path), required=True, help="Its public half (.pub).")
@click.option("--receipts", type=click.Path(path_type=Path, file_okay=False), help="From `tinymlops agent receipts`.")
@click.option("--previous", type=click.Path(path_type=Path, dir_okay=False), help="The invoice before, .json.")
def verify(file: Path, gateway_key: Path, receipts: Path | None, previous: Path | None) -> None:
    """Check an invoice (.json) as a customer: sums, signatures of the own devices, own receipts. Asks nobody."""
    from tinymlops.billing.documents import read_invoice
    from tinymlops.billing.invoices import verify_invoice
    from tinymlops.billing.rating import dollars
    from tinymlops.wire.identity import read_public_pem

    found = read_invoice(_content(file))
    before = None if previous is None else read_invoice(_content(previous))
    kept = [path.read_bytes() for path in sorted(receipts.glob("*.receipt"))] if receipts is not None else []
    speaking = verify_invoice(found, read_public_pem(_content(gateway_key), gateway_key), kept, before)
    click.echo(
        f"Invoice {found.invoice_id[:8]} holds: {found.queries:,} queries of {len(found.use)} devices and models, each "
        f"signed by its device; {dollars(found.amount)}. {speaking} of {len(kept)} receipts speak of it and agree."
    )


@invoice.command()
@click.argument("invoice_id")
@click.argument("amount")
@click.option("--why", required=True, help="For the books.")
@click.option("--reference", required=True, help="Names the note; the same again changes nothing.")
@database_option
def credit(invoice_id: str, amount: str, why: str, reference: str, database_url: str | None) -> None:
    """Give AMOUNT dollars of an invoice back after a dispute. The invoice stays; the note is in the books."""
    from tinymlops.billing.rating import dollars, micro_dollars

    micro = micro_dollars(amount)
    with open_record(database_url) as record:
        new = record.till.credit(invoice_id, micro, why, reference=reference, now_s=time.time())
    click.echo(f"Credit note {reference} over {dollars(micro)}: {'entered' if new else 'was entered before'}.")


@invoice.command()
@click.argument("customer")
@click.argument("amount")
@click.option("--reference", required=True, help="Of the bank; the same again changes nothing.")
@database_option
def pay(customer: str, amount: str, reference: str, database_url: str | None) -> None:
    """Note that CUSTOMER paid AMOUNT dollars."""
    from tinymlops.billing.rating import dollars, micro_dollars

    micro = micro_dollars(amount)
    with open_record(database_url) as record:
        new = record.till.pay(customer, micro, reference=reference, now_s=time.time())
        owed = record.till.balance(f"receivable:{customer}")
    click.echo(f"{dollars(micro)}: {'entered' if new else 'was entered before'}. {customer} owes {dollars(owed)}.")


@invoice.command()
@database_option
def books(database_url: str | None) -> None:
    """Print the books: every posting, debits above credits."""
    from tinymlops.billing.rating import dollars
    from tinymlops.cli.voucher import moment

    with open_record(database_url) as record:
        for posting in record.till.postings():
            click.echo(f"{moment(posting.at_s)}  {posting.reference}  {posting.what}")
            for entry in posting.entries:
                click.echo(f"    {entry.account:<40} {dollars(entry.micro):>16}")


def _line(one: Invoice) -> str:
    from tinymlops.billing.rating import dollars

    return f"{one.invoice_id[:8]}  {one.account.name}  {one.period}  {one.queries:,} queries  {dollars(one.amount)}"


def _content(path: Path) -> bytes:
    from tinymlops.errors import UsageError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read ({error.strerror})", "check its name") from error
