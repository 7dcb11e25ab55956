"""A device's life in stages that passes through every transition there is, and can be taken up after any crash.

The same play runs with agents in this process and with real processes that are killed for real.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from tests.support.gateway_simulator import PROFILE, WORKLOAD, World, broken_off, device_of, manifest_of, tiny_model
from tinymlops.edge.agent import Agent
from tinymlops.edge.litert import LiteRT
from tinymlops.edge.prediction import Prediction, ReadyVariant
from tinymlops.edge.privacy import balance_in
from tinymlops.edge.seams import Answer, Call
from tinymlops.edge.settings import AgentSettings, Limits, ObservationSettings
from tinymlops.edge.spool import Kind
from tinymlops.edge.storage import Folder
from tinymlops.errors import NoModelError
from tinymlops.files import sha256
from tinymlops.wire import cose
from tinymlops.wire.deltas import Encoding
from tinymlops.wire.encoding import decode_packed
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.messages import Phase
from tinymlops.wire.observations import CONSENT, Consent, Purpose, RecordName, Window

GATEWAY = "http://gateway.test"
FEATURES = 1024
WINDOW = np.linspace(-4.0, 4.0, FEATURES, dtype=np.float32)
FIRST, CLOSE, BROKEN, REJECTED, LOOPING, ABANDONED, LAST = 1, 2, 3, 4, 5, 6, 7
_MOST_ROUNDS = 12
STAGES = 11


def settings(trial_s: float = 0.0) -> AgentSettings:
    return AgentSettings(
        trial_s=trial_s, offline_trial_s=1e9, observations_bytes=4096, most_backoff_s=0.01,
        limits=Limits(saved_every_bytes=1024),
        observations=ObservationSettings(window_s=0.01, budget=1000.0, saved_every_s=0.001, samples_a_day=2),
    )  # fmt: skip


def models() -> dict[int, bytes]:
    """Models of all releases: each the one before with a few other weights."""
    made = {FIRST: tiny_model(1, FEATURES)}
    for version in range(CLOSE, LAST + 1):
        made[version] = other_weights(made[version - 1], version)
    return made


def other_weights(model: bytes, seed: int) -> bytes:
    """The same network with four other weights."""
    from ai_edge_litert import schema_py_generated as schema

    read = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    weights = np.asarray(read.buffers[1].data, np.uint8).tobytes()
    at = model.index(weights)
    changed = bytearray(model)
    for place in np.random.default_rng(seed).integers(0, len(weights), 4):
        changed[at + int(place)] ^= 5
    return bytes(changed)


def prepare(world: World) -> None:
    """All releases, and a root that was rotated."""
    made = models()
    world.repository.publish_root()
    world.release(FIRST, [made[FIRST]], features=FEATURES)
    world.release(CLOSE, [made[CLOSE]], base=FIRST, features=FEATURES)
    good = manifest_of(made[BROKEN], BROKEN, features=FEATURES).self_test
    world.release(BROKEN, [made[BROKEN]], features=FEATURES, self_test=replace(good, outputs=b"\x7f\x80\x7f\x80" * 3))
    rejected = world.release(REJECTED, [made[REJECTED]], features=FEATURES).variants[0]
    folder, base = f"releases/{WORKLOAD}/{REJECTED}", sha256(made[CLOSE])
    rejected[3].insert(0, world._package(folder, "int8-bad", rejected[2], Encoding.ZSTD, b"not zstd", base))
    for version in (LOOPING, ABANDONED, LAST):
        world.release(version, [made[version]], features=FEATURES)
    world.tamper = _breaks_once()


def _breaks_once() -> Callable[[Call, Answer], Answer]:
    """Break the first download of the difference in the middle, once for each device."""
    broken: set[str] = set()

    def tamper(call: Call, answer: Answer) -> Answer:
        device = device_of(call)
        if "int8-delta" in call.target and device not in broken:
            broken.add(device)
            return broken_off(answer, 100)
        return answer

    return tamper


ASSIGNED = {1: FIRST, 2: CLOSE, 3: FIRST, 4: CLOSE, 5: BROKEN, 6: REJECTED, 7: LOOPING, 8: ABANDONED, 9: LAST}
"""Which release is assigned in which stage."""


@dataclass
class Control:
    """What the play asks of the owner; each thing is done once for each device.

    Args:
        world: The owner's.
    """

    world: World
    done: set[tuple[str, int]] = field(default_factory=set)

    def enter(self, device_id: str, stage: int) -> None:
        if stage in ASSIGNED and (device_id, stage) not in self.done:
            self.done.add((device_id, stage))
            self.world.assign(device_id, ASSIGNED[stage])


@dataclass
class Play:
    """The life of one device.

    Attributes:
        make: Makes an agent as a new process would; given the seconds of a trial.
        enter: Tells the owner that a stage begins.
        code: To enrol with.
        folder: Keeps how far the play has come, beside the agent's state.
    """

    make: Callable[[float], Agent]
    enter: Callable[[str, int], None]
    code: EnrolmentCode
    folder: Path

    def run(self, stages: int = STAGES) -> None:
        """From where it was to the end, or so many stages on."""
        for stage in range(self._reached(), min(self._reached() + stages, STAGES)):
            (self.folder / "stage").write_text(str(stage))
            self._stage(stage)
            (self.folder / "stage").write_text(str(stage + 1))

    def _reached(self) -> int:
        path = self.folder / "stage"
        return int(path.read_text() or 0) if path.exists() else 0

    def _stage(self, stage: int) -> None:
        long_trial = stage in {7, 8}
        agent = self.make(1e9 if long_trial else 0.0)
        if stage == 0:
            agent.enrol(self.code, GATEWAY, PROFILE)
            return
        self.enter(agent.device_id, stage)
        agent.open()
        _rounds(agent)
        if stage == 7:
            self._crash_loop()
        elif not long_trial:
            _use(agent)
            _rounds(agent)
            agent.close()

    def _crash_loop(self) -> None:
        """Starts that never end well, until the agent gives the release up."""
        for _ in range(6):
            agent = self.make(1e9).open()
            if not agent.on_trial:
                _rounds(agent)
                return
        raise AssertionError("a crash loop was never left")


def _rounds(agent: Agent) -> None:
    """Go round until a round goes well."""
    errors = []
    for _ in range(_MOST_ROUNDS):
        done = agent.cycle()
        if done.error is None:
            return
        errors.append(str(done.error))
    raise AssertionError(errors)


def _use(agent: Agent) -> None:
    """Ask, agree, withdraw, agree again, and keep receipts; the spool is too small for all observations."""
    for again in (True, False):
        agent.consents.give((Purpose.OPERATIONS, Purpose.DRIFT), subject="home", until_s=agent.clock.now() + 1e6)
        agent.observing.tick()
        for _ in range(3):
            agent.models[WORKLOAD].predict(WINDOW)
        _until_queued(agent)
        if again:
            agent.consents.withdraw()
            agent.observing.tick()
    agent.observe(Kind.RECEIPT, "receipt", b"r")
    for _ in range(12):
        agent.observe(Kind.OBSERVATION, "probe", bytes(400))
    agent.models[WORKLOAD].predict(WINDOW)
    _until_queued(agent)


def _until_queued(agent: Agent) -> None:
    """Let time pass until a window waits, or was pushed out by later records."""
    agent.observing.save()
    for _ in range(500):
        agent.observing.tick()
        if any(record.kind == RecordName.WINDOW for record in agent.spool.waiting(500)):
            return
        time.sleep(0.002)
    raise AssertionError("a window was never closed")


def check_survival(folder: Path, make: Callable[[float], Agent], had_model: bool) -> int | None:
    """What must hold after any crash, without a network: a verified model loads and answers as it should.

    Gives the version that loads, or None where none was installed yet.
    """
    agent = make(1e9).open()
    try:
        answer = agent.models[WORKLOAD].predict(WINDOW)
    except NoModelError:
        assert not had_model, f"the model is gone: {(folder / 'state').exists()}"
        return None
    assert answer == replace(expected(answer.version), latency_us=answer.latency_us, id=answer.id)
    return answer.version


@functools.cache
def expected(version: int) -> Prediction:
    """The answer of a release to `WINDOW`."""
    model = models()[version]
    ready = ReadyVariant(manifest_of(model, version, features=FEATURES), LiteRT(model))
    return ready.answer(ready.quantized(WINDOW), 0)


def check_reports(world: World, device_id: str) -> None:
    """Numbers of reports rise, and no count ever goes back."""
    sequence = 0
    counts: dict[int, tuple[int, int]] = {}
    for report in world.health[device_id]:
        assert report.sequence > sequence
        sequence = report.sequence
        for release in report.releases:
            before = counts.get(release.version, (0, 0))
            if release.phase in {Phase.TRIAL, Phase.GOOD}:
                assert (release.queries, release.errors) >= before, release
                counts[release.version] = (release.queries, release.errors)


def check_observations(world: World, device_id: str, state: Path) -> None:
    """No window came twice or without the consent that covers it, and all of its noise was paid for."""
    agreed: dict[int, Consent] = {}
    seen: set[tuple[float, int, str]] = set()
    spent = 0.0
    for record in sorted(world.telemetry.get(device_id, {}).values(), key=lambda one: one.sequence):
        if record.kind == RecordName.CONSENT:
            consent = cose.opened(record.content, CONSENT, world.devices[device_id].signing, Consent)
            agreed[consent.number] = consent
        if record.kind != RecordName.WINDOW:
            continue
        window = decode_packed(record.content, Window)
        assert Purpose.DRIFT in agreed[window.consent].purposes
        assert not any(number > window.consent and not later.purposes for number, later in agreed.items())
        assert (window.began_s, window.release, window.recipe) not in seen
        seen.add((window.began_s, window.release, window.recipe))
        spent += window.epsilon * len(window.histograms)
    balance = balance_in(Folder(state), time.time())
    assert (balance.spent if balance is not None else 0.0) >= spent - 1e-9
