"""Eight processes ask one metered agent at once: it answers what the voucher pays for, and not one query more."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.support.metering import GATEWAY_KEY, KEYS, NOW_S, a_voucher
from tests.support.owner import FEATURES, tiny_manifest
from tests.unit.devices.flatbuffer_models import dense
from tinymlops.edge import litert, packages
from tinymlops.edge.counters import Counters
from tinymlops.edge.local_client import post
from tinymlops.edge.local_server import LocalServer
from tinymlops.edge.meter import RESERVATION, Meter
from tinymlops.edge.metering import Metering, left_in
from tinymlops.edge.monotonic import FileCounter
from tinymlops.edge.serving import Model, Models, RunningRelease
from tinymlops.edge.slots import A, InstalledVariant, SlotRecord, Slots
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import ignore
from tinymlops.wire.device_state import DeviceState
from tinymlops.wire.encoding import encode
from tinymlops.wire.metering import Voucher, VoucherList

QUOTA = 1000


def _ask(address: str) -> tuple[int, int]:
    body = json.dumps({"inputs": [0.0] * FEATURES}).encode()
    answered = refused = 0
    while refused < 3:
        status, _ = post(address, "/v1/models/tiny/predict", body)
        answered += status == 200
        refused += status == 402
        assert status in {200, 402}
    return answered, refused


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_eight_processes_get_exactly_the_quota(tmp_path: Path, kind: str) -> None:
    folder = Folder(tmp_path / "state")
    metering = Metering(folder, KEYS, lambda: GATEWAY_KEY, lambda: NOW_S, FileCounter(folder), ignore)
    metering.take(VoucherList(vouchers=(a_voucher(QUOTA)[1],)))
    models = Models()
    models.add(_served(folder, metering))
    address = f"unix:{tmp_path / 's'}" if kind == "unix" else "127.0.0.1:0"
    server = LocalServer(address, models, dict)
    server.start()
    try:
        with multiprocessing.get_context("spawn").Pool(8) as pool:
            told = pool.map_async(_ask, [server.address] * 8, chunksize=1).get(120)
    finally:
        server.stop()
    assert sum(answered for answered, _ in told) == QUOTA
    metering.close()
    assert [one.left for one in left_in(folder, NOW_S)] == [0]


def _answer(root: str, voucher: Voucher, message: bytes, count: ctypes.c_longlong) -> None:
    """Answer until killed; each query is counted in shared memory right after it was paid for."""
    meter = Meter(Folder(Path(root)), voucher, message, lambda: NOW_S, ignore)
    while True:
        meter.charge()
        count.value += 1


def test_kill_9_costs_at_most_a_reservation_and_gives_nothing_away(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    voucher, message = a_voucher(10**9)
    count = spawn.RawValue("q", 0)
    for kill in range(1, 9):
        before = count.value
        process = spawn.Process(target=_answer, args=(str(tmp_path), voucher, message, count))
        process.start()
        give_up = time.monotonic() + 60
        while count.value < before + 37 * kill and time.monotonic() < give_up:
            time.sleep(0.001)
        process.kill()
        process.join(30)
        meter = Meter(Folder(tmp_path), voucher, message, lambda: NOW_S, ignore)
        # the process may die between paying for a query and counting it here: one more a kill
        assert count.value <= meter.served <= count.value + (RESERVATION + 1) * kill
        assert count.value > before


def _served(folder: Folder, metering: Metering) -> Model:
    model = dense(FEATURES, 4, seed=1)
    manifest = msgspec.structs.replace(tiny_manifest(model, 1, "x86-gateway"), metered=True)
    slots = Slots(folder, "tiny", KEYS)
    package, key = packages.seal_again(model, manifest, KEYS)
    variant = InstalledVariant(manifest=slots.put(A, encode(manifest)), package=slots.put(A, package), key=key)
    record = SlotRecord(workload="tiny", release=1, assignment=1, variants=(variant,))
    slots.write_record(A, record)
    counters = Counters(folder, lambda: 0.0, ignore)
    served = Model("tiny", counters, lambda _: DeviceState(), lambda: metering.charge("tiny"))
    release = RunningRelease(slots, A, record, litert.load)
    counters.begin(release.key)
    served.use(release)
    served.predict(np.zeros(FEATURES, np.float32))
    metering.meters[next(iter(metering.meters))].give_back()
    return served
