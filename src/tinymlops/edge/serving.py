"""The releases that answer, one per workload; replaced while others are asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

import numpy.typing as npt

from tinymlops.edge.counters import Counters, ReleaseCount
from tinymlops.edge.prediction import Latencies, Prediction, ReadyVariant
from tinymlops.edge.seams import InterpreterFactory
from tinymlops.edge.slots import SlotRecord, Slots
from tinymlops.errors import DoesNotRunError, NoModelError
from tinymlops.wire.device_state import DeviceState, best_for
from tinymlops.wire.manifest import Manifest

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
        """The variant that suits ``state``, loaded if it is not.

        Raises:
            UntrustedError: Its file was changed.
            DoesNotRunError: It can't be loaded.
        """
        return self.variant(best_for([manifest.cost for manifest in self.manifests], state))

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
    """

    def __init__(self, workload: str, counters: Counters, state: HowItIs) -> None:
        self.workload = workload
        self._counters = counters
        self._state = state
        self._release: RunningRelease | None = None
        self._chosen: dict[float | None, ReadyVariant] = {}

    @property
    def release(self) -> RunningRelease | None:
        """What runs."""
        return self._release

    def use(self, release: RunningRelease | None) -> None:
        """Answer with another release from now on; queries that are under way end with the old one."""
        self._release, self._chosen = release, {}

    def choose_again(self) -> None:
        """Forget which variant suits: the state of the device may have changed."""
        self._chosen = {}

    def manifest(self, preference: float | None = None) -> Manifest:
        """Of the variant that answers; raises `NoModelError`."""
        return self._variant(self._running(), preference).manifest

    def predict(self, values: npt.ArrayLike, preference: float | None = None) -> Prediction:
        """The answer for one window of real values.

        Args:
            values: In the model's shape, with or without the leading 1, or flat.
            preference: Speed (0) or accuracy (1); the agent's unless given.

        Raises:
            UsageError: Values that do not fit; not counted.
            NoModelError: There is no verified release yet.
            DoesNotRunError: The model failed; counted as an error.
        """
        begun_ns = time.perf_counter_ns()
        release = self._running()
        variant = self._chosen.get(preference) or self._variant(release, preference)
        raw = variant.quantized(values)
        self._counters.query(release.key)
        try:
            prediction = variant.answer(raw, begun_ns)
        except DoesNotRunError:
            self._counters.error(release.key)
            raise
        release.latencies.add(prediction.latency_us)
        return prediction

    def count(self) -> ReleaseCount:
        """Queries and errors of the release that runs."""
        return ReleaseCount() if self._release is None else self._counters.of(self._release.key)

    def _running(self) -> RunningRelease:
        release = self._release
        if release is None:
            raise NoModelError(
                f"this device has no verified model for {self.workload}", "wait for the next update, or look at status"
            )
        return release

    def _variant(self, release: RunningRelease, preference: float | None) -> ReadyVariant:
        variant = release.variant_for(self._state(preference))
        if release is self._release and len(self._chosen) < 8:
            self._chosen[preference] = variant
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
