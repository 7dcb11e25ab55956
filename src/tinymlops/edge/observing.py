"""What a device observes of its models: counted under consent, noisy before it leaves, never counted twice.

A query is only put into a row of memory here; many are counted at once. Everything that takes a disk is done by `tick`,
in the agent's own thread: a window whose time is over is paid for in the ledger, gets its noise, and goes into one file
together with the news that its counts are gone; from there into the spool.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from tinymlops.edge.consent import NOTHING, Consents
from tinymlops.edge.counting import Layout
from tinymlops.edge.noise import MICRO, Below, noisy
from tinymlops.edge.observed import Observed, Outgoing, read_observed, write_observed
from tinymlops.edge.privacy import Ledger
from tinymlops.edge.samples import Sampler
from tinymlops.edge.settings import ObservationSettings
from tinymlops.edge.spool import Kind, Spool
from tinymlops.edge.storage import Folder
from tinymlops.edge.tallies import Counting, Key, Tally, begun, resident_kib
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.edge.trusted_clock import TrustedClock
from tinymlops.edge.watch import Watch
from tinymlops.errors import FormatError, StorageError
from tinymlops.wire.encoding import decode_packed, encode_packed
from tinymlops.wire.manifest import Manifest
from tinymlops.wire.messages import Record
from tinymlops.wire.observations import MOST_EPSILON, Purpose, RecordName, Sample, Window

_LOOK_EVERY_S = 0.25


class Observing:
    """All windows of a device; thread-safe.

    Args:
        folder: Of the agent.
        consents: Of this device.
        clock: Tells the time.
        spool: Takes what may leave.
        settings: What to count, and how much of it to tell.
        observe: Told of the transitions.
        below: Where the noise comes from; the system's chance unless a simulation draws its own.
        rng: Draws samples.
    """

    def __init__(  # noqa: PLR0913 - each can be replaced
        self,
        folder: Folder,
        consents: Consents,
        clock: TrustedClock,
        spool: Callable[[], Spool],
        settings: ObservationSettings,
        observe: Observer,
        *,
        below: Below = secrets.randbelow,
        rng: random.Random | None = None,
    ) -> None:
        self._folder, self._consents, self._clock, self._spool = folder, consents, clock, spool
        self._settings, self._observe, self._below = settings, observe, below
        self._ledger = Ledger(folder, settings.budget, observe)
        self._sampler = Sampler(settings, rng or random.Random())  # noqa: S311 - which ones is no secret
        self._lock, self._gate = threading.RLock(), threading.RLock()
        kept = read_observed(folder)
        self._applied, self._taken, self._outbox = kept.applied, kept.taken, kept.outbox
        self._written = kept
        self._ended = [Tally(saved) for saved in kept.tallies]
        self._tallies: dict[Key, Tally] = {}
        self._countings: dict[tuple[str, int, str], Counting | None] = {}
        self._agreed: tuple[int, frozenset[Purpose]] = (-1, NOTHING)
        self._purged: tuple[int, frozenset[Purpose]] | None = None
        self._doubtful = bool(kept.outbox)
        self._look_at, self._save_at = float("-inf"), clock.monotonic() + settings.saved_every_s
        self._look()

    def watch(self, workload: str) -> Watch:
        """Sees the queries of one workload."""
        return Watch(self, workload)

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Held while anything is counted."""
        return self._lock

    def counting(self, workload: str, manifest: Manifest) -> Counting | None:
        """Where queries of a variant are counted now; None where nobody agreed to that. The caller holds the lock."""
        if self._clock.monotonic() >= self._look_at:
            self._look()
        variant = (workload, manifest.version, manifest.recipe)
        try:
            return self._countings[variant]
        except KeyError:
            counting = self._countings[variant] = self._begin(workload, manifest)
            return counting

    def settle(self, counting: Counting) -> None:
        """Count what a counting has gathered. The caller holds the lock."""
        counting.settle(self._clock.now())

    def sending(self) -> AbstractContextManager[object]:
        """Held while records leave, so that who withdraws a consent can wait for the last of them."""
        return self._gate

    # --- what takes a disk

    def tick(self) -> None:
        """Follow consents, close windows whose time is over, and save counts now and then.

        Raises:
            StorageError: The disk is full; nothing is lost but what a crash would lose.
        """
        with self._gate:
            self.look()
            self._close()
            if self._clock.monotonic() >= self._save_at:
                self.save()

    def look(self) -> int:
        """Follow the consents: forget and take back what they no longer cover; how much waited of that.

        Raises:
            StorageError: The disk is full; nothing of it leaves all the same.
        """
        with self._gate:
            with self._lock:
                self._look()
                agreed = self._agreed
            if agreed[0] == 0 or (agreed == self._purged and agreed[0] == self._applied):
                return 0
            taken_back = self._purge()
            for number, message in self._consents.messages(after=self._applied):
                self._spool().append(Kind.RECEIPT, RecordName.CONSENT, message)
                self._observe(Transition.CONSENT_QUEUED, str(number))
            applied = self._applied != agreed[0]
            self._applied = agreed[0]
            self._write()
            self._purged = agreed
            if applied:
                self._observe(Transition.CONSENT_APPLIED, f"{agreed[0]}: {', '.join(sorted(agreed[1])) or 'nothing'}")
            return taken_back

    def save(self) -> None:
        """Write the counts as they are.

        Raises:
            StorageError: The disk is full.
        """
        with self._gate:
            self._save_at = self._clock.monotonic() + self._settings.saved_every_s
            with self._lock:
                self._settle_all()
                for tally in self._tallies.values():
                    tally.memory_kib = max(tally.memory_kib, resident_kib())
            if self._write():
                self._observe(Transition.COUNTS_SAVED, "")

    def _close(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, []
        if ended:
            before = self._outbox, self._taken
            try:
                for tally in ended:
                    self._outbox += self._told(tally)
                self._write()
            except StorageError:
                self._outbox, self._taken = before
                with self._lock:
                    self._ended += ended
                raise
            self._observe(Transition.WINDOW_CLOSED, ", ".join(tally.key.workload for tally in ended))
        while self._outbox:
            one = self._outbox[0]
            if not (self._doubtful and self._spool().holds(one.content)):
                self._spool().append(Kind.OBSERVATION, one.name, one.content)
                self._observe(Transition.WINDOW_QUEUED, one.name)
            self._outbox = self._outbox[
                1:
            ]  # at once: where the next one fails, this one may be gone before the next try
        self._doubtful = False
        if self._written.outbox:
            self._write()

    def _told(self, tally: Tally) -> tuple[Outgoing, ...]:
        """What leaves of a tally, with its noise; paid for before."""
        histograms: list[tuple[int, ...]] = []
        each = min(int(self._settings.epsilon * MICRO) // max(1, len(tally.histograms)), MOST_EPSILON * MICRO)
        if Purpose.DRIFT in tally.purposes and tally.histograms and not tally.is_empty and each:
            paid = tally.paid or self._ledger.spend(each * len(tally.histograms), self._clock.now())
            tally.paid = int(paid)
            if paid:
                histograms = [noisy(bins.tolist(), each, self._below) for bins in tally.histograms]
        window = tally.window(histograms, each / MICRO if histograms else 0.0)
        samples = sorted(tally.samples.values(), key=lambda sample: sample.at_s)
        chosen, self._taken = self._sampler.allowed(samples, self._taken.on(self._clock.now()))
        told: list[tuple[RecordName, Window | Sample]] = [] if window is None else [(RecordName.WINDOW, window)]
        told += [(RecordName.SAMPLE, sample) for sample in chosen]
        return tuple(Outgoing(name, encode_packed(value)) for name, value in told)

    def _purge(self) -> int:
        doomed = [one for one in self._outbox if self._is_doomed(one.name, one.content)]
        self._outbox = tuple(one for one in self._outbox if one not in doomed)
        return len(doomed) + self._spool().purge(self._is_doomed_record)

    def _is_doomed_record(self, record: Record) -> bool:
        return self._is_doomed(record.kind, record.content)

    def _is_doomed(self, name: str, content: bytes) -> bool:
        """Whether a record that waits is covered by no consent any more; also where it can't be read."""
        try:
            if name == RecordName.SAMPLE:
                return Purpose.SAMPLES not in self._consents.standing(decode_packed(content, Sample).consent)
            if name != RecordName.WINDOW:
                return False
            window = decode_packed(content, Window)
        except FormatError:
            return True
        needed = {Purpose.DRIFT} if window.histograms else set()
        needed |= {Purpose.OPERATIONS} if window.latencies else set()
        return not needed <= self._consents.standing(window.consent)

    def _write(self) -> bool:
        """Write everything into one file; False where it is on the disk already."""
        with self._lock:
            tallies = (*self._ended, *self._tallies.values())
            now = Observed(
                applied=self._applied, taken=self._taken, outbox=self._outbox,
                tallies=tuple(tally.saved() for tally in tallies if not tally.is_empty),
            )  # fmt: skip
        if now == self._written:
            return False
        write_observed(self._folder, now)
        self._written = now
        return True

    # --- what takes no disk but a look at it; the caller holds the lock

    def _look(self) -> None:
        """See what is agreed to, and what time it is."""
        now_s = self._clock.now()
        self._look_at = self._clock.monotonic() + _LOOK_EVERY_S
        number = self._consents.newest_number()
        agreed = (number, self._consents.standing(number) if number else NOTHING)
        if agreed != self._agreed:
            self._follow(agreed)
        over = [key for key, one in self._tallies.items() if not one.began_s - 1 <= now_s < one.ends_s]
        if over:
            self._settle_all()
            self._countings.clear()
            self._ended += [self._tallies.pop(key) for key in over]

    def _follow(self, agreed: tuple[int, frozenset[Purpose]]) -> None:
        """Go on under another consent: what it does not cover is forgotten, what it adds waits for the next window."""
        self._settle_all()
        self._countings.clear()
        self._agreed = agreed
        for tally in (*self._ended, *self._tallies.values()):
            tally.keep_only(self._consents.standing(tally.consent))
        # What was left by an earlier process goes on where its window is not over
        self._tallies |= {tally.key: tally for tally in self._ended if self._goes_on(tally)}
        self._ended = [one for one in self._ended if one.purposes and not self._goes_on(one)]
        self._tallies = {key: tally for key, tally in self._tallies.items() if tally.purposes}

    def _goes_on(self, tally: Tally) -> bool:
        return tally.began_s - 1 <= self._clock.now() < tally.ends_s

    def _begin(self, workload: str, manifest: Manifest) -> Counting | None:
        number, purposes = self._agreed
        if not purposes:
            return None
        layout = Layout(manifest)
        key = Key(workload, manifest.version, manifest.recipe, layout.name)
        tally = self._tallies.get(key)
        if tally is None:
            now_s, length = self._clock.now(), self._settings.window_s
            saved = begun(key, layout, manifest, consent=number, purposes=purposes)
            times = {"began_s": now_s, "ends_s": (now_s // length + 1) * length}
            tally = self._tallies[key] = Tally(msgspec.structs.replace(saved, **times))
        return Counting(tally, layout, manifest, self._sampler)

    def _settle_all(self) -> None:
        for counting in self._countings.values():
            if counting is not None:
                self.settle(counting)
