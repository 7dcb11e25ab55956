"""The fleet's record as one object: each method is a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Self

from sqlalchemy import select

from tinymlops.errors import SetupError
from tinymlops.fleet import devices, enrolment, reports, requests, rollouts, telemetry
from tinymlops.fleet.database import Database
from tinymlops.fleet.outbox import Outbox
from tinymlops.fleet.till import Till
from tinymlops.fleet.values import (
    Admission,
    CodeTerms,
    Device,
    EnrolmentTicket,
    HealthOf,
    Heard,
    PastReport,
    StoredRollout,
)
from tinymlops.wire.assignment import Assignment
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.messages import EnrolmentRequest


def open_fleet(address: str, *, migrate: bool = True) -> Fleet:
    """The fleet's record at ``address``, with its tables made or brought up to date.

    Args:
        address: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
        migrate: False where the program that runs has no right to change tables: then they must be there.

    Raises:
        UsageError: The address is none.
        StorageError: The database can't be reached or written.
        SetupError: Its tables are of another release of this software.
    """
    database = Database(address)
    if migrate:
        database.migrate()
    elif not database.is_current():
        raise SetupError(
            f"the tables in {database.address} are not those of this release", "run `tinymlops fleet migrate`"
        )
    return Fleet(database)


class Fleet:
    """Devices, their health and what they are offered. Safe to use from many threads and processes at once.

    Every method raises `StorageError` when the database can't be reached, read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.till = Till(database)
        self.outbox = Outbox(database)

    @property
    def address(self) -> str:
        """Of the database, without its password."""
        return self._database.address

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self) -> None:
        """Try whether the database answers.

        Raises:
            StorageError: It does not.
        """
        with self._database.reading() as connection:
            connection.execute(select(1))

    # Letting in, shutting out, finding

    def new_code(self, terms: CodeTerms, *, root: bytes, gateway_key: bytes) -> EnrolmentCode:
        """A fresh enrolment code; only the digest of its secret is kept.

        Args:
            terms: What it stands for.
            root: The TUF root of version ``terms.root_version``, for the code's anchor.
            gateway_key: Ed25519 public key of the gateway, likewise.
        """
        code = EnrolmentCode.new(root, gateway_key)
        with self._database.writing() as connection:
            enrolment.record_code(connection, code.secret, terms)
        return code

    def withdraw_code(self, code: EnrolmentCode) -> None:
        """Make an unused code worthless.

        Raises:
            UsageError: There is no such code, or a device has used it.
        """
        with self._database.writing() as connection:
            enrolment.withdraw_code(connection, code.secret)

    def enrol(self, request: EnrolmentRequest, *, now_s: float) -> EnrolmentTicket:
        """Let a device in that has proved that it holds the keys in ``request``; again the same for the same device.

        Raises:
            RefusedError: The code is unknown, has run out, is for another profile or was used by another device; or
                the device was revoked.
            FormatError: The keys are none.
        """
        with self._database.writing() as connection:
            return enrolment.enrol(connection, request, now_s=now_s)

    def revoke(self, device_id: str, *, now_s: float) -> Device:
        """Shut a device out, for good: the next request that it makes is refused.

        Raises:
            UsageError: There is no such device.
        """
        with self._database.writing() as connection:
            return devices.revoke(connection, device_id, now_s=now_s)

    def find_device(self, device_id: str) -> Device | None:
        """The device called ``device_id``, also a revoked one, or None."""
        with self._database.reading() as connection:
            return devices.find(connection, device_id)

    def devices(  # noqa: PLR0913 - each narrows the choice
        self,
        *,
        ids: Iterable[str] | None = None,
        profiles: Collection[str] = (),
        tags: Collection[str] = (),
        regions: Collection[str] = (),
        revoked: bool = False,
        after: str = "",
        limit: int | None = None,
    ) -> tuple[Device, ...]:
        """Devices that fit every condition that is given, in the order of their ids.

        Args:
            ids: Only these; None for all.
            profiles: One of these.
            tags: At least one of these.
            regions: One of these.
            revoked: Whether revoked devices are meant too.
            after: Only ids behind this one.
            limit: At most so many.
        """
        with self._database.reading() as connection:
            return devices.choose(
                connection,
                ids=ids,
                profiles=profiles,
                tags=tags,
                regions=regions,
                revoked=revoked,
                after=after,
                limit=limit,
            )

    # Requests and health

    def admit(self, batch: Sequence[Heard]) -> tuple[Admission, ...]:
        """What becomes of each request, in the order of ``batch``; durable when this returns.

        Raises nothing for a replay or a revoked device: that is the verdict on one request, and others are in the
        same batch.
        """
        with self._database.writing() as connection:
            return requests.admit(connection, batch)

    def prune_nonces(self, *, now_s: float) -> int:
        """Forget nonces whose requests are too old to be accepted anyway; how many."""
        with self._database.writing() as connection:
            return requests.prune(connection, now_s=now_s)

    def health(
        self, *, workload: str | None = None, version: int | None = None, device_ids: Iterable[str] | None = None
    ) -> tuple[HealthOf, ...]:
        """Releases on devices that are let in, by each device's newest report.

        Args:
            workload: Only of this task.
            version: Only of this release.
            device_ids: Only of these devices.
        """
        with self._database.reading() as connection:
            return reports.health(connection, workload=workload, version=version, device_ids=device_ids)

    def history(self, device_id: str) -> tuple[PastReport, ...]:
        """The last reports of a device, oldest first; at most `requests.HISTORY`."""
        with self._database.reading() as connection:
            return reports.history(connection, device_id)

    def phases(self) -> Mapping[tuple[str, int, str], int]:
        """(workload, version, phase) → how many devices say so."""
        with self._database.reading() as connection:
            return reports.phases(connection)

    # Telemetry

    def telemetry_through(self, device_id: str) -> int:
        """Highest sequence number of a device's telemetry that is known to be kept; -1 before the first."""
        return self.telemetry_marks([device_id]).get(device_id, -1)

    def telemetry_marks(self, device_ids: Collection[str]) -> Mapping[str, int]:
        """Device → that number, of those of ``device_ids`` that have handed in any."""
        with self._database.reading() as connection:
            return telemetry.marks(connection, device_ids)

    def advance_telemetry(self, marks: Mapping[str, int]) -> None:
        """Remember how far the telemetry of devices is kept; a mark never goes back."""
        with self._database.writing() as connection:
            telemetry.advance(connection, marks)

    # Roll-outs and assignments

    def load_rollout(self, rollout_id: str) -> StoredRollout | None:
        """The roll-out of that name, or None."""
        with self._database.reading() as connection:
            return rollouts.load(connection, rollout_id)

    def rollouts(self) -> tuple[StoredRollout, ...]:
        """All roll-outs, the one that was changed last first."""
        with self._database.reading() as connection:
            return rollouts.load_all(connection)

    def save_rollout(self, rollout_id: str, document: bytes, *, expected: int | None, now_s: float) -> int | None:
        """Keep a roll-out if nobody else has changed it since it was read.

        Args:
            rollout_id: Names it.
            document: JSON.
            expected: Version that it had when it was read; None for a new one.
            now_s: Seconds since 1970.

        Returns:
            Its new version, or None if somebody was quicker.
        """
        with self._database.writing() as connection:
            return rollouts.save(connection, rollout_id, document, expected=expected, now_s=now_s)

    def next_assignment_counters(
        self, device_ids: Iterable[str], *, seen: Mapping[str, int] | None = None
    ) -> Mapping[str, int]:
        """A fresh, higher assignment counter for each device: no two callers ever get the same one for a device.

        Args:
            device_ids: Which devices.
            seen: Device → a counter that it has reported: after this record was restored from a copy, devices may
                have seen more than it remembers.
        """
        with self._database.writing() as connection:
            return rollouts.next_counters(connection, device_ids, seen or {})

    def record_assignments(self, published: Iterable[Assignment]) -> None:
        """Remember what was published; an older one never replaces a newer one."""
        with self._database.writing() as connection:
            rollouts.record_assignments(connection, published)

    def assignments(self, device_ids: Iterable[str] | None = None) -> Mapping[str, Assignment]:
        """Device → the newest assignment that was published for it, where there is one."""
        with self._database.reading() as connection:
            return rollouts.assignments(connection, device_ids)
