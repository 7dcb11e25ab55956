"""The device's half of `bench/metering.py pi`: counts instructions of the agent's predictions, metered and not.

Runs under the counting emulator in the image of a Pi-class profile; prints one line of JSON for each model.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, "/work/in/wheels")
sys.path.insert(0, "/work/in/src")

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tinymlops.edge import packages
from tinymlops.edge.counters import Counters
from tinymlops.edge.litert import LiteRT
from tinymlops.edge.metering import Metering
from tinymlops.edge.monotonic import FileCounter
from tinymlops.edge.seams import SystemClock
from tinymlops.edge.serving import Model, RunningRelease
from tinymlops.edge.slots import A, InstalledVariant, SlotRecord, Slots
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import ignore
from tinymlops.edge.trusted_clock import TrustedClock
from tinymlops.files import sha256
from tinymlops.wire import cose
from tinymlops.wire.device_state import DeviceState
from tinymlops.wire.encoding import encode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.manifest import Manifest, SelfTest, Tensor
from tinymlops.wire.metering import VOUCHER, Voucher, VoucherList

WORK = Path("/work")
MARK_START, MARK_STOP = 0x7F4D4D01, 0x7F4D4D02
"""As in infra/images/linux/plugin.c."""
QUERIES, LARGE, WARM_UP = 200, 50_000, 3
"""Queries of a model with fewer input values than ``LARGE``: two whole reservations. Larger ones are slow here."""
KEYS, OWNER = DeviceKeys.generate(), Ed25519PrivateKey.generate()


def main() -> None:
    """Count each model that was laid out."""
    folder = Folder(WORK / "out/state")
    clock = TrustedClock(SystemClock(), folder, ignore)
    owner = OWNER.public_key().public_bytes_raw()
    metering = Metering(folder, KEYS, lambda: owner, clock.now, FileCounter(folder), ignore)
    now_s = int(clock.now())
    voucher = Voucher(
        serial=os.urandom(16).hex(), device=KEYS.device_id, workload="bench", quota=10**9, issued_s=now_s,
        expires_s=now_s + 86_400,
    )  # fmt: skip
    metering.take(VoucherList(vouchers=(cose.signed(voucher, VOUCHER, OWNER.sign),)))
    for path in sorted((WORK / "in/models").glob("*.tflite")):
        print(json.dumps({"model": path.stem, **_counted(path, metering)}), flush=True)


def _counted(path: Path, metering: Metering) -> dict[str, float]:
    content = path.read_bytes()
    engine = LiteRT(content)._engine  # noqa: SLF001 - the model alone, without what Python does around it
    found = {"model_alone": float(np.mean(_windows(engine._interpreter.Invoke, 8)))}  # noqa: SLF001
    for metered in (False, True):
        model, values = _served(path.stem, content, metering, metered=metered)
        queries = QUERIES if values.size < LARGE else QUERIES // 2
        counts = _windows(functools.partial(model.predict, values), queries)
        found["metered" if metered else "unmetered"] = sum(counts) / len(counts)
        found["metered_median" if metered else "unmetered_median"] = float(np.median(counts))
    return found


def _windows(call: Callable[[], object], times: int) -> list[int]:
    """Instructions of each call; what marking costs is taken off."""
    counts = WORK / "out/counts"
    for _ in range(WARM_UP):
        call()
        _window(_nothing)
    before = len(counts.read_text().split())
    _window(_nothing)
    for _ in range(times):
        _window(call)
    empty, *full = (int(line) for line in counts.read_text().split()[before:])
    return [one - empty for one in full]


def _window(call: Callable[[], object]) -> None:
    os.closerange(MARK_START, MARK_START + 1)
    call()
    os.closerange(MARK_STOP, MARK_STOP + 1)


def _nothing() -> None:
    return


def _served(name: str, content: bytes, metering: Metering, *, metered: bool) -> tuple[Model, npt.NDArray[np.float32]]:
    """The model as an installed release, and a window of values for it."""
    manifest = _manifest(content, metered=metered)
    slots = Slots(Folder(WORK / f"out/{name}-{metered}"), "bench", KEYS)
    package, key = packages.seal_again(content, manifest, KEYS)
    variant = InstalledVariant(manifest=slots.put(A, encode(manifest)), package=slots.put(A, package), key=key)
    record = SlotRecord(workload="bench", release=1, assignment=1, variants=(variant,))
    slots.write_record(A, record)
    counters = Counters(Folder(WORK / f"out/{name}-{metered}-counts"), SystemClock().monotonic, ignore)
    served = Model("bench", counters, lambda _: DeviceState(), lambda: metering.charge("bench"))
    release = RunningRelease(slots, A, record, LiteRT)
    counters.begin(release.key)
    served.use(release)
    return served, np.linspace(-1, 1, int(np.prod(manifest.input.shape)), dtype=np.float32)


def _manifest(content: bytes, *, metered: bool) -> Manifest:
    engine = LiteRT(content)._engine  # noqa: SLF001
    tensors = [
        Tensor(
            shape=tuple(int(side) for side in one["shape"]), dtype=np.dtype(one["dtype"]).name,
            scale=float(one["quantization"][0]), zero_point=int(one["quantization"][1]),
        )
        for one in (engine.get_input_details()[0], engine.get_output_details()[0])
    ]  # fmt: skip
    classes = int(np.prod(tensors[1].shape))
    return Manifest(
        workload="bench", version=1, recipe="int8", profile="raspberry-pi-zero-2", sha256=sha256(content),
        size=len(content), runtime="litert 1.4.0", minimum_agent="0.1.0", operators=(), input=tensors[0],
        output=tensors[1], labels=tuple(f"class {place}" for place in range(classes)), classifies=True,
        self_test=SelfTest(rows=0, inputs=b"", outputs=b"", tolerance=1.0), metered=metered,
    )  # fmt: skip


if __name__ == "__main__":
    main()
