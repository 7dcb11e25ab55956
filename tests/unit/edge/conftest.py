"""A gateway in memory and a device that is enrolled there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.devices import Recorder, SteppingClock, enrolled_agent, make_agent
from tests.support.gateway_simulator import World, tiny_model
from tinymlops.edge.agent import Agent


@pytest.fixture
def world() -> World:
    made = World()
    made.release(1, [tiny_model(1)])
    return made


@pytest.fixture
def clock(world: World) -> SteppingClock:
    return SteppingClock(world.now_s)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def agent(tmp_path: Path, world: World, clock: SteppingClock, recorder: Recorder) -> Agent:
    """Enrolled, and assigned release 1, which it does not have yet."""
    made = enrolled_agent(tmp_path / "state", world, clock, recorder=recorder)
    world.assign(made.device_id, 1)
    return made


@pytest.fixture
def restarted(tmp_path: Path, world: World, clock: SteppingClock, recorder: Recorder) -> Callable[[], Agent]:
    """Makes what a new process would start with."""
    return lambda: make_agent(tmp_path / "state", world, clock, recorder).open()
