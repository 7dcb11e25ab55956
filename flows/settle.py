"""A month is over: settled use becomes invoices. Running it again changes nothing."""

from __future__ import annotations

from prefect import flow

from tasks.settle import close_month, customers, month_to_close, show_month
from tinymlops.billing.invoices import Invoice


@flow(name="settle", flow_run_name="{month}")
def settle(month: str | None = None) -> list[Invoice]:
    """Close ``month`` (as in ``2026-11``; the last one that is over unless named) for every customer."""
    period = month_to_close(month)
    invoices = [close_month(customer, period) for customer in customers()]
    show_month(period, invoices)
    return invoices
