"""Close a month: an invoice for each customer, and a page about use, money and what does not fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.progress import StepProgress
from tinymlops.billing.invoices import Invoice, month_before
from tinymlops.billing.rating import dollars
from tinymlops.fleet import Incident
from tinymlops.premises import Premises


def month_to_close(month: str | None) -> str:
    """The month that is named, else the last one that is over."""
    return month or month_before(time.time())


def customers() -> tuple[str, ...]:
    """Names of all customers."""
    with Premises.from_environment().fleet() as fleet:
        return tuple(one.name for one in fleet.till.accounts())


@task(task_run_name="invoice {customer} {month}", tags=["billing"], retries=2, retry_delay_seconds=5)
def close_month(customer: str, month: str) -> Invoice:
    """Make a customer's invoice, or find the one that was made: the same however often this runs."""
    with StepProgress(f"invoice of {customer} for {month}") as progress, Premises.from_environment().fleet() as fleet:
        invoice = fleet.till.close_month(customer, month, now_s=time.time())
        progress.say(f"{invoice.queries:,} queries, {dollars(invoice.amount)}")
        return invoice


@task(tags=["report"])
def show_month(month: str, invoices: Sequence[Invoice]) -> None:
    """Put the month on a page: invoices, use by device and model, incidents."""
    with Premises.from_environment().fleet() as fleet:
        incidents = fleet.till.incidents()
    create_markdown_artifact(_page(month, invoices, incidents), key="settlement", description=f"Settlement of {month}")


def _page(month: str, invoices: Sequence[Invoice], incidents: Sequence[Incident]) -> str:
    money = [
        (one.account.name, one.invoice_id[:8], f"{one.queries:,}", dollars(one.amount).replace("$", "\\$"))
        for one in invoices
    ]
    use = [(one.account.name, row.device, row.workload, f"{row.units:,}") for one in invoices for row in one.use]
    wrong = [
        (f"{datetime.fromtimestamp(one.at_s, UTC):%Y-%m-%d %H:%M}", one.kind, one.device_id, one.serial[:8], one.what)
        for one in incidents
    ]
    parts = [f"# Settlement of {month}", "", *_table(("customer", "invoice", "queries", "amount"), money)]
    parts += ["", "## Use", "", *_table(("customer", "device", "model", "queries"), use)]
    parts += ["", "## Incidents", "", *_table(("UTC", "kind", "device", "voucher", "what"), wrong)]
    return "\n".join(parts)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return ["None."]
    return [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]
