"""The books in the database: entries are added, never changed."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from tinymlops.billing.ledger import Entry, Posting
from tinymlops.fleet import tables
from tinymlops.fleet.database import insert


def enter(connection: Connection, posting: Posting) -> bool:
    """Add a fact to the books, once; whether it was new."""
    row = {"reference": posting.reference, "at_s": posting.at_s, "what": posting.what}
    new = insert(connection, tables.ledger).on_conflict_do_nothing().returning(tables.ledger.c.reference)
    if connection.execute(new, row).one_or_none() is None:
        return False
    connection.execute(
        tables.ledger_entries.insert(),
        [
            {"reference": posting.reference, "line": line, "account": entry.account, "micro": entry.micro}
            for line, entry in enumerate(posting.entries)
        ],
    )
    return True


def balance(connection: Connection, account: str) -> int:
    """What an account holds, in micro-dollars: debits less credits."""
    e = tables.ledger_entries.c
    return int(connection.execute(select(func.sum(e.micro)).where(e.account == account)).scalar() or 0)


def postings(connection: Connection) -> tuple[Posting, ...]:
    """All facts, in the order of their time."""
    e = tables.ledger_entries.c
    entries: dict[str, list[Entry]] = {}
    for row in connection.execute(select(tables.ledger_entries).order_by(e.reference, e.line)):
        entries.setdefault(row.reference, []).append(Entry(row.account, row.micro))
    rows = connection.execute(select(tables.ledger).order_by(tables.ledger.c.at_s, tables.ledger.c.reference))
    return tuple(
        Posting(reference=row.reference, at_s=row.at_s, what=row.what, entries=tuple(entries[row.reference]))
        for row in rows
    )


def open_units(connection: Connection, customer: str) -> int:
    """Settled queries of a customer that are in no invoice yet."""
    u, v = tables.usage_lines.c, tables.vouchers.c
    chosen = (
        select(func.sum(u.units))
        .join(tables.vouchers, u.serial == v.serial)
        .where(v.account == customer, u.invoice_id.is_(None))
    )
    return int(connection.execute(chosen).scalar() or 0)
