"""The agent's decisions, on a simulated clock against a gateway in memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.agent_scenario import Control, Play, check_observations, check_reports, check_survival, prepare
from tests.support.agent_scenario import settings as play_settings
from tests.support.devices import Crash, Recorder, SteppingClock, TickingClock, enrolled_agent, make_agent
from tests.support.gateway_simulator import PROFILE, WORKLOAD, World, body, manifest_of, problem, tiny_model
from tests.support.metering import OF_METERS
from tinymlops.edge.agent import Agent
from tinymlops.edge.seams import Answer, Call
from tinymlops.edge.status import status_of
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition
from tinymlops.errors import (
    DoesNotRunError,
    FormatError,
    NoModelError,
    RefusedError,
    StorageError,
    UnreachableError,
    UntrustedError,
)
from tinymlops.wire.device_state import ACCURATE, FAST
from tinymlops.wire.manifest import HealthBounds
from tinymlops.wire.messages import Phase

WINDOW = [0.5] * 16


def phases(world: World, agent: Agent) -> list[tuple[int, Phase]]:
    return [(one.version, one.phase) for one in world.health[agent.device_id][-1].releases]


def test_a_whole_life_passes_every_transition(tmp_path: Path) -> None:
    """What tests/integration/edge/test_kill.py kills at; here in one process, undisturbed."""
    world = World()
    prepare(world)
    clock, recorder = TickingClock(world.now_s), Recorder()

    def make(trial_s: float) -> Agent:
        folder = Folder(tmp_path / "state", durable=False)
        return Agent(folder, world, clock=clock, observer=recorder, settings=play_settings(trial_s))

    Play(make, Control(world).enter, world.new_code(), tmp_path).run()
    assert set(recorder.seen) == set(Transition) - OF_METERS
    check_reports(world, next(iter(world.devices)))
    check_observations(world, next(iter(world.devices)), tmp_path / "state")
    assert check_survival(tmp_path, make, had_model=True) == 7


def test_the_docs_list_every_transition() -> None:
    text = (Path(__file__).parents[3] / "docs/agent.md").read_text()
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE))
    assert listed == {transition.name for transition in Transition}


# --- enrolment


def test_an_enrolment_whose_answer_was_lost_is_asked_for_again(
    tmp_path: Path, world: World, clock: SteppingClock
) -> None:
    code = world.new_code()
    first = make_agent(tmp_path, world, clock, Recorder(Transition.ENROLMENT_ANSWERED))
    with pytest.raises(Crash):
        first.enrol(code, "http://gateway.test", PROFILE)
    again = make_agent(tmp_path, world, clock)
    assert again.enrol(code, "http://gateway.test", PROFILE).answer.device_id == first.device_id
    assert len(world.devices) == 1
    assert again.enrol(code, "http://gateway.test", PROFILE) == again.enrolled
    with pytest.raises(RefusedError, match="enrolled at"):
        again.enrol(code, "http://elsewhere.test", PROFILE)


def test_a_stolen_code_does_not_work_twice(tmp_path: Path, world: World, clock: SteppingClock) -> None:
    code = world.new_code()
    make_agent(tmp_path / "a", world, clock).enrol(code, "http://gateway.test", PROFILE)
    with pytest.raises(RefusedError, match="was used"):
        make_agent(tmp_path / "b", world, clock).enrol(code, "http://gateway.test", PROFILE)


def test_a_gateway_with_another_root_is_not_believed(tmp_path: Path, world: World, clock: SteppingClock) -> None:
    code = world.new_code()
    other = World(world.now_s)
    other.secrets.update(world.secrets)
    agent = make_agent(tmp_path, other, clock)
    with pytest.raises(UntrustedError, match="root of trust"):
        agent.enrol(code, "http://gateway.test", PROFILE)
    assert agent.folder.read("enrolment.json") is None


def test_a_device_in_1970_enrols(tmp_path: Path, world: World) -> None:
    clock = SteppingClock(0.0)
    agent = enrolled_agent(tmp_path, world, clock)
    world.assign(agent.device_id, 1)
    assert agent.cycle().error is None
    assert agent.models[WORKLOAD].predict(WINDOW).version == 1


def test_without_enrolment(tmp_path: Path, world: World, clock: SteppingClock) -> None:
    agent = make_agent(tmp_path, world, clock)
    assert isinstance(agent.cycle().error, RefusedError)
    assert status_of(agent.folder).gateway == ""


# --- releases that do not do


def broken(world: World, **changes: Any) -> None:
    world.release(2, [tiny_model(2)], **changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"minimum_agent": "99.0"}, "needs agent 99.0"),
        ({"minimum_agent": "new"}, "not a version"),
        ({"profile": "mcu"}, "made for mcu"),
        ({"labels": ("a",)}, "labels"),
        ({"workload": "other"}, "describes other"),
        ({"sha256": "0" * 64}, "another model"),
    ],
)
def test_a_broken_release_is_reported_and_never_run(
    agent: Agent, world: World, changes: dict[str, object], reason: str
) -> None:
    assert agent.cycle().error is None
    broken(world, **changes)
    world.assign(agent.device_id, 2)
    assert agent.cycle().error is None
    assert phases(world, agent) == [(2, Phase.FAILED), (1, Phase.GOOD)]
    assert reason in world.health[agent.device_id][-1].releases[0].reason
    assert agent.models[WORKLOAD].predict(WINDOW).version == 1
    asked = world.bytes_sent("releases/activity/2/")
    agent.cycle()
    assert world.bytes_sent("releases/activity/2/") == asked, "not tried again under this assignment"
    world.assign(agent.device_id, 2)
    agent.cycle()
    assert world.health[agent.device_id][-1].releases[0].assignment == 3, "another assignment asks for another try"


def test_a_self_test_that_fails_never_switches(agent: Agent, world: World, recorder: Recorder) -> None:
    assert agent.cycle().error is None
    good = manifest_of(tiny_model(2), 2).self_test
    broken(world, self_test=replace(good, outputs=bytes(len(good.outputs))))
    world.assign(agent.device_id, 2)
    recorder.seen.clear()
    agent.cycle()
    assert Transition.SELF_TEST_FAILED in recorder.seen
    assert Transition.SWITCHED not in recorder.seen
    assert status_of(agent.folder).workloads[0].failed_version == 2


def test_a_self_test_that_kills_the_agent_is_given_up(
    agent: Agent, world: World, recorder: Recorder, restarted: Callable[[], Agent]
) -> None:
    assert agent.cycle().error is None
    world.release(2, [tiny_model(2)])
    world.assign(agent.device_id, 2)
    for _ in range(3):
        recorder.die_at, recorder._left = Transition.SELF_TEST_STARTED, 1
        with pytest.raises(Crash):
            restarted().cycle()
    again = restarted()
    assert again.cycle().error is None
    assert "took the agent down 3 times" in world.health[agent.device_id][-1].releases[0].reason
    assert again.models[WORKLOAD].predict(WINDOW).version == 1


def test_errors_on_trial_fall_back(tmp_path: Path, world: World, clock: SteppingClock) -> None:
    agent = enrolled_agent(tmp_path, world, clock, trial_s=30.0)
    world.assign(agent.device_id, 1)
    agent.cycle()
    clock.pass_time(31)
    agent.cycle()
    assert phases(world, agent) == [(1, Phase.GOOD)]
    world.release(2, [tiny_model(2)], bounds=HealthBounds(error_rate=0.5))
    world.assign(agent.device_id, 2)
    delay = agent.cycle().delay_s
    assert delay <= 33, "a trial is looked at when it is over"
    model = agent.models[WORKLOAD]
    assert model.release is not None

    class Failing:
        def invoke(self, values: object) -> None:
            raise DoesNotRunError("it failed", "never mind")

    model.release.variant(0)._interpreter = Failing()  # type: ignore[assignment]
    for _ in range(3):
        with pytest.raises(DoesNotRunError):
            model.predict(WINDOW)
    agent.cycle()
    assert phases(world, agent) == [(2, Phase.FAILED), (1, Phase.GOOD)]
    assert "3 of 3 queries failed" in world.health[agent.device_id][-1].releases[0].reason
    assert model.predict(WINDOW).version == 1


def test_a_trial_without_gateway_ends_by_itself(tmp_path: Path, world: World, clock: SteppingClock) -> None:
    agent = enrolled_agent(tmp_path, world, clock, trial_s=1e6, offline_trial_s=3600.0)
    world.assign(agent.device_id, 1)
    agent.cycle()
    agent.models[WORKLOAD].predict(WINDOW)
    world.tamper = lambda call, answer: problem(503, "gone")
    clock.pass_time(1800)
    agent.cycle()
    assert agent.on_trial
    clock.pass_time(1801)
    assert agent.cycle().error is not None
    assert not agent.on_trial


# --- damage and want


@pytest.mark.parametrize("suffix", ["slot.json", "package"])
def test_damage_on_the_disk_takes_the_other_slot_and_mends_itself(
    agent: Agent, world: World, restarted: Callable[[], Agent], suffix: str
) -> None:
    assert agent.cycle().error is None
    world.release(2, [tiny_model(2)])
    world.assign(agent.device_id, 2)
    assert agent.cycle().error is None
    slot = agent.folder.path("models/activity/b")
    path = slot / "slot.json" if suffix == "slot.json" else next(p for p in slot.iterdir() if p.suffix != ".json")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    again = restarted()
    assert again.models[WORKLOAD].predict(WINDOW).version == 1
    assert again.cycle().error is None
    assert again.models[WORKLOAD].predict(WINDOW).version == 2


@pytest.mark.parametrize("content", [b"", b"{", None])
def test_a_lost_switch_is_found_again_by_the_signed_slots(
    agent: Agent, world: World, restarted: Callable[[], Agent], content: bytes | None
) -> None:
    assert agent.cycle().error is None
    world.release(2, [tiny_model(2)])
    world.assign(agent.device_id, 2)
    assert agent.cycle().error is None
    agent.folder.remove("models/activity/active")
    if content is not None:
        agent.folder.write("models/activity/active", content)
    again = restarted()
    assert again.models[WORKLOAD].predict(WINDOW).version == 2
    sent = world.bytes_sent("releases/")
    assert again.cycle().error is None
    assert world.bytes_sent("releases/") == sent


def test_a_variant_that_is_lost_leaves_the_others(agent: Agent, world: World) -> None:
    world.release(2, [tiny_model(2), tiny_model(3)])
    world.assign(agent.device_id, 2)
    assert agent.cycle().error is None
    release = agent.models[WORKLOAD].release
    assert release is not None
    agent.models[WORKLOAD].predict(WINDOW)
    loaded = next(iter(release._ready))
    lost = release.record.variants[1 - loaded].package
    agent.folder.remove(f"models/activity/{release.slot}/{lost}")
    assert {agent.models[WORKLOAD].predict(WINDOW, preference=wish).recipe for wish in (FAST, ACCURATE)} == {
        release.manifests[loaded].recipe
    }


def test_workloads_may_be_called_anything_that_the_wire_allows(
    agent: Agent, world: World, restarted: Callable[[], Agent]
) -> None:
    """No name may pass for a file of the agent's own."""
    assert agent.cycle().error is None
    for name in ("a.new", "x.part", "slot.json", "active"):
        agent.folder.move("models/activity/active", f"models/{name}/active")
        agent.folder.move(f"models/{name}/active", "models/activity/active")
        with agent.folder.locked():
            assert name in agent.folder.names("models")
    assert restarted().models[WORKLOAD].predict(WINDOW).version == 1


def test_a_disk_that_is_full_keeps_the_good_model(tmp_path: Path, world: World, clock: SteppingClock) -> None:
    agent = enrolled_agent(tmp_path / "state", world, clock, quota_bytes=40_000)
    world.assign(agent.device_id, 1)
    assert agent.cycle().error is None
    world.release(2, [tiny_model(2, 65_536)], features=65_536)
    world.assign(agent.device_id, 2)
    error = agent.cycle().error
    assert isinstance(error, StorageError)
    assert "\n" not in str(error)
    assert agent.models[WORKLOAD].predict(WINDOW).version == 1
    assert make_agent(tmp_path / "state", world, clock).open().models[WORKLOAD].predict(WINDOW).version == 1


def test_no_model_says_what_to_do(agent: Agent) -> None:
    with pytest.raises(NoModelError, match="no model for"):
        agent.models[WORKLOAD]
    assert len(agent.models) == 0
    assert list(agent.models) == []


def test_damaged_state_is_said(agent: Agent, restarted: Callable[[], Agent]) -> None:
    agent.folder.write("enrolment.json", b"{")
    with pytest.raises(FormatError):
        _ = restarted().enrolled


# --- rounds


def test_backoff_grows_and_is_random_and_bounded(agent: Agent, world: World) -> None:
    world.tamper = lambda call, answer: problem(500, "broken")
    delays = [agent.cycle().delay_s for _ in range(40)]
    assert max(delays[:2]) <= 16
    assert 600 < max(delays) <= 3600
    assert len(set(delays)) == 40


def test_a_busy_gateway_says_when_to_come_back(agent: Agent, world: World) -> None:
    def busy(call: Call, answer: Answer) -> Answer:
        return Answer(429, {"retry-after": "900"}, [b"{}"])

    world.tamper = busy
    done = agent.cycle()
    assert done.delay_s >= 900
    assert isinstance(done.error, UnreachableError)


def test_the_gateways_interval_is_kept_to_bounds(agent: Agent, world: World) -> None:
    world.poll_s = 0.0
    assert agent.cycle().delay_s > 0.8
    world.poll_s = 6 * 86400.0
    assert agent.cycle().delay_s < 1.2 * 86400


def test_a_revoked_device_gets_nothing_and_runs_on(agent: Agent, world: World) -> None:
    assert agent.cycle().error is None
    world.devices.clear()
    assert isinstance(agent.cycle().error, RefusedError)
    assert agent.models[WORKLOAD].predict(WINDOW).version == 1


def test_a_report_that_was_not_kept_is_no_acknowledgement(agent: Agent, world: World) -> None:
    world.tamper = lambda call, answer: body(b'{"v":1,"through":0}') if "health" in call.target else answer
    assert isinstance(agent.cycle().error, UnreachableError)


def test_several_variants_are_kept_and_chosen_by_preference(agent: Agent, world: World) -> None:
    """The second one costs a point and halves the time."""
    world.release(2, [tiny_model(2), tiny_model(3)])
    world.assign(agent.device_id, 2)
    assert agent.cycle().error is None
    model = agent.models[WORKLOAD]
    assert model.predict(WINDOW, preference=ACCURATE).recipe == "int8"
    assert model.predict(WINDOW, preference=FAST).recipe == "int8-1"
    assert model.manifest(FAST).recipe == "int8-1"
    assert model.count().queries == 2
    assert status_of(agent.folder).workloads[0].recipes == ("int8", "int8-1")


def test_run_stops_where_it_is_told_to(agent: Agent) -> None:
    import threading

    stop, seen = threading.Event(), []

    def once(done: object) -> None:
        seen.append(done)
        stop.set()

    agent.run(stop, once)
    assert len(seen) == 1
    assert status_of(agent.folder).assignment == 1
