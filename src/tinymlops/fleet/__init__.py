"""The server's record of its devices: who was let in, how they do, what they are offered.

SQLite in a file by default, PostgreSQL by address. Gateways, flows and commands open the same database at once.
"""

from tinymlops.fleet.database import database_address
from tinymlops.fleet.fleet import Fleet, open_fleet
from tinymlops.fleet.outbox import Outbox, WebhookRequest, WebhookState
from tinymlops.fleet.till import Till
from tinymlops.fleet.values import (
    Admission,
    CodeTerms,
    Device,
    EnrolmentTicket,
    Handed,
    HealthOf,
    Heard,
    Incident,
    IssuedVoucher,
    PastReport,
    StoredRollout,
    Verdict,
    VoucherTerms,
)

__all__ = [
    "Admission",
    "CodeTerms",
    "Device",
    "EnrolmentTicket",
    "Fleet",
    "Handed",
    "HealthOf",
    "Heard",
    "Incident",
    "IssuedVoucher",
    "Outbox",
    "PastReport",
    "StoredRollout",
    "Till",
    "Verdict",
    "VoucherTerms",
    "WebhookRequest",
    "WebhookState",
    "database_address",
    "open_fleet",
]
