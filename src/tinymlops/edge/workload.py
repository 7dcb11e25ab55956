"""One workload on a device: which slot runs, what comes next, when a trial is over, where to fall back to."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tinymlops.edge.context import Context
from tinymlops.edge.installer import BrokenReleaseError, Installer, Source
from tinymlops.edge.metadata import Target
from tinymlops.edge.serving import HowItIs, Model, RunningRelease, release_key
from tinymlops.edge.slots import Attempt, Failure, SlotRecord, Slots, WorkloadState
from tinymlops.edge.transitions import Transition
from tinymlops.errors import DoesNotRunError, FormatError, UntrustedError
from tinymlops.wire.assignment import Offer
from tinymlops.wire.messages import Phase, ReleaseHealth

_MOST_SELF_TESTS = 3
_LEAST_ERRORS = 3
_LONGEST_REASON = 500


class Workload:
    """Keeps one workload's model running and up to date.

    Args:
        context: Of the agent.
        model: Serves what runs.
        device_state: Says how the device is.
    """

    def __init__(self, context: Context, model: Model, device_state: HowItIs) -> None:
        self.model = model
        self.name = model.workload
        self._context = context
        self._device_state = device_state
        self._slots = Slots(context.folder, self.name, context.keys)
        self._state = self._slots.state()
        self._trial_began = context.clock.monotonic()

    @property
    def state(self) -> WorkloadState:
        """What is kept on the disk."""
        return self._state

    @property
    def on_trial(self) -> bool:
        """Whether what runs is on trial."""
        return bool(self._state.active) and self._state.phase is Phase.TRIAL

    def open(self) -> None:
        """Start what is installed, without any network.

        Raises:
            StorageError: The folder can't be read or written.
        """
        if self.on_trial:
            if self._state.starts >= self._context.settings.trial_starts:
                self._fall_back(f"the agent ended {self._state.starts} times during the trial")
                return
            self._save(starts=self._state.starts + 1)
            self._context.observe(Transition.TRIAL_STARTED, f"{self.name}: start {self._state.starts}")
        if self._state.active and not self._load(self._state.active):
            self._fall_back("")

    def follow(self, offer: Offer, assignment: int, source: Source) -> None:
        """Bring what runs in line with an offer.

        Raises:
            UnreachableError: The gateway went away; what came is kept.
            UntrustedError: What came is not what was signed.
            StorageError: The disk is full; what runs goes on.
        """
        failed = self._state.failed
        if failed is not None and (failed.version, failed.assignment) == (offer.version, assignment):
            return
        try:
            self._follow(offer, assignment, source)
        except BrokenReleaseError as error:
            self._fail(offer.version, assignment, str(error))
            source.downloads.prune(())

    def judge(self, *, acknowledged: bool) -> bool:
        """End the trial of what runs if it is time; whether anything changed.

        Args:
            acknowledged: Whether the gateway has a report of this trial.

        Raises:
            StorageError: The disk is full.
        """
        release = self.model.release
        if not self.on_trial or release is None:
            return False
        count = self._context.counters.of(release.key)
        queries, errors = count.queries - self._state.queries, count.errors - self._state.errors
        bound = max(manifest.bounds.error_rate for manifest in release.manifests)
        if errors >= _LEAST_ERRORS and errors > bound * queries:
            self._fall_back(f"{errors} of {queries} queries failed during the trial")
            return True
        age, settings = self._context.clock.monotonic() - self._trial_began, self._context.settings
        alone = age >= settings.offline_trial_s and queries > errors
        if not alone and not (acknowledged and age >= settings.trial_s):
            return False
        self._save(phase=Phase.GOOD, starts=0)
        self._context.observe(Transition.TRIAL_CONFIRMED, f"{self.name} {release.record.release}")
        return True

    def health(self, offer: Offer | None, assignment: int) -> list[ReleaseHealth]:
        """What to report: the release on offer, and the one that runs if that is another.

        Args:
            offer: Of the last assignment, or None.
            assignment: Its counter.
        """
        running = self._running_health()
        failed = self._state.failed
        if offer is None or (running is not None and running.version == offer.version):
            return [running] if running is not None else []
        if failed is not None and (failed.version, failed.assignment) == (offer.version, assignment):
            newest = self._health_of(offer.version, assignment, Phase.FAILED, failed.reason)
        else:
            newest = self._health_of(offer.version, assignment, Phase.DOWNLOADING)
        return [newest] if running is None else [newest, running]

    def _follow(self, offer: Offer, assignment: int, source: Source) -> None:
        manifests = [source.target(variant.manifest) for variant in offer.variants]
        if self._runs(offer, assignment, manifests):
            return
        if self.on_trial and self._abandon_trial() and self._runs(offer, assignment, manifests):
            return
        slot = self._state.other
        record = self._slots.record(slot)
        if record is None or not _is(record, offer, manifests):
            record = self._install(slot, offer, assignment, manifests, source)
        self._switch(slot, record, assignment)

    def _runs(self, offer: Offer, assignment: int, manifests: list[Target]) -> bool:
        """Whether what is offered runs already; then it runs for this assignment from now on."""
        running = self.model.release
        if running is None or not _is(running.record, offer, manifests):
            return False
        if self._state.assignment != assignment:
            self._save(assignment=assignment)
        return True

    def _install(self, slot: str, offer: Offer, assignment: int, manifests: list[Target], source: Source) -> SlotRecord:
        observe = self._context.observe
        observe(Transition.INSTALL_PLANNED, f"{offer.workload} {offer.version} into {slot}")
        if self._state.fallback:
            self._save(fallback=False)
            observe(Transition.FALLBACK_FORGOTTEN, slot)

        def counted() -> None:
            self._count_test(offer.version, assignment)

        installer = Installer(self._context, self._slots, source, self._base, counted)
        return installer.install(slot, offer, assignment, manifests)

    def _base(self, sha256: str) -> Callable[[], bytes] | None:
        release = self.model.release
        return None if release is None or not sha256 else release.base(sha256)

    def _count_test(self, version: int, assignment: int) -> None:
        testing = self._state.testing
        same = testing is not None and (testing.version, testing.assignment) == (version, assignment)
        count = testing.count if testing is not None and same else 0
        if count >= _MOST_SELF_TESTS:
            raise BrokenReleaseError(
                f"its self-test took the agent down {count} times", "release another recipe for this device"
            )
        self._save(testing=Attempt(version=version, assignment=assignment, count=count + 1))
        self._context.observe(Transition.SELF_TEST_COUNTED, f"{self.name} {version}: {count + 1}")

    def _switch(self, slot: str, record: SlotRecord, assignment: int) -> None:
        good = bool(self._state.active) and self._state.phase is Phase.GOOD
        key = release_key(record)
        self._context.counters.begin(key, self._forgotten(key))
        count = self._context.counters.of(key)
        self._save(
            active=slot, phase=Phase.TRIAL, fallback=good, starts=0, failed=None, testing=None,
            queries=count.queries, errors=count.errors, assignment=assignment,
        )  # fmt: skip
        self._trial_began = self._context.clock.monotonic()
        self._context.observe(Transition.SWITCHED, f"{self.name} {record.release} in {slot}")
        if not self._load(slot):
            self._fall_back("it could not be loaded after it was installed")

    def _forgotten(self, key: str) -> list[str]:
        """Counts of this workload's releases that are in no slot any more."""
        running = self.model.release
        kept = {key, running.key if running is not None else key}
        return [old for old in self._context.counters.known(f"{self.name}@") if old not in kept]

    def _abandon_trial(self) -> bool:
        """Go back to the good release before the trial's slot is needed for another; whether that was possible."""
        good = self._state.other
        record = self._slots.record(good) if self._state.fallback else None
        if record is None:
            return False
        self._save(active=good, phase=Phase.GOOD, fallback=False, starts=0, assignment=record.assignment)
        self._context.observe(Transition.TRIAL_ABANDONED, self.name)
        return self._load(good)

    def _fall_back(self, reason: str) -> None:
        """Run the other slot, or nothing.

        Args:
            reason: Why the release failed; empty where it was the disk and not the release.
        """
        record = self._slots.record(self._state.active)
        failed = self._state.failed
        if reason and record is not None:
            failed = Failure(version=record.release, assignment=self._state.assignment, reason=reason[:_LONGEST_REASON])
        other = self._slots.record(self._state.other) if self._state.fallback else None
        good, assignment = (self._state.other, other.assignment) if other is not None else ("", 0)
        self._save(active=good, phase=Phase.GOOD, fallback=False, starts=0, failed=failed, assignment=assignment)
        self._context.observe(Transition.FELL_BACK, f"{self.name}: {reason or 'files were damaged'}")
        self.model.use(None)
        if good and not self._load(good):
            self._save(active="")

    def _fail(self, version: int, assignment: int, reason: str) -> None:
        failure = Failure(version=version, assignment=assignment, reason=reason[:_LONGEST_REASON])
        self._save(failed=failure, testing=None)
        self._context.observe(Transition.RELEASE_FAILED, f"{self.name} {version}: {reason}")

    def _load(self, slot: str) -> bool:
        """Verify and load what is in a slot; whether it serves now."""
        record = self._slots.record(slot)
        if record is None:
            return False
        try:
            release = RunningRelease(self._slots, slot, record, self._context.interpreter)
            release.variant_for(self._device_state(None))
        except (UntrustedError, FormatError, DoesNotRunError):
            return False
        self._context.counters.begin(release.key)
        self.model.use(release)
        self._context.observe(Transition.MODEL_LOADED, f"{self.name} {record.release} from {slot}")
        return True

    def _running_health(self) -> ReleaseHealth | None:
        release = self.model.release
        if release is None:
            return None
        record, count = release.record, self._context.counters.of(release.key)
        manifest = release.variant_for(self._device_state(None)).manifest
        percentiles = release.latencies.percentiles()
        health = self._health_of(record.release, self._state.assignment, self._state.phase)
        return msgspec.structs.replace(
            health, recipe=manifest.recipe, sha256=manifest.sha256, queries=count.queries, errors=count.errors,
            latency_p50_us=percentiles[0] if percentiles else None,
            latency_p95_us=percentiles[1] if percentiles else None,
        )  # fmt: skip

    def _health_of(self, version: int, assignment: int, phase: Phase, reason: str = "") -> ReleaseHealth:
        return ReleaseHealth(
            workload=self.name, version=version, assignment=assignment, phase=phase, reason=reason[:_LONGEST_REASON]
        )

    def _save(self, **changes: object) -> None:
        state = msgspec.structs.replace(self._state, **changes)
        self._slots.save(state)
        self._state = state


def _is(record: SlotRecord, offer: Offer, manifests: list[Target]) -> bool:
    """Whether a slot holds just what is offered."""
    held = [variant.manifest for variant in record.variants]
    return record.release == offer.version and held == [target.sha256 for target in manifests]
