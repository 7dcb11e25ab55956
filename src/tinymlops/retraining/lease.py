"""One retraining of a workload at a time, over all machines: a lease in the store, renewed for as long as it is held.

A lease in the store and not a concurrency limit of Prefect: a run whose heartbeats did not reach the Prefect server is
started again although its process still works, and the second process must not publish beside the first.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tinymlops.errors import RefusedError, TinyMLOpsError
from tinymlops.store import ETag, NotFoundError, ObjectStore
from tinymlops.wire.encoding import Versioned, decode, encode

LASTS_S = 60.0
"""Without renewal; a process that is gone is known at once on its own machine, elsewhere after this."""
_POLL_S = 1.0


class _Claim(Versioned, frozen=True, kw_only=True):
    key: str
    holder: str
    until_s: float
    machine: str
    process: int
    started: str


class Lease:
    """Held. Ask it before whatever must not be done twice.

    Args:
        lost: Set once it could not be renewed in time.
    """

    def __init__(self, lost: threading.Event) -> None:
        self._lost = lost

    def check(self) -> None:
        """Do nothing while it is held.

        Raises:
            RefusedError: It ran out: this process was stopped for too long, and another may have gone on.
        """
        if self._lost.is_set():
            raise RefusedError("another process may have taken this retraining over", "run it again with the same key")


@contextlib.contextmanager
def leased(
    store: ObjectStore,
    workload: str,
    key: str,
    *,
    wait_s: float = 2 * LASTS_S,
    clock: Callable[[], float] = time.time,
) -> Iterator[Lease]:
    """Hold the lease of a workload while the block runs.

    Args:
        store: Of telemetry.
        workload: Whose retraining.
        key: Of the request. While another process holds the lease for the same key, this one waits for its end.
        wait_s: But not longer.
        clock: Seconds since 1970.

    Raises:
        RefusedError: Another retraining of the workload is under way.
    """
    place, holder = f"retraining-leases/{workload}.json", uuid.uuid4().hex
    etag = _take(store, place, _claim(key, holder, clock()), wait_s, clock)
    done, lost = threading.Event(), threading.Event()
    keeper = threading.Thread(target=_keep, args=(store, place, etag, key, holder, done, lost, clock), daemon=True)
    keeper.start()
    try:
        yield Lease(lost)
    finally:
        done.set()
        keeper.join()
        _give_back(store, place, holder)


def _claim(key: str, holder: str, now_s: float) -> _Claim:
    return _Claim(
        key=key,
        holder=holder,
        until_s=now_s + LASTS_S,
        machine=_machine(),
        process=os.getpid(),
        started=_started(os.getpid()) or "",
    )


def _take(store: ObjectStore, place: str, claim: _Claim, wait_s: float, clock: Callable[[], float]) -> ETag:
    """Write ``claim`` once the place is free."""
    deadline = time.monotonic() + wait_s
    while True:
        claim = msgspec.structs.replace(claim, until_s=clock() + LASTS_S)
        etag = store.put_if_absent(place, encode(claim))
        if etag is not None:
            return etag
        with contextlib.suppress(NotFoundError):  # given back meanwhile
            content, seen = store.get_tagged(place)
            other = decode(content, _Claim, what=place)
            if other.until_s < clock() or _is_gone(other):
                etag = store.put_if_match(place, encode(claim), seen)
                if etag is not None:
                    return etag
            elif other.key != claim.key or time.monotonic() > deadline:
                raise RefusedError(
                    f"the retraining {other.key} is under way ({place})",
                    "wait for its end; only one retraining of a workload runs at a time",
                )
        time.sleep(_POLL_S / 4)


def _keep(  # noqa: PLR0913, PLR0917 - a thread's whole world
    store: ObjectStore,
    place: str,
    etag: ETag,
    key: str,
    holder: str,
    done: threading.Event,
    lost: threading.Event,
    clock: Callable[[], float],
) -> None:
    """Renew until done; a store that does not answer is asked again until the lease would have run out."""
    renewed_s = clock()
    while not done.wait(LASTS_S / 6):
        now_s = clock()
        try:
            renewed = store.put_if_match(place, encode(_claim(key, holder, now_s)), etag)
        except TinyMLOpsError:
            if now_s - renewed_s > LASTS_S * 2 / 3:
                lost.set()
            continue
        if renewed is None:
            lost.set()
            return
        etag, renewed_s = renewed, now_s


def _give_back(store: ObjectStore, place: str, holder: str) -> None:
    with contextlib.suppress(TinyMLOpsError):  # it runs out by itself
        content, etag = store.get_tagged(place)
        claim = decode(content, _Claim, what=place)
        if claim.holder == holder:
            store.put_if_match(place, encode(msgspec.structs.replace(claim, until_s=0.0)), etag)


def _is_gone(other: _Claim) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    return other.machine == _machine() and _started(other.process) != other.started


def _machine() -> str:
    """Names this boot and this space of process numbers: containers of one machine count from 1 each."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return uuid.uuid4().hex  # a system that does not tell: nobody is known to be gone


def _started(process: int) -> str | None:
    """When a process began, in the kernel's ticks; None for one that is gone, also if nobody has buried it yet."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]
