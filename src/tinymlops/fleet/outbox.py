"""Webhooks that came in, until what they ask for has begun elsewhere.

A request is a row before it is answered. Whoever wants to send it on takes it for a while; if nothing is heard of it
until then, because the taker died, the next one takes it. Two may so send the same row, which is why what is sent
carries the row's name as its idempotency key.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Row, func, select

from tinymlops.fleet import tables
from tinymlops.fleet.database import Database, insert

_t = tables.webhook_requests.c


class WebhookState(StrEnum):
    """Where a request stands."""

    WAITING = "waiting"
    """To be sent on, again and again until it is."""
    STARTED = "started"
    FAILED = "failed"
    """It can't be sent on, for good."""


class WebhookRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was signed and well formed.

    Attributes:
        webhook_id: Names it: the sender's idempotency key.
        digest: SHA-256 of the body, hexadecimal.
        parameters: What is asked for, as JSON.
        received_s: When it came first, seconds since 1970.
        state: Where it stands.
        attempts: How often somebody took it to send it on.
        due_s: When it may be taken (again).
        run_id: Of the run that it began, or None.
        note: Why it was not sent on so far, or empty.
    """

    webhook_id: str
    digest: str
    parameters: bytes
    received_s: float
    state: WebhookState = WebhookState.WAITING
    attempts: int = 0
    due_s: float = 0.0
    run_id: str | None = None
    note: str = ""


class Outbox:
    """Requests to be sent on. Safe to use from many threads and processes at once.

    Every method raises `StorageError` when the database can't be reached, read or written.

    Args:
        database: With the fleet's tables.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, webhook_id: str, *, digest: str, parameters: bytes, now_s: float) -> tuple[WebhookRequest, bool]:
        """Keep a request, durably, and say whether it was new; if not, the one that was there comes back unchanged."""
        row = {
            "webhook_id": webhook_id,
            "digest": digest,
            "parameters": parameters,
            "received_s": now_s,
            "state": WebhookState.WAITING.value,
            "attempts": 0,
            "due_s": now_s,
            "note": "",
        }
        with self._database.writing() as connection:
            new = insert(connection, tables.webhook_requests).on_conflict_do_nothing().returning(_t.webhook_id)
            is_new = connection.execute(new, row).one_or_none() is not None
            chosen = select(tables.webhook_requests).where(_t.webhook_id == webhook_id)
            return _request(connection.execute(chosen).one()), is_new

    def find(self, webhook_id: str) -> WebhookRequest | None:
        """The request of that name, or None."""
        with self._database.reading() as connection:
            chosen = select(tables.webhook_requests).where(_t.webhook_id == webhook_id)
            found = connection.execute(chosen).one_or_none()
        return None if found is None else _request(found)

    def claim(self, *, now_s: float, lease_s: float, most: int) -> tuple[WebhookRequest, ...]:
        """Take requests that are due: nobody else gets them before ``lease_s`` seconds have passed.

        Args:
            now_s: Seconds since 1970.
            lease_s: Longer than sending one takes.
            most: So many at most, those that have waited longest first.
        """
        due = (
            select(_t.webhook_id)
            .where(_t.state == WebhookState.WAITING.value, _t.due_s <= now_s)
            .order_by(_t.due_s)
            .limit(most)
            .with_for_update(skip_locked=True)  # SQLite has locked everything already, and ignores this
        )
        with self._database.writing() as connection:
            names = connection.execute(due).scalars().all()
            if not names:
                return ()
            taken = (
                tables.webhook_requests.update()
                .where(_t.webhook_id.in_(names))
                .values(due_s=now_s + lease_s, attempts=_t.attempts + 1)
                .returning(*tables.webhook_requests.c)
            )
            return tuple(_request(row) for row in connection.execute(taken))

    def started(self, webhook_id: str, run_id: str) -> None:
        """What the request asked for has begun."""
        self._change(webhook_id, state=WebhookState.STARTED.value, run_id=run_id, note="")

    def put_off(self, webhook_id: str, *, until_s: float, note: str) -> None:
        """It could not be sent on now: try again from ``until_s`` on."""
        self._change(webhook_id, due_s=until_s, note=note)

    def fail(self, webhook_id: str, note: str) -> None:
        """It can't be sent on, ever."""
        self._change(webhook_id, state=WebhookState.FAILED.value, note=note)

    def waiting(self) -> int:
        """How many are still to be sent on."""
        chosen = select(func.count()).where(_t.state == WebhookState.WAITING.value)
        with self._database.reading() as connection:
            return int(connection.execute(chosen).scalar_one())

    def prune(self, *, before_s: float) -> int:
        """Forget requests that came before ``before_s`` and wait for nothing any more; how many.

        A sender that repeats one of them after that begins a new run, so be generous: months.
        """
        old = tables.webhook_requests.delete().where(_t.received_s < before_s, _t.state != WebhookState.WAITING.value)
        with self._database.writing() as connection:
            return int(connection.execute(old).rowcount)

    def _change(self, webhook_id: str, **values: object) -> None:
        """Change a request, unless it has begun: an answer that comes late must not undo that."""
        waiting = tables.webhook_requests.update().where(
            _t.webhook_id == webhook_id, _t.state == WebhookState.WAITING.value
        )
        with self._database.writing() as connection:
            connection.execute(waiting.values(**values))


def _request(row: Row[Any]) -> WebhookRequest:
    return WebhookRequest(**{**row._asdict(), "state": WebhookState(row.state)})
