"""Kill -9 at every transition of the meter: nothing is given away, little is lost, and all is billed once."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.agent_scenario import settings
from tests.support.devices import Recorder, SteppingClock
from tests.support.gateway_process import serving
from tests.support.metered_life import MeteredLife, Shop, ShopKeeper, answered
from tests.support.metering import OF_METERS
from tinymlops.edge.agent import Agent
from tinymlops.edge.meter import RESERVATION
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition
from tinymlops.wire.enrolment_code import secret_digest

REPETITIONS = (1, 2)
_QUICK = Path("/dev/shm")  # noqa: S108 - a killed process leaves the same behind there, and fsync costs nothing

Job = tuple[Transition, int]


def test_every_transition_of_the_meter_survives_kill_9(tmp_path: Path) -> None:
    passed = Counter(_whole_life(tmp_path))
    assert set(passed) >= OF_METERS, "a transition that no life passes is not tested"
    jobs = sorted({(transition, min(n, passed[transition])) for transition in OF_METERS for n in REPETITIONS})
    world = Shop(time.time())
    with (
        tempfile.TemporaryDirectory(dir=_QUICK if _QUICK.is_dir() else None) as name,
        serving(world, ShopKeeper(world)) as gateway,
        ThreadPoolExecutor(2) as pool,
    ):
        place = Path(name)
        halves = [pool.submit(_live, gateway, world, place, jobs[start::2]) for start in (0, 1)]
        complaints = [complaint for half in halves for complaint in half.result()]
    assert not complaints, "\n".join(complaints)


def _whole_life(folder: Path) -> list[Transition]:
    """What one undisturbed life passes, in this process; its bill is exact but for the stage that ends badly."""
    world, recorder = Shop(time.time()), Recorder()

    def make() -> Agent:
        state = Folder(folder / "state", durable=False)
        return Agent(state, world, clock=SteppingClock(world.now_s), observer=recorder, settings=settings())

    MeteredLife(make, ShopKeeper(world).enter, world.new_code(), folder).run()
    ((book, _),) = world.books.values()
    assert answered(folder) <= book.billed <= answered(folder) + RESERVATION
    assert not book.incidents
    return recorder.seen


def _live(gateway: str, world: Shop, folder: Path, jobs: list[Job]) -> list[str]:
    """What is wrong with the lives of these jobs."""
    command = [sys.executable, "-m", "tests.support.metered_life", gateway]
    environment = {**os.environ, "PYTHONPATH": "src:.", "TF_CPP_MIN_LOG_LEVEL": "3", "OPENBLAS_NUM_THREADS": "1"}
    complaints: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for transition, occurrence in jobs:
            code, place = world.new_code(), folder / f"{transition.name}-{occurrence}"
            process.stdin.write(f"{place}\t{code}\t{transition}\t{occurrence}\n")
            process.stdin.flush()
            codes = process.stdout.readline().split()
            device = world.secrets[secret_digest(code.secret)] or ""
            complaints += [f"{transition.name} {occurrence}: {one}" for one in _judged(world, device, place, codes)]
        process.stdin.close()
        process.wait(30)
    return complaints


def _judged(world: Shop, device: str, place: Path, codes: list[str]) -> list[str]:
    error = place / "error"
    if codes != ["-9", "0"]:
        return [error.read_text() if error.exists() else f"ended with {codes}"]
    book, _ = world.books[device]
    total, complaints = answered(place), []
    # one crash by the kill and one by the stage that ends badly; a query may be killed between its count and its note
    if not total <= book.billed <= total + 2 * RESERVATION + 1:
        complaints.append(f"{book.billed} billed for {total} answered")
    if book.billed != book.mark.used or book.incidents:
        complaints.append(f"{book.billed} billed, {book.mark.used} acknowledged, incidents {book.incidents}")
    return complaints
