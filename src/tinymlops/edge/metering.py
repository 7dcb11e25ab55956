"""All vouchers of a device: which one pays next, what is left, what to tell the owner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from tinymlops.edge.link import Link
from tinymlops.edge.meter import HOME, Meter, peek
from tinymlops.edge.monotonic import MonotonicCounter, Steady
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import FormatError, QuotaError, RefusedError, UntrustedError
from tinymlops.wire import cose
from tinymlops.wire.encoding import decode, encode_packed
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.metering import (
    ACKNOWLEDGEMENT,
    REVOCATION,
    VOUCHER,
    Revocation,
    UsageAcknowledgement,
    UsageAnswer,
    Verdict,
    Voucher,
    VoucherList,
)

RECEIPTS = f"{HOME}/receipts"
"""Acknowledgements as the gateway signed them: the customer's proof of what counts."""
_OLD_RECEIPTS = f"{HOME}/receipts.old"
_MOST_RECEIPTS_BYTES = 128 * 1024
_REPORTS_AT_ONCE = 20


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What a voucher still pays for.

    Attributes:
        serial: Of the voucher.
        workload: That it pays for.
        quota: Queries in all.
        left: Queries that are left; while the agent runs, less by what it has reserved.
        unreported: Queries that the owner does not know of yet.
        ends_s: When it is over, its grace included, in seconds since 1970.
        trouble: Why it pays for nothing more, or empty.
    """

    serial: str
    workload: str
    quota: int
    left: int
    unreported: int
    ends_s: int
    trouble: str = ""


class Metering:
    """Pays for queries with the vouchers of this device; thread-safe.

    Args:
        folder: Of the agent.
        keys: Of the device: vouchers name it, its key signs checkpoints.
        gateway_key: Says which key signs vouchers and acknowledgements.
        now: Seconds since 1970, as the device trusts them.
        counter: That can't be put back.
        observe: Told of the transitions.
        monotonic: Clock that tells at each query whether a voucher's end has come.
    """

    def __init__(  # noqa: PLR0913 - what metering is made of
        self,
        folder: Folder,
        keys: DeviceKeys,
        gateway_key: Callable[[], bytes],
        now: Callable[[], float],
        counter: MonotonicCounter,
        observe: Observer,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._keys, self._gateway_key = folder, keys, gateway_key
        self._now, self._observe, self._monotonic = now, observe, monotonic
        self.counter = Steady(folder, counter)
        self._lock = threading.Lock()
        self._current: dict[str, Meter] = {}
        self.meters = self._opened()

    def charge(self, workload: str) -> Meter:
        """Pay for a query that is about to be answered; the meter that did.

        Raises:
            QuotaError: No voucher pays for it.
            StorageError: There is no room to count it.
            UntrustedError: The device's counter says that this is not its newest state.
        """
        meter = self._current.get(workload)
        if meter is not None:
            try:
                meter.charge()
            except QuotaError:
                return self._next(workload)
            return meter
        return self._next(workload)

    def take(self, vouchers: VoucherList) -> None:
        """Keep new vouchers, and stop those that were revoked.

        Raises:
            UntrustedError: One was not signed by the gateway, or is another device's.
            StorageError: The disk is full.
        """
        for message in vouchers.vouchers:
            self._keep(message)
        for message in vouchers.revocations:
            revoked = cose.opened(message, REVOCATION, self._gateway_key(), Revocation)
            meter = self.meters.get(revoked.serial)
            if meter is not None and not meter.trouble:
                meter.revoke()

    def exchange(self, link: Link) -> None:
        """Fetch vouchers, and report use until all of it is acknowledged; raises what either side finds wrong."""
        for meter in self._in_order():
            meter.look_at_clock()
        self.take(decode(link.get("/v1/vouchers", most_bytes=512 * 1024), VoucherList, what="the list of vouchers"))
        errors: list[RefusedError] = []
        for meter in self._in_order():
            try:
                self._settle(meter, link)
            except RefusedError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def unreported(self) -> int:
        """Queries that the owner does not know of yet."""
        return sum(meter.served - meter.base.used for meter in self.meters.values() if not meter.in_conflict)

    def close(self) -> None:
        """Note exact counts, at a clean stop."""
        for meter in self._in_order():
            meter.close()

    def _next(self, workload: str) -> Meter:
        with self._lock:
            self.counter.check()
            refused = QuotaError(
                f"no voucher pays for {workload} on this device", "ask the owner for one, then let the agent fetch it"
            )
            for meter in self._in_order():
                if meter.voucher.workload != workload:
                    continue
                try:
                    meter.charge()
                except QuotaError as error:
                    refused = error
                else:
                    self._current[workload] = meter
                    return meter
            raise refused

    def _settle(self, meter: Meter, link: Link) -> None:
        for _ in range(_REPORTS_AT_ONCE):
            report = meter.report(self._keys.sign, self.counter)
            if report is None:
                return
            answer = link.post("/v1/usage", encode_packed(report))
            self._observe(Transition.USAGE_SENT, meter.voucher.serial)
            message = decode(answer, UsageAnswer, what="the answer to a report of use").acknowledgement
            told = cose.opened(message, ACKNOWLEDGEMENT, self._gateway_key(), UsageAcknowledgement)
            if told.serial != meter.voucher.serial:
                raise UntrustedError("the gateway acknowledged another voucher", "it is asked again later")
            if told.verdict is Verdict.FORK:
                meter.refute()
                return
            if not meter.acknowledge(told):
                raise RefusedError(
                    "the gateway's record of use lies behind what it acknowledged before",
                    "tell the owner: its database was put back to an earlier state; receipts prove what was reported",
                )
            self._remember(message)

    def _remember(self, message: bytes) -> None:
        frame = len(message).to_bytes(2, "big") + message
        if (self._folder.size(RECEIPTS) or 0) + len(frame) > _MOST_RECEIPTS_BYTES:
            self._folder.move(RECEIPTS, _OLD_RECEIPTS)
        self._folder.append(RECEIPTS, frame, durable=False)

    def _keep(self, message: bytes) -> None:
        voucher = cose.opened(message, VOUCHER, self._gateway_key(), Voucher)
        if voucher.device != self._keys.device_id:
            raise UntrustedError("this voucher is another device's", "fetch this device's own")
        if voucher.serial in self.meters:
            return
        name = f"{HOME}/{voucher.serial}/voucher"
        self._folder.write(name, message)
        meter = self._meter(voucher, message)
        with self._lock:
            self.meters = {**self.meters, voucher.serial: meter}
        self._observe(Transition.VOUCHER_SAVED, f"{voucher.workload}: {voucher.quota} queries, {voucher.serial}")

    def _meter(self, voucher: Voucher, message: bytes) -> Meter:
        return Meter(self._folder, voucher, message, self._now, self._observe, monotonic=self._monotonic)

    def _in_order(self) -> list[Meter]:
        return sorted(self.meters.values(), key=lambda one: (one.voucher.workload, one.voucher.epoch))

    def _opened(self) -> dict[str, Meter]:
        meters: dict[str, Meter] = {}
        for serial in self._folder.names(HOME):
            message = self._folder.read(f"{HOME}/{serial}/voucher")
            if message is None:
                continue
            try:
                voucher = cose.opened(message, VOUCHER, self._gateway_key(), Voucher)
            except (FormatError, UntrustedError):
                # the gateway lists it again, and then it is written anew
                self._observe(Transition.VOUCHER_DAMAGED, serial)
                continue
            meters[serial] = self._meter(voucher, message)
        return meters


def left_in(folder: Folder, now_s: float) -> tuple[Left, ...]:
    """What the vouchers in an agent's folder still pay for, in the order of their use; reads only.

    Raises:
        FormatError: One is damaged.
    """
    found = [one for serial in folder.names(HOME) if (one := peek(folder, serial)) is not None]
    return tuple(
        Left(
            serial=one.voucher.serial,
            workload=one.voucher.workload,
            quota=one.voucher.quota,
            left=0 if one.state.trouble or now_s > one.voucher.ends_s else one.voucher.quota - one.reserved,
            unreported=one.reserved - one.state.base.used,
            ends_s=one.voucher.ends_s,
            trouble=one.state.trouble,
        )
        for one in sorted(found, key=lambda one: (one.voucher.workload, one.voucher.epoch))
    )


def receipts(folder: Folder) -> tuple[bytes, ...]:
    """The acknowledgements that were kept, the oldest first; a torn end is left out."""
    content = (folder.read(_OLD_RECEIPTS) or b"") + (folder.read(RECEIPTS) or b"")
    found, at = [], 0
    while at + 2 <= len(content):
        end = at + 2 + int.from_bytes(content[at : at + 2], "big")
        if end <= len(content):
            found.append(content[at + 2 : end])
        at = end
    return tuple(found)
