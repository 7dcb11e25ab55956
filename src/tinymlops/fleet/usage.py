"""Reports of use, settled: what `tinymlops.billing.settlement` decides, kept in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, update

from tinymlops.billing.settlement import Decision, decide, heads_of
from tinymlops.errors import RefusedError
from tinymlops.files import sha256
from tinymlops.fleet import tables
from tinymlops.fleet.database import insert
from tinymlops.fleet.devices import in_parts
from tinymlops.fleet.values import Handed, Incident
from tinymlops.wire.metering import RECORD_BYTES, Checkpoint, Mark, UsageAcknowledgement, Verdict

_FORWARD = (
    update(tables.vouchers)
    .where(tables.vouchers.c.serial == bindparam("of"))
    .values(
        seq=bindparam("to_seq"),
        used=bindparam("to_used"),
        head=bindparam("to_head"),
        counter_kind=bindparam("kind"),
        counter=bindparam("value"),
        reported_s=bindparam("at"),
    )
)
_ACCEPTED = frozenset({Verdict.BILLED, Verdict.OVERSPENT})
_WORDS = {
    Verdict.FORK: "two devices use this voucher, or its device was put back to an earlier state",
    Verdict.OVERSPENT: "the device answered more queries than the voucher pays for",
}


class _Book:
    """A voucher while a batch is settled."""

    __slots__ = ("changed", "counter", "device_id", "kind", "mark", "pending", "quota", "reported_s")

    def __init__(self, row: Row[Any]) -> None:
        self.device_id, self.quota = row.device_id, row.quota
        self.mark = Mark(row.seq, row.used, row.head)
        self.kind, self.counter, self.reported_s = row.counter_kind, row.counter, row.reported_s
        self.pending: list[tuple[Mark, bytes]] = []
        self.changed = False

    def head_at(self, seq: int) -> bytes | None:
        """The head at a place that this batch has settled."""
        for start, records in self.pending:
            if start.seq < seq <= start.seq + len(records) // RECORD_BYTES:
                return dict(heads_of(start, records))[seq]
        return None


def settle(connection: Connection, batch: Sequence[Handed]) -> tuple[UsageAcknowledgement, ...]:
    """What becomes of each report, in the order of ``batch``. Durable once the transaction is committed.

    Raises:
        RefusedError: A report speaks of a voucher that is not its device's.
        FormatError: A checkpoint counts other queries than its chain holds.
    """
    books = _lock(connection, {one.checkpoint.serial for one in batch})
    lines: list[dict[str, Any]] = []
    incidents: list[dict[str, Any]] = []
    answers = []
    for one in batch:
        book = books.get(one.checkpoint.serial)
        if book is None or book.device_id != one.device_id:
            raise RefusedError("this voucher is not this device's", "report the use of the device's own vouchers")
        answers.append(_settle_one(connection, book, one, lines, incidents))
    _write(connection, books, lines, incidents)
    return tuple(answers)


def incidents(connection: Connection, device_ids: Iterable[str] | None = None) -> tuple[Incident, ...]:
    """Use that does not fit, the newest first; of all devices unless some are named."""
    i, v = tables.incidents.c, tables.vouchers.c
    chosen = select(tables.incidents, v.device_id).join(tables.vouchers, i.serial == v.serial)
    if device_ids is not None:
        chosen = chosen.where(v.device_id.in_(list(device_ids)))
    rows = connection.execute(chosen.order_by(i.at_s.desc(), i.incident_id))
    return tuple(
        Incident(
            incident_id=row.incident_id, serial=row.serial, device_id=row.device_id, kind=row.kind, at_s=row.at_s,
            known=Mark(row.known_seq, row.known_used, row.known_head), checkpoint=row.checkpoint,
            records=row.records, what=row.what,
        )
        for row in rows
    )  # fmt: skip


def use_by_month(connection: Connection, start_s: float, end_s: float) -> dict[tuple[str, str, str], int]:
    """(customer, device, model) → queries that were settled from ``start_s`` to ``end_s``."""
    u, v = tables.usage_lines.c, tables.vouchers.c
    counted = (
        select(v.account, v.device_id, v.workload, func.sum(u.units))
        .join(tables.vouchers, u.serial == v.serial)
        .where(u.received_s >= start_s, u.received_s < end_s)
        .group_by(v.account, v.device_id, v.workload)
        .order_by(v.account, v.device_id, v.workload)
    )
    return {(row[0], row[1], row[2]): int(row[3]) for row in connection.execute(counted)}


def _lock(connection: Connection, serials: set[str]) -> dict[str, _Book]:
    """The vouchers, locked in one order, so that two gateways never wait for each other."""
    v = tables.vouchers.c
    columns = (v.serial, v.device_id, v.quota, v.seq, v.used, v.head, v.counter_kind, v.counter, v.reported_s)
    found: dict[str, _Book] = {}
    for part in in_parts(sorted(serials)):
        rows = connection.execute(select(*columns).where(v.serial.in_(part)).order_by(v.serial).with_for_update())
        found.update((row.serial, _Book(row)) for row in rows)
    return found


def _settle_one(
    connection: Connection, book: _Book, one: Handed, lines: list[dict[str, Any]], incidents: list[dict[str, Any]]
) -> UsageAcknowledgement:
    checkpoint, before = one.checkpoint, book.mark

    def head_at(seq: int) -> bytes | None:
        return book.head_at(seq) or _head_at(connection, checkpoint.serial, seq)

    decision = decide(before, book.quota, checkpoint, one.report.records, head_at)
    if decision.is_incident:
        incidents.append(_incident(one, decision.verdict.value, before, _WORDS[decision.verdict]))
    if decision.verdict in _ACCEPTED:
        if _steps_back(book, checkpoint):
            what = "the device's counter did not go up: its state was put back, or the counter is another one"
            incidents.append(_incident(one, "counter", before, what))
        lines.append(_line(one, before, decision))
        book.pending.append((before, decision.records))
        book.mark, book.kind, book.counter = decision.mark, checkpoint.counter_kind, checkpoint.counter
        book.reported_s, book.changed = one.at_s, True
    return UsageAcknowledgement(
        serial=checkpoint.serial, mark=decision.mark, verdict=decision.verdict, at_s=int(one.at_s)
    )


def _steps_back(book: _Book, checkpoint: Checkpoint) -> bool:
    """Whether a counter in hardware contradicts the order of the checkpoints; a file proves nothing."""
    in_hardware = checkpoint.counter_kind != "file" and book.kind == checkpoint.counter_kind
    return in_hardware and checkpoint.counter <= int(book.counter)


def _line(one: Handed, before: Mark, decision: Decision) -> dict[str, Any]:
    return {
        "serial": one.checkpoint.serial,
        "seq_from": before.seq + 1,
        "seq_to": decision.mark.seq,
        "start_used": before.used,
        "start_head": before.head,
        "units": decision.units,
        "records": decision.records,
        "checkpoint": one.report.checkpoint,
        "received_s": one.at_s,
    }


def _incident(one: Handed, kind: str, known: Mark, what: str) -> dict[str, Any]:
    return {
        "incident_id": sha256(one.report.checkpoint),
        "serial": one.checkpoint.serial,
        "kind": kind,
        "at_s": one.at_s,
        "known_seq": known.seq,
        "known_used": known.used,
        "known_head": known.head,
        "checkpoint": one.report.checkpoint,
        "records": one.report.records,
        "what": what,
    }


def _head_at(connection: Connection, serial: str, seq: int) -> bytes | None:
    """The head of a settled chain at a place: from the line that holds it."""
    u = tables.usage_lines.c
    holds = (u.serial == serial, u.seq_from <= seq + 1, u.seq_to >= seq)
    row = connection.execute(select(tables.usage_lines).where(*holds).order_by(u.seq_from).limit(1)).one_or_none()
    if row is None:
        return None
    start = Mark(row.seq_from - 1, row.start_used, row.start_head)
    return start.head if start.seq == seq else dict(heads_of(start, row.records)).get(seq)


def _write(
    connection: Connection, books: dict[str, _Book], lines: list[dict[str, Any]], incidents: list[dict[str, Any]]
) -> None:
    if lines:
        connection.execute(tables.usage_lines.insert(), lines)
    changed = [
        {
            "of": serial, "to_seq": book.mark.seq, "to_used": book.mark.used, "to_head": book.mark.head,
            "kind": book.kind, "value": book.counter, "at": book.reported_s,
        }
        for serial, book in sorted(books.items())
        if book.changed
    ]  # fmt: skip
    if changed:
        connection.execute(_FORWARD, changed)
    if incidents:
        connection.execute(insert(connection, tables.incidents).on_conflict_do_nothing(), incidents)
