"""What the agent costs: each figure as a ratio to the bare interpreter or a plain file, taken in the same run.

    python bench/agent.py

Acceptance: a verified, decrypted load within 10 ms of a plain one at 1 MB and within 1 ms at 100 KB; a prediction
within 5 % or 20 µs of the bare interpreter at the median; at most 120 MB resident; observing a query of 8 features
within 10 µs at the median.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from backports import zstd

from tinymlops.edge import packages
from tinymlops.edge.consent import Consents
from tinymlops.edge.counters import Counters
from tinymlops.edge.litert import LiteRT
from tinymlops.edge.meter import Meter
from tinymlops.edge.observing import Observing
from tinymlops.edge.seams import SystemClock
from tinymlops.edge.serving import Model, RunningRelease
from tinymlops.edge.settings import ObservationSettings
from tinymlops.edge.slots import A, InstalledVariant, SlotRecord, Slots
from tinymlops.edge.spool import Kind, Spool
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import ignore
from tinymlops.edge.trusted_clock import TrustedClock
from tinymlops.files import sha256
from tinymlops.wire.device_state import DeviceState
from tinymlops.wire.encoding import encode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.manifest import Manifest, SelfTest, Tensor
from tinymlops.wire.observations import Purpose

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
CLASSES = 64
LOADS, BLOCKS, QUERIES = 41, 30, 400


def main() -> int:
    """Measure, print a table, and say by the exit code whether all bounds hold."""
    held = [load("100 KB", 1600, 1.0), load("1 MB", 16_384, 10.0)]
    held += [predict("small (16 inputs)", 16, 4), predict("middle (1,600 inputs)", 1600, CLASSES)]
    held.append(memory())
    held += [observe("16 inputs", (16,)), observe("100 positions of 6 channels", (100, 1, 6))]
    return 0 if all(held) else 1


def load(name: str, features: int, bound_ms: float) -> bool:
    """A model from a sealed slot against the same model from a plain file, up to a ready interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny(features, CLASSES)
        plain = Path(folder) / "plain.tflite"
        plain.write_bytes(model)
        slots, record = sealed(Path(folder) / "state", model, features, CLASSES)
        variant = record.variants[0]
        # The record's signature and all files' digests are checked too: that is what a start costs
        bare = lambda: LiteRT(plain.read_bytes())  # noqa: E731
        full = lambda: (slots.record(A), LiteRT(slots.model(A, variant)[1]))  # noqa: E731
        without, with_ = medians_ms(bare, full, LOADS)
    more = with_ - without
    print(f"load {name}: plain {without:.2f} ms, sealed and verified {with_:.2f} ms ({with_ / without:.2f}×), "
          f"{more:+.2f} ms, bound {bound_ms:g} ms")  # fmt: skip
    return more <= bound_ms


def predict(name: str, features: int, classes: int) -> bool:
    """A prediction through the agent against set, invoke and get on the bare interpreter with the input ready."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny(features, classes)
        slots, record = sealed(Path(folder), model, features, classes)
        counters = Counters(slots._folder, time.monotonic, ignore)  # noqa: SLF001
        served = Model("activity", counters, lambda _: DeviceState(), _unmetered)
        release = RunningRelease(slots, A, record, LiteRT)
        counters.begin(release.key)
        served.use(release)
        window = np.linspace(-4, 4, features, dtype=np.float32)
        raw = np.zeros((1, features), np.int8)
        engine = LiteRT(model)
        without, with_ = blocks_us(lambda: engine.invoke(raw), lambda: served.predict(window))
    more = with_ - without
    print(f"predict {name}: bare {without:.1f} µs, agent {with_:.1f} µs ({with_ / without:.2f}×), {more:+.1f} µs, "
          "bound 20 µs or 5 %")  # fmt: skip
    return more <= max(20.0, 0.05 * without)


def observe(name: str, shape: tuple[int, ...]) -> bool:
    """A prediction that is counted, its person having agreed to everything, against one that nobody may count."""
    features, classes = int(np.prod(shape)), 7
    with tempfile.TemporaryDirectory() as place:
        folder = Folder(Path(place))
        slots, record = sealed(folder.root, tiny(features, classes), features, classes, shape)
        counters = Counters(folder, time.monotonic, ignore)
        clock = TrustedClock(SystemClock(), folder, ignore)
        consents = Consents(folder, DeviceKeys.generate(), clock.now, ignore)
        consents.give(tuple(Purpose), subject="bench", until_s=clock.now() + 86_400)
        quotas = dict.fromkeys(Kind, 2**20)
        observing = Observing(
            folder, consents, clock, lambda: Spool(folder, quotas, ignore), ObservationSettings(), ignore
        )
        release = RunningRelease(slots, A, record, Flat)
        counters.begin(release.key)
        plain = Model("activity", counters, lambda _: DeviceState(), _unmetered)
        watched = Model("activity", counters, lambda _: DeviceState(), _unmetered, observing.watch("activity"))
        plain.use(release)
        watched.use(release)
        windows = itertools.cycle(np.random.default_rng(1).normal(size=(256, *shape)).astype(np.float32))
        without, with_ = blocks_us(lambda: plain.predict(next(windows)), lambda: watched.predict(next(windows)))
        count = len(release.manifests[0].features)
        batch = mean_us(lambda: watched.predict(next(windows))) - mean_us(lambda: plain.predict(next(windows)))
    more = with_ - without
    print(f"observe {name}, {count} histograms: {more:+.1f} µs at the median, bound 10 µs; "
          f"{batch:+.1f} µs of CPU in the mean")  # fmt: skip
    return more <= 10.0


def mean_us(call: Callable[[], object], times: int = 6400) -> float:
    """Mean CPU time of many calls: the queries that count the gathered rows are among them."""
    begun = time.process_time_ns()
    for _ in range(times):
        call()
    return (time.process_time_ns() - begun) / times / 1e3


def _unmetered() -> Meter:
    raise AssertionError


def memory() -> bool:
    """What this process holds now, with LiteRT, the updater and a loaded model."""
    from tinymlops.edge import agent, http_transport, local_server  # noqa: F401 - all that an agent loads

    status = Path("/proc/self/status").read_text("ascii")
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1000
    print(f"memory: {resident:.0f} MB resident, bound 120 MB")
    return resident <= 120


def tiny(features: int, classes: int) -> bytes:
    """A model of one layer: features × classes bytes."""
    from tests.unit.devices.flatbuffer_models import dense

    return dense(features, classes)


def sealed(
    folder: Path, model: bytes, features: int, classes: int, shape: tuple[int, ...] = ()
) -> tuple[Slots, SlotRecord]:
    """The model in a slot, as an installed release; with 8 numbers of an input of ``shape`` to be counted."""
    test = SelfTest(rows=0, inputs=b"", outputs=b"", tolerance=1.0)
    manifest = Manifest(
        workload="activity", version=1, recipe="int8", profile="x86-gateway", sha256=sha256(model), size=len(model),
        runtime="litert 2.3.0", minimum_agent="0.1.0", operators=("FULLY_CONNECTED",),
        input=Tensor(shape=(1, *(shape or (features,))), dtype="int8", scale=0.5),
        output=Tensor(shape=(1, classes), dtype="int8", scale=1.0, zero_point=3),
        labels=tuple(f"class {place}" for place in range(classes)), classifies=True, self_test=test,
    )  # fmt: skip
    manifest = counted(manifest, classes, shape) if shape else manifest
    keys = DeviceKeys.generate()
    slots = Slots(Folder(folder), "activity", keys)
    package, key = packages.seal_again(model, manifest, keys)
    variant = InstalledVariant(manifest=slots.put(A, encode(manifest)), package=slots.put(A, package), key=key)
    record = SlotRecord(workload="activity", release=1, assignment=1, variants=(variant,))
    slots.write_record(A, record)
    print(f"  {len(model):,} bytes, zstd {len(zstd.compress(model)):,}, package {len(package):,}")
    return slots, record


def counted(manifest: Manifest, classes: int, shape: tuple[int, ...]) -> Manifest:
    """The manifest with 8 numbers of the input, confidence, class and error to be counted."""
    from tinymlops.manifests.histograms import histograms_of  # with SciPy, which no agent loads: see `memory`
    from tinymlops.manifests.output_features import of_classes

    rows = np.random.default_rng(2).normal(size=(500, *shape)).astype(np.float32)
    answers = np.random.default_rng(3).dirichlet(np.ones(classes), 500)
    return msgspec.structs.replace(
        manifest, histograms=histograms_of(rows), output_features=of_classes(answers, answers.argmax(axis=1))
    )


class Flat(LiteRT):
    """Takes an input of any shape for the flat one of `tiny`."""

    def invoke(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The raw output."""
        return super().invoke(values.reshape(1, -1))


def medians_ms(first: Callable[[], object], second: Callable[[], object], times: int) -> tuple[float, float]:
    """Medians of two calls in turn, so that both see the same machine."""
    seen: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        for call, taken in zip((first, second), seen, strict=True):
            begun = time.perf_counter_ns()
            call()
            taken.append((time.perf_counter_ns() - begun) / 1e6)
    return statistics.median(seen[0]), statistics.median(seen[1])


def blocks_us(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Medians of two calls in alternating blocks."""
    seen: tuple[list[float], list[float]] = ([], [])
    for _ in range(BLOCKS):
        for call, taken in zip((first, second), seen, strict=True):
            for _ in range(QUERIES):
                begun = time.perf_counter_ns()
                call()
                taken.append((time.perf_counter_ns() - begun) / 1e3)
    return statistics.median(seen[0]), statistics.median(seen[1])


if __name__ == "__main__":
    sys.exit(main())
