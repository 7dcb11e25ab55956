"""The releases that answer, one per workload; replaced while others are asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

import numpy.typing as npt

from tinymlops.edge.counters import Counters, ReleaseCount
from tinymlops.edge.meter import Meter
from tinymlops.edge.prediction import Latencies, Prediction, ReadyVariant
from tinymlops.edge.seams import InterpreterFactory
from tinymlops.edge.slots import SlotRecord, Slots
from tinymlops.edge.watch import Watch
from tinymlops.errors import DoesNotRunError, FormatError, NoModelError, UntrustedError, UsageError
from tinymlops.wire.device_state import DeviceState, best_for
from tinymlops.wire.manifest import Manifest

_MOST_CHOICES = 16
HowItIs = Callable[[float | None], DeviceState]
"""Says how the device is, with this preference or the agent's own."""


def release_key(record: SlotRecord) -> str:
    """What the counts of an installed release go by."""
    return f"{record.workload}@{record.release}.{record.assignment}"


class RunningRelease:
    """An installed release: all its variants, of which those in use are loaded.

    Args:
        slots: Of the workload.
        slot: That the release is in.
        record: Of the slot.
        interpreter: Makes interpreters.

    Raises:
        UntrustedError: A manifest in the slot was changed.
        FormatError: One can't be read.
    """

    def __init__(self, slots: Slots, slot: str, record: SlotRecord, interpreter: InterpreterFactory) -> None:
        self.record, self.slot = record, slot
        self.key = release_key(record)
        self.manifests = [slots.manifest(slot, variant) for variant in record.variants]
        self.latencies = Latencies()
        self._slots = slots
        self._interpreter = interpreter
        self._ready: dict[int, ReadyVariant] = {}
        self._lock = threading.Lock()

    def variant_for(self, state: DeviceState) -> ReadyVariant:
        """The variant that suits ``state``, loaded if it is not; one that is loaded where that one can't be.

        Raises:
            UntrustedError: Its file was changed.
            FormatError: Likewise.
            DoesNotRunError: It can't be loaded.
        """
        try:
            return self.variant(best_for([manifest.cost for manifest in self.manifests], state))
        except (UntrustedError, FormatError, DoesNotRunError):
            with self._lock:
                loaded = next(iter(self._ready.values()), None)
            if loaded is None:
                raise
            return loaded

    def variant(self, index: int) -> ReadyVariant:
        """A variant by its place; raises as `variant_for` does."""
        with self._lock:
            ready = self._ready.get(index)
            if ready is None:
                manifest, model = self._slots.model(self.slot, self.record.variants[index])
                ready = self._ready[index] = ReadyVariant(manifest, self._interpreter(model))
            return ready

    def base(self, sha256: str) -> Callable[[], bytes] | None:
        """A way to the model with this digest, where this release has it: what a difference starts from."""
        for manifest, variant in zip(self.manifests, self.record.variants, strict=True):
            if manifest.sha256 == sha256:
                return lambda: self._slots.model(self.slot, variant)[1]
        return None


class Model:
    """A workload's model, as a program on the device uses it; thread-safe.

    Args:
        workload: Which task.
        counters: Count queries.
        state: Says how the device is; asked when the choice of the variant is made anew.
        pay: Pays for a query of a metered model; raises where nothing does.
        watch: Sees the queries, where somebody observes them.
    """

    def __init__(
        self,
        workload: str,
        counters: Counters,
        state: HowItIs,
        pay: Callable[[], Meter],
        watch: Watch | None = None,
    ) -> None:
        self.workload = workload
        self._counters = counters
        self._state = state
        self._pay = pay
        self._watch = watch
        # Together in one value, so that a query never takes the release from here and the variant from there
        self._serving: tuple[RunningRelease, dict[float | None, ReadyVariant]] | None = None

    @property
    def release(self) -> RunningRelease | None:
        """What runs."""
        return self._serving[0] if self._serving is not None else None

    @property
    def is_metered(self) -> bool:
        """Whether its queries have to be paid for."""
        release = self.release
        return release is not None and any(manifest.metered for manifest in release.manifests)

    def use(self, release: RunningRelease | None) -> None:
        """Answer with another release from now on; queries that are under way end with the old one."""
        self._serving = None if release is None else (release, {})

    def choose_again(self) -> None:
        """Forget which variant suits: the state of the device may have changed."""
        self.use(self.release)

    def manifest(self, preference: float | None = None) -> Manifest:
        """Of the variant that answers; raises `NoModelError`."""
        return self._variant(*self._running(), preference).manifest

    def predict(self, values: npt.ArrayLike, preference: float | None = None) -> Prediction:
        """The answer for one window of real values.

        Args:
            values: In the model's shape, with or without the leading 1, or flat.
            preference: Speed (0) or accuracy (1); the agent's unless given.

        Raises:
            UsageError: Values that do not fit; not counted.
            NoModelError: There is no verified release yet.
            DoesNotRunError: The model failed; counted as an error, and not charged.
            QuotaError: The model is metered, and no voucher pays for the query; not counted.
        """
        begun_ns = time.perf_counter_ns()
        release, chosen = self._running()
        variant = chosen.get(preference) or self._variant(release, chosen, preference)
        watch = self._watch
        try:
            real = variant.real(values)
        except UsageError:
            if watch is not None:
                watch.refused(variant.manifest, values)
            raise
        raw = variant.raw(real)
        payer = self._pay() if variant.manifest.metered else None
        self._counters.query(release.key)
        try:
            prediction = variant.answer(raw, begun_ns, 0 if watch is None else watch.number())
        except DoesNotRunError:
            self._counters.error(release.key)
            if watch is not None:
                watch.failed(variant.manifest)
            if payer is not None:
                payer.give_back()
            raise
        release.latencies.add(prediction.latency_us)
        if watch is not None:
            watch.saw(variant.manifest, real, prediction)
        return prediction

    def feedback(self, number: int, truth: object) -> bool:
        """Tell what was really right for an earlier answer; whether it was of use.

        It is not where the answer is not remembered (the last few thousand are, until the agent stops), where its truth
        was told before, or where the device's person did not agree.

        Args:
            number: The answer's ``id``.
            truth: For a class its label or index; else the output values, or the only one.

        Raises:
            UsageError: It is nothing that this model could have answered.
        """
        return self._watch is not None and self._watch.learn(number, truth)

    def count(self) -> ReleaseCount:
        """Queries and errors of the release that runs."""
        release = self.release
        return ReleaseCount() if release is None else self._counters.of(release.key)

    def _running(self) -> tuple[RunningRelease, dict[float | None, ReadyVariant]]:
        serving = self._serving
        if serving is None:
            raise NoModelError(
                f"this device has no verified model for {self.workload}", "wait for the next update, or look at status"
            )
        return serving

    def _variant(
        self, release: RunningRelease, chosen: dict[float | None, ReadyVariant], preference: float | None
    ) -> ReadyVariant:
        variant = release.variant_for(self._state(preference))
        if len(chosen) < _MOST_CHOICES:
            chosen[preference] = variant
        return variant


class Models(Mapping[str, Model]):
    """All models of a device, by workload."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def __getitem__(self, workload: str) -> Model:
        try:
            return self._models[workload]
        except KeyError:
            known = ", ".join(self._models) or "none yet"
            raise NoModelError(
                f"this device has no model for {workload!r}", f"it has: {known}; wait for its assignment"
            ) from None

    def __contains__(self, workload: object) -> bool:
        return workload in self._models

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._models))

    def __len__(self) -> int:
        return len(self._models)

    def add(self, model: Model) -> Model:
        """Serve one more workload."""
        self._models[model.workload] = model
        return model
