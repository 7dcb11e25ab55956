"""An invoice as a page to print, as a table for a spreadsheet, and as a file: the same bytes for the same invoice."""

from __future__ import annotations

import csv
import io
from importlib import resources

from tinymlops.billing.invoices import Invoice, Statement
from tinymlops.billing.rating import dollars, plain_dollars
from tinymlops.errors import FormatError
from tinymlops.wire import cose
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.metering import VOUCHER, Voucher


def invoice_file(invoice: Invoice) -> bytes:
    """JSON with every proof: what `tinymlops invoice verify` reads."""
    return encode(invoice)


def read_invoice(content: bytes) -> Invoice:
    """The invoice in a file.

    Raises:
        FormatError: It holds none.
    """
    try:
        return decode(content, Invoice, what="the invoice")
    except FormatError as error:
        raise FormatError(error.cause, "give the .json file that `tinymlops invoice show --out` wrote") from error


def invoice_csv(invoice: Invoice) -> bytes:
    """Use by device and model, then what is to pay; UTF-8, comma-separated (RFC 4180)."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(("invoice", "account", "period", "line", "device", "model", "queries", "usd_per_query", "usd"))
    head = (invoice.invoice_id, invoice.account.name, invoice.period)
    for use in invoice.use:
        rows.writerow((*head, "use", use.device, use.workload, use.units, "", ""))
    for tier in invoice.tiers:
        rows.writerow((*head, "price", "", "", tier.units, plain_dollars(tier.price), plain_dollars(tier.amount)))
    for package in invoice.packages:
        amount = plain_dollars(package.amount)
        rows.writerow((*head, "package", package.device, package.workload, package.quota, "", amount))
    rows.writerow((*head, "total", "", "", invoice.queries, "", plain_dollars(invoice.amount)))
    return text.getvalue().encode()


def invoice_html(invoice: Invoice) -> bytes:
    """A page that needs nothing but itself, laid out for A4; a browser prints it to PDF."""
    import jinja2

    source = resources.files("tinymlops.billing").joinpath("invoice.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"dollars": dollars, "voucher": _voucher}
    return environment.from_string(source).render(invoice=invoice).encode()


def _voucher(statement: Statement) -> Voucher:
    return cose.unchecked(statement.voucher, VOUCHER, Voucher)
