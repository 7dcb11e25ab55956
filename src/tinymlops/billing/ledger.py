"""Double-entry bookkeeping: what goes into one account comes out of another, and nothing is ever changed.

A debit is positive, a credit negative, both in micro-dollars. Accounts: ``receivable:<customer>`` (what a customer
owes), ``deferred:<customer>`` (sold and not used yet), ``revenue``, ``credits`` (given back after a dispute), ``cash``.
"""

from __future__ import annotations

import msgspec

from tinymlops.errors import UsageError


class Entry(msgspec.Struct, frozen=True):
    """One side of a posting.

    Attributes:
        account: Of the books.
        micro: Debit, or credit if negative.
    """

    account: str
    micro: int


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """A fact in the books.

    Attributes:
        reference: Names it: a second one of the same name is not entered.
        at_s: When, in seconds since 1970.
        what: In words.
        entries: They add up to nothing.

    Raises:
        UsageError: They do not.
    """

    reference: str
    at_s: float
    what: str
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if sum(entry.micro for entry in self.entries):
            raise UsageError(f"the two sides of {self.reference!r} differ", "report this: books must balance")


def moved(reference: str, what: str, micro: int, *, debit: str, credit: str, at_s: float) -> Posting:
    """A posting of one amount from ``credit`` to ``debit``."""
    return Posting(reference=reference, at_s=at_s, what=what, entries=(Entry(debit, micro), Entry(credit, -micro)))


def sale(customer: str, serial: str, micro: int, at_s: float) -> Posting:
    """A prepaid package is sold: owed at once, earned when it is used."""
    debit, credit = f"receivable:{customer}", f"deferred:{customer}"
    return moved(f"voucher:{serial}", "prepaid package", micro, debit=debit, credit=credit, at_s=at_s)


def used_postpaid(customer: str, invoice_id: str, micro: int, at_s: float) -> Posting:
    """A month's use is invoiced: owed and earned."""
    debit = f"receivable:{customer}"
    return moved(f"invoice:{invoice_id}", "use of the month", micro, debit=debit, credit="revenue", at_s=at_s)


def used_prepaid(customer: str, invoice_id: str, micro: int, at_s: float) -> Posting:
    """Part of what was paid ahead is earned."""
    debit = f"deferred:{customer}"
    return moved(f"earned:{invoice_id}", "prepaid use of the month", micro, debit=debit, credit="revenue", at_s=at_s)


def credited(customer: str, reference: str, micro: int, at_s: float) -> Posting:
    """A dispute is settled: part of an invoice is owed no more."""
    credit = f"receivable:{customer}"
    return moved(f"credit:{reference}", "credit note", micro, debit="credits", credit=credit, at_s=at_s)


def paid(customer: str, reference: str, micro: int, at_s: float) -> Posting:
    """Money came in."""
    credit = f"receivable:{customer}"
    return moved(f"payment:{reference}", "payment", micro, debit="cash", credit=credit, at_s=at_s)
