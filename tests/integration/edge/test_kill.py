"""Kill -9 at every transition of the agent: a verified model always loads, no count goes back, nothing comes twice."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.agent_scenario import (
    Control,
    Play,
    check_observations,
    check_reports,
    check_survival,
    prepare,
    settings,
)
from tests.support.devices import Recorder, TickingClock
from tests.support.gateway_process import serving
from tests.support.gateway_simulator import World
from tests.support.metering import OF_METERS
from tinymlops.edge.agent import Agent
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition
from tinymlops.wire.enrolment_code import secret_digest

REPETITIONS = (1, 2, 3)
IN_FLIGHT = {Transition.PACKAGE_STARTED, Transition.PACKAGE_PARTIAL, Transition.PACKAGE_RESUMED}
"""Here bytes may be on the line that nobody has taken yet: they have to be sent again."""


_QUICK = Path("/dev/shm")  # noqa: S108 - a killed process leaves the same behind there, and fsync costs nothing


@pytest.fixture(scope="module")
def world() -> World:
    made = World(time.time())
    prepare(made)
    return made


def test_every_transition_survives_kill_9(world: World, tmp_path: Path) -> None:
    passed = Counter(_whole_life(tmp_path))
    assert set(passed) == set(Transition) - OF_METERS, "a transition that no life passes is not tested"
    jobs = [(transition, n) for transition in Transition if transition not in OF_METERS for n in REPETITIONS]
    with (
        tempfile.TemporaryDirectory(dir=_QUICK if _QUICK.is_dir() else None) as name,
        serving(world, Control(world)) as gateway,
        ThreadPoolExecutor(2) as pool,
    ):
        place = Path(name)
        halves = [pool.submit(_live, gateway, world, place, jobs[start::2], passed) for start in (0, 1)]
        lives = {job: life for half in halves for job, life in half.result().items()}
        complaints = [complaint for job, life in lives.items() for complaint in _judge(world, job, life, place)]
    assert not complaints, "\n".join(complaints)
    assert len(passed) >= 33


def _whole_life(folder: Path) -> list[Transition]:
    """What one undisturbed life passes, in this process."""
    world = World()
    prepare(world)
    clock, recorder = TickingClock(world.now_s), Recorder()

    def make(trial_s: float) -> Agent:
        state = Folder(folder / "state", durable=False)
        return Agent(state, world, clock=clock, observer=recorder, settings=settings(trial_s))

    Play(make, Control(world).enter, world.new_code(), folder).run()
    check_survival(folder, make, had_model=True)
    return recorder.seen


def _live(
    gateway: str, world: World, folder: Path, jobs: list[tuple[Transition, int]], passed: Counter[Transition]
) -> dict[tuple[Transition, int], tuple[str, str]]:
    """Each job's two exit codes and its device."""
    command = [sys.executable, "-m", "tests.support.agent_process", gateway]
    environment = {**os.environ, "PYTHONPATH": "src:.", "TF_CPP_MIN_LOG_LEVEL": "3", "OPENBLAS_NUM_THREADS": "1"}
    lives = {}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for transition, repetition in jobs:
            code = world.new_code()
            place = folder / f"{transition.name}-{repetition}"
            process.stdin.write(f"{place}\t{code}\t{transition}\t{min(repetition, passed[transition])}\n")
            process.stdin.flush()
            codes = process.stdout.readline()
            lives[transition, repetition] = (codes, world.secrets[secret_digest(code.secret)] or "")
        process.stdin.close()
        process.wait(30)
    return lives


def _judge(world: World, job: tuple[Transition, int], life: tuple[str, str], folder: Path) -> list[str]:
    (transition, repetition), (codes, device) = job, life
    killed, ended = codes.split()
    error = folder / f"{transition.name}-{repetition}" / "error"
    complaints = []
    if (killed, ended) != ("-9", "0"):
        complaints.append(error.read_text() if error.exists() else f"ended with {codes}")
    else:
        check_reports(world, device)
        check_observations(world, device, folder / f"{transition.name}-{repetition}" / "state")
        complaints += _twice(world, transition, device)
    return [f"{transition.name} {repetition}: {complaint}" for complaint in complaints]


def _twice(world: World, transition: Transition, device: str) -> list[str]:
    """What a device fetched again though it had it."""
    fetched: dict[str, int] = defaultdict(int)
    for (owner, target), count in world.sent_to.items():
        if owner == device and target.endswith(".tmz"):
            fetched[target] += count
    sizes = {target: len(world.repository.files[target.removeprefix("/v1/targets/")]) for target in fetched}
    again = {target: count for target, count in fetched.items() if count > sizes[target]}
    if transition in IN_FLIGHT:
        return [f"{target}: {count} of {sizes[target]}" for target, count in again.items() if count > 2 * sizes[target]]
    return [f"{target}: {count} bytes for {sizes[target]}" for target, count in again.items()]
