"""Whole fleets with bad luck: what must hold at the end whatever happened on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests.support.owner import FEATURES, PROFILES, WORKLOAD, Owner, make_owner, tiny_model
from tinymlops.edge.spool import Kind
from tinymlops.files import sha256
from tinymlops.fleet import CodeTerms
from tinymlops.gateway import GatewayKey, GatewaySettings, create_app
from tinymlops.rollouts import Limits, Rollout, RolloutStatus
from tinymlops.testing import NO_FAULTS, FakeFleet, Faults, SimulatedTime
from tinymlops.wire.observations import Purpose

START_S = 1_800_000_000.0
DAY_S = 86_400.0
BAD_LUCK = Faults(
    lost_request=0.05,
    lost_answer=0.05,
    cut_answer=0.03,
    duplicated=0.05,
    delayed=0.03,
    crash=0.05,
    full_disk=0.02,
    skew_s=120.0,
    reset_clock=0.1,
)


class World:
    """An owner, a gateway and a fake fleet of some devices, all enrolled by the same clock."""

    def __init__(self, folder: Path, devices: int, faults: Faults, seed: int = 7) -> None:
        (folder / "owner").mkdir()
        self.time = SimulatedTime(START_S)
        self.owner: Owner = make_owner(folder / "owner", bin_bits=4, clock=self.time)
        key = GatewayKey.generate()
        settings = GatewaySettings(rates=None, timestamp_ttl_s=0.0, poll_s=1800.0)
        app = create_app(settings, self.owner.fleet, self.owner.publisher.repository.store, key, clock=self.time)
        self.fleet = FakeFleet(app, self.time, folder / "devices", seed=seed, faults=faults)
        terms = CodeTerms(expires_s=START_S + DAY_S, root_version=1)
        codes = [self.owner.fleet.new_code(terms, root=self.owner.root, gateway_key=key.public) for _ in range(devices)]
        self.fleet.join((PROFILES[number % 2] for number in range(devices)), codes)
        assert self.fleet.run(until=lambda: len(self.owner.fleet.devices()) == devices, most_s=DAY_S)

    def roll_out(self, **limits: float) -> Rollout:
        """Roll the newest release out until it has ended."""
        chosen = Limits(**{"silence_s": 2 * DAY_S, "success": 0.9, **limits})  # type: ignore[arg-type]
        self.rollout = self.owner.steering.start(
            WORKLOAD, limits=chosen, rollout_id=f"{len(self.owner.fleet.rollouts())}"
        )
        self.fleet.every(600.0, self._step)
        assert self.fleet.run(until=lambda: self.rollout.status.is_final, most_s=7 * DAY_S), self.rollout.status
        return self.rollout

    def _step(self) -> None:
        if not self.rollout.status.is_final:
            self.rollout = self.owner.steering.step(self.rollout.rollout_id)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        return self.fleet.run(until=until, most_s=seconds)

    def running(self) -> list[tuple[int, str]]:
        """(version, digest) of what every agent serves after a fresh start without any network."""
        found = []
        for device in self.fleet.devices:
            device.switch_off_and_on()
            model = device.agent.models[WORKLOAD]
            assert model.predict([0.0] * FEATURES).label in {"a", "b", "c", "d"}
            found.append((model.manifest().version, model.manifest().sha256))
        return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory: a thousand small files would wait for the disk."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="tinymlops-fleet-", dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def test_every_device_ends_with_the_verified_release_whatever_its_luck(folder: Path) -> None:
    world = World(folder, devices=60, faults=BAD_LUCK)
    world.owner.release(1)

    ended = world.roll_out()

    assert ended.status is RolloutStatus.DONE, ended.reason
    assert sum(sum(device.crashes.values()) for device in world.fleet.devices) > 5
    assert world.running() == [(1, sha256(tiny_model(1)))] * 60


def test_a_broken_release_reaches_its_canaries_alone_and_goes_back(folder: Path) -> None:
    world = World(folder, devices=40, faults=NO_FAULTS)
    world.owner.release(1)
    world.roll_out()
    world.owner.release(2, broken=True)

    ended = world.roll_out()

    assert ended.status is RolloutStatus.ROLLED_BACK
    assert "self-test" in ended.reason
    assert len(ended.reached()) == 2
    assert world.running() == [(1, sha256(tiny_model(1)))] * 40


def test_with_bad_luck_a_broken_release_goes_back_as_well(folder: Path) -> None:
    world = World(folder, devices=30, faults=BAD_LUCK)
    world.owner.release(1)
    world.roll_out()
    world.owner.release(2, broken=True)

    ended = world.roll_out()

    assert ended.status is RolloutStatus.ROLLED_BACK
    assert world.running() == [(1, sha256(tiny_model(1)))] * 30


def test_the_same_seed_has_the_same_luck(folder: Path) -> None:
    happened = []
    for name in ("first", "second"):
        (folder / name).mkdir()
        world = World(folder / name, devices=10, faults=BAD_LUCK)
        world.owner.release(1)
        world.roll_out()
        happened.append([(device.crashes, device.errors) for device in world.fleet.devices])

    assert happened[0] == happened[1]


def test_devices_report_telemetry_exactly_once(folder: Path) -> None:
    world = World(folder, devices=10, faults=BAD_LUCK)
    sent = {}
    for device in world.fleet.devices:
        numbers = [device.agent.observe(Kind.OBSERVATION, "window", b"%d" % n) for n in range(20)]
        sent[device.agent.device_id] = numbers

    def all_kept() -> bool:
        return all(world.owner.fleet.telemetry_through(device) >= max(numbers) for device, numbers in sent.items())

    assert world.run(3 * DAY_S, all_kept)


def test_people_who_agreed_are_heard_and_no_others(folder: Path) -> None:
    luck = Faults(lost_request=0.1, lost_answer=0.1, duplicated=0.1, crash=0.05)
    world = World(folder, devices=4, faults=luck)
    world.owner.release(1)
    world.roll_out()
    willing = world.fleet.devices[:2]
    for device in willing:
        device.agree(Purpose.OPERATIONS)
    for day in range(3):
        for device in world.fleet.devices:
            assert device.ask(WORKLOAD, [float(day)] * FEATURES, truth=0) is not None
            device.agent.observing.save()
        world.run(DAY_S)
    world.run(DAY_S)

    for device in world.fleet.devices:
        told = device.agent.spool.state.through
        assert told == (4 if device in willing else 0), "a consent and three windows, or nothing"
    assert sum(count for (route, _), count in world.fleet.requests.items() if route == "telemetry") >= 3
