"""Agents for tests: on simulated clocks, and ones that die at a named transition."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.support.gateway_simulator import PROFILE, World
from tinymlops.edge.agent import Agent
from tinymlops.edge.seams import Transport
from tinymlops.edge.settings import AgentSettings
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition


class SteppingClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self.up_s = 100.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.up_s

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.up_s += seconds


class TickingClock(SteppingClock):
    """A clock on which two milliseconds pass between any two looks at it."""

    def now(self) -> float:
        self.pass_time(0.002)
        return self.now_s

    def monotonic(self) -> float:
        self.pass_time(0.002)
        return self.up_s


class Crash(BaseException):
    """The process is gone: nothing may catch it."""


class Recorder:
    """An observer that remembers, and dies where it is told to."""

    def __init__(self, die_at: Transition | None = None, occurrence: int = 1) -> None:
        self.seen: list[Transition] = []
        self.abouts: list[str] = []
        self.die_at = die_at
        self._left = occurrence

    def __call__(self, transition: Transition, about: str) -> None:
        self.seen.append(transition)
        self.abouts.append(f"{transition}: {about}")
        if transition is self.die_at:
            self._left -= 1
            if not self._left:
                self.die_at = None
                raise Crash(transition)


def make_agent(
    folder: Path, transport: Transport, clock: SteppingClock, recorder: Recorder | None = None, **settings: Any
) -> Agent:
    options = AgentSettings(**{"trial_s": 0.0, **settings})
    state = Folder(folder, quota_bytes=options.quota_bytes, durable=False)
    rng = random.Random(1)  # noqa: S311 - jitter
    return Agent(state, transport, clock=clock, rng=rng, observer=recorder or Recorder(), settings=options)


def enrolled_agent(folder: Path, world: World, clock: SteppingClock, **options: Any) -> Agent:
    agent = make_agent(folder, world, clock, **options)
    agent.enrol(world.new_code(), "http://gateway.test", PROFILE)
    return agent.open()
