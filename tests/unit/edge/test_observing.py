"""Windows: counted under consent, closed once, noisy once, paid for before; whatever is cut off on the way."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.devices import Crash, Recorder, SteppingClock, make_agent
from tests.support.gateway_simulator import WORKLOAD, World, tiny_model
from tinymlops.edge.agent import Agent
from tinymlops.edge.counting import Runs
from tinymlops.edge.observed import FILE, read_observed
from tinymlops.edge.privacy import balance_in
from tinymlops.edge.settings import AgentSettings, ObservationSettings, Sampling
from tinymlops.edge.spool import Kind
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition
from tinymlops.errors import StorageError, UsageError
from tinymlops.wire.device_state import Network
from tinymlops.wire.encoding import decode_packed
from tinymlops.wire.observations import LATENCY_EDGES_US, Consent, Purpose, RecordName, Sample, Window

DAY_S = 86_400.0
LOUD = 300.0
"""An ε whose noise is 0 for certain, as far as a test can tell: counts can be looked at."""
INPUT = np.linspace(-4, 4, 16, dtype=np.float32)
ALL = tuple(Purpose)
BOTH = (Purpose.OPERATIONS, Purpose.DRIFT)


class Device:
    """A device with a model, whose time is moved by hand."""

    def __init__(self, folder: Path, world: World, clock: SteppingClock, **settings: Any) -> None:
        self.folder, self.world, self.clock = folder, world, clock
        self.settings = ObservationSettings(**{"epsilon": LOUD, "budget": 100 * LOUD, **settings})
        self.network = Network.UNMETERED
        self.recorder = Recorder()
        self.agent = self.started()

    def started(self, die_at: Transition | None = None, occurrence: int = 1) -> Agent:
        self.recorder = Recorder(die_at, occurrence)
        options = {"observations": self.settings, "network": self.network}
        self.agent = make_agent(self.folder, self.world, self.clock, self.recorder, **options).open()
        return self.agent

    def agree(self, *purposes: Purpose, days: float = 1000) -> Consent:
        given = self.agent.consents.give(purposes, subject="home", until_s=self.clock.now_s + days * DAY_S)
        self.agent.observing.look()
        return given

    def ask(self, times: int = 1, values: Any = INPUT) -> int:
        """The number of the last answer."""
        return [self.agent.models[WORKLOAD].predict(values).id for _ in range(times)][-1]

    def next_day(self) -> None:
        self.clock.pass_time(DAY_S)
        self.agent.observing.tick()

    def waiting(self, name: RecordName = RecordName.WINDOW) -> list[bytes]:
        return [record.content for record in self.agent.spool.waiting(1000) if record.kind == name]

    def windows(self) -> list[Window]:
        return [decode_packed(content, Window) for content in self.waiting()]

    def samples(self) -> list[Sample]:
        return [decode_packed(content, Sample) for content in self.waiting(RecordName.SAMPLE)]

    @property
    def spent(self) -> float:
        balance = balance_in(Folder(self.folder), self.clock.now_s)
        return 0.0 if balance is None else balance.spent


MakeDevice = Callable[..., Device]


@pytest.fixture
def make(tmp_path: Path, world: World, clock: SteppingClock, agent: Agent) -> MakeDevice:
    """Makes the device, with release 1 installed."""
    assert agent.cycle().error is None

    def made(**settings: Any) -> Device:
        return Device(tmp_path / "state", world, clock, **settings)

    return made


def test_without_consent_nothing_is_counted_kept_or_sent(make: MakeDevice) -> None:
    device = make()
    device.ask(100)
    device.next_day()
    device.agent.cycle()
    device.agent.close()

    assert not device.waiting()
    assert not device.world.telemetry
    assert not (device.folder / FILE).exists()
    assert not any("telemetry" in asked for asked in device.world.asked)


def test_a_window_holds_what_was_seen_and_answered(make: MakeDevice) -> None:
    device = make()
    given = device.agree(*BOTH)
    device.ask(3)
    device.ask(2, np.full(16, 2.0))
    before = device.clock.now_s

    device.next_day()

    (window,) = device.windows()
    manifest = device.agent.models[WORKLOAD].manifest()
    assert (window.workload, window.release, window.layout) == (WORKLOAD, 1, manifest.layout)
    assert (window.queries, window.errors, window.labelled, window.consent) == (5, 0, 0, given.number)
    assert window.histograms[0] == (3, 0, 0, 2)  # channel 0 is −4 in the first input, and 2 in the second
    assert window.histograms[1] == (3, 0, 0, 2)
    assert [sum(bins) for bins in window.histograms] == [5, 5, 5, 5, 0]
    assert sum(window.latencies) == 5
    assert len(window.latencies) == len(LATENCY_EDGES_US) + 1
    assert window.memory_kib is None or window.memory_kib > 1000
    assert window.began_s == before
    assert window.ended_s == (before // DAY_S + 1) * DAY_S
    assert window.epsilon == LOUD / 5


def test_a_device_that_is_told_the_energy_of_a_query_tells_that_of_all(
    tmp_path: Path, world: World, clock: SteppingClock, agent: Agent
) -> None:
    world.release(2, [tiny_model(2)], energy_uj=15.5)
    world.assign(agent.device_id, 2)
    agent.cycle()
    device = Device(tmp_path / "state", world, clock)
    device.agree(Purpose.OPERATIONS)
    device.ask(4)
    device.next_day()

    (window,) = device.windows()
    assert window.energy_uj == 62.0


def test_each_purpose_gets_its_own_and_nothing_of_the_others(make: MakeDevice) -> None:
    told = {}
    for purpose in Purpose:
        device = make()
        device.agree(purpose)
        device.agent.models[WORKLOAD].feedback(device.ask(2), "sit")
        device.next_day()
        told[purpose] = (device.windows(), device.samples())
        device.agent.spool.purge(lambda _: True)

    (operations,), no_samples = told[Purpose.OPERATIONS]
    assert (operations.histograms, operations.epsilon, operations.labelled) == ((), 0.0, 0)
    assert (operations.queries, sum(operations.latencies)) == (2, 2)
    (drift,), none_either = told[Purpose.DRIFT]
    assert (drift.latencies, drift.memory_kib, drift.energy_uj, drift.channels) == ((), None, None, ())
    assert (len(drift.histograms), drift.labelled) == (5, 1)
    windows, samples = told[Purpose.SAMPLES]
    assert not windows
    assert len(samples) == 2
    assert not no_samples + none_either


def test_a_withdrawal_deletes_what_waits_and_the_window_under_way(make: MakeDevice) -> None:
    device = make()
    device.agree(*ALL)
    device.ask(40)
    device.next_day()
    device.ask(40)
    device.agent.observing.save()
    assert device.windows()

    device.agent.consents.withdraw()
    assert device.agent.observing.look() > 1
    device.next_day()

    assert not device.waiting()
    assert not device.waiting(RecordName.SAMPLE)
    assert not read_observed(Folder(device.folder)).tallies
    assert len(device.waiting(RecordName.CONSENT)) == 2
    raw = b"".join(path.read_bytes() for path in (device.folder / "spool" / "observations").glob("*"))
    assert INPUT.astype("<f4").tobytes() not in raw


def test_a_withdrawal_while_the_agent_is_off_holds_when_it_starts(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    device.ask(5)
    device.next_day()
    device.ask(5)
    device.agent.close()
    device.agent.consents.withdraw()
    device.agent.consents.give(BOTH, subject="home", until_s=device.clock.now_s + 10 * DAY_S)

    device.started().observing.tick()
    assert not device.waiting()
    device.next_day()

    assert not device.waiting(), "agreeing again does not bring back what was withdrawn"
    assert len(device.waiting(RecordName.CONSENT)) == 3


def test_one_purpose_withdrawn_leaves_the_other(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    device.ask(5)
    device.agent.consents.withdraw([Purpose.DRIFT])
    device.next_day()

    (window,) = device.windows()
    assert (window.histograms, window.consent, sum(window.latencies)) == ((), 1, 5)


def test_a_running_agent_sees_a_withdrawal_before_its_next_query_a_quarter_of_a_second_later(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    device.ask(5)
    device.agent.consents.withdraw()
    device.clock.pass_time(0.25)
    device.ask(5)
    device.agent.observing.save()

    assert not read_observed(Folder(device.folder)).tallies


def test_a_consent_that_is_over_lets_nothing_leave(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH, days=1.5)
    device.ask(5)
    device.next_day()
    assert device.windows()

    device.next_day()
    device.agent.cycle()

    assert not device.waiting()
    records = device.world.telemetry.get(device.agent.device_id, {}).values()
    assert {record.kind for record in records} == {RecordName.CONSENT}


def test_consents_go_ahead_of_the_windows_that_they_cover(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    device.ask()
    device.next_day()
    device.agent.cycle()

    sent = device.world.telemetry[device.agent.device_id]
    assert [sent[number].kind for number in sorted(sent)] == [RecordName.CONSENT, RecordName.WINDOW]


@pytest.mark.parametrize("network", [Network.METERED, Network.OFFLINE])
def test_on_a_metered_network_consents_leave_and_windows_wait(make: MakeDevice, network: Network) -> None:
    device = make()
    device.network = network
    device.started()
    device.agree(*BOTH)
    device.ask()
    device.next_day()
    assert device.agent.cycle().error is None
    sent = device.world.telemetry[device.agent.device_id]
    assert [record.kind for record in sent.values()] == [RecordName.CONSENT]
    assert device.windows()

    device.network = Network.UNMETERED
    device.started().cycle()

    assert [sent[number].kind for number in sorted(sent)] == [RecordName.CONSENT, RecordName.WINDOW]


def test_windows_may_be_allowed_on_a_metered_network(make: MakeDevice) -> None:
    device = make(metered=True)
    device.network = Network.METERED
    device.started()
    device.agree(*BOTH)
    device.ask()
    device.next_day()
    device.agent.cycle()

    assert RecordName.WINDOW in {record.kind for record in device.world.telemetry[device.agent.device_id].values()}


def test_a_spent_budget_keeps_histograms_here_also_after_a_restart(make: MakeDevice) -> None:
    device = make(epsilon=1.0, budget=2.0)
    device.agree(*BOTH)
    for _ in range(4):
        device.ask(10)
        device.next_day()
        device.started()

    told = device.windows()
    assert [len(window.histograms) for window in told] == [5, 5, 0, 0]
    assert [window.queries for window in told] == [10] * 4
    assert [window.epsilon for window in told] == [0.2, 0.2, 0.0, 0.0]
    assert device.spent == 2.0


def test_a_spent_budget_leaves_nothing_to_tell_where_only_drift_was_agreed_to(make: MakeDevice) -> None:
    device = make(epsilon=1.0, budget=1.0)
    device.agree(Purpose.DRIFT)
    for _ in range(3):
        device.ask(10)
        device.next_day()

    assert len(device.windows()) == 1


def test_counts_are_noisy(make: MakeDevice) -> None:
    device = make(epsilon=0.5, budget=100.0)
    device.agree(*BOTH)
    for _ in range(3):
        device.ask(10)
        device.next_day()

    told = device.windows()
    assert len({window.histograms for window in told}) == 3
    assert any(count < 0 for window in told for bins in window.histograms for count in bins)


def test_a_day_in_two_runs_is_one_window(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    device.ask(70)
    device.agent.close()
    device.started()
    device.ask(30)
    device.next_day()

    (window,) = device.windows()
    assert (window.queries, sum(window.histograms[0]), sum(window.latencies)) == (100, 100, 100)


def test_a_window_that_ended_while_the_device_was_off_is_closed_at_the_start(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    device.ask(7)
    device.agent.close()
    device.clock.pass_time(3 * DAY_S)
    device.started().observing.tick()

    assert [window.queries for window in device.windows()] == [7]


def test_power_that_goes_loses_no_more_than_what_was_counted_since_the_last_save(make: MakeDevice) -> None:
    device = make(saved_every_s=60.0)
    device.agree(*BOTH)
    device.ask(10)
    device.clock.pass_time(61)
    device.agent.observing.tick()
    device.ask(5)
    device.started()
    device.next_day()

    assert [window.queries for window in device.windows()] == [10]


CUTS = [
    (transition, occurrence)
    for transition, most in (
        (Transition.PRIVACY_SPENT, 2),
        (Transition.WINDOW_CLOSED, 2),
        (Transition.OBSERVATION_APPENDED, 2),
        (Transition.WINDOW_QUEUED, 2),
        (Transition.COUNTS_SAVED, 2),
    )
    for occurrence in range(1, most + 1)
]


@pytest.mark.parametrize(("transition", "occurrence"), CUTS, ids=str)
def test_wherever_power_goes_a_window_is_told_once_and_paid_for(
    make: MakeDevice, transition: Transition, occurrence: int
) -> None:
    device = make(epsilon=1.0, budget=100.0)
    device.agree(*BOTH)
    device.started(transition, occurrence)
    cut = 0
    for _ in range(2):
        try:
            device.ask(10)
            device.agent.observing.save()
            device.next_day()
        except Crash:
            cut += 1
            device.started().observing.tick()
            if transition is Transition.COUNTS_SAVED:
                device.next_day()
    device.next_day()

    told = device.windows()
    assert cut == 1
    assert [window.queries for window in told] == [10, 10]
    assert len({window.began_s for window in told}) == 2
    paid = sum(window.epsilon * len(window.histograms) for window in told)
    assert paid == pytest.approx(2.0)
    assert device.spent in {2.0, 3.0}
    assert (device.spent == 3.0) == (transition is Transition.PRIVACY_SPENT)


@pytest.mark.parametrize("transition", [Transition.OBSERVATIONS_PURGED, Transition.CONSENT_QUEUED])
def test_wherever_power_goes_a_withdrawal_is_carried_out(make: MakeDevice, transition: Transition) -> None:
    device = make()
    device.agree(*BOTH)
    device.ask(10)
    device.next_day()
    device.started(transition)
    device.agent.consents.withdraw()
    with pytest.raises(Crash):
        device.agent.observing.look()

    device.started().observing.tick()

    assert not device.waiting()
    consents = device.waiting(RecordName.CONSENT)
    assert len(set(consents)) == 2


def test_a_full_disk_loses_no_window(make: MakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    device = make(epsilon=1.0)
    device.agree(*BOTH)
    device.ask(10)
    device.agent.observing.save()
    monkeypatch.setattr(device.agent.folder, "_quota", device.agent.folder.used() + 150)
    for _ in range(5):
        device.clock.pass_time(DAY_S)
        assert device.agent.cycle().error is not None
    monkeypatch.setattr(device.agent.folder, "_quota", None)

    device.agent.observing.tick()

    assert [window.queries for window in device.windows()] == [10]
    assert device.spent == 1.0, "a try that failed is not paid for again"


def test_what_is_in_the_spool_when_the_disk_fills_up_is_not_put_there_again(
    make: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = make(samples_a_day=3)
    device.agree(*ALL)
    device.ask(10)
    spool, append = device.agent.spool, device.agent.spool.append

    def fills_up(kind: Kind, name: str, content: bytes) -> int:
        if len(spool.waiting(99)) >= 3:
            raise StorageError("the disk is full", "free some space")
        return append(kind, name, content)

    monkeypatch.setattr(spool, "append", fills_up)
    with pytest.raises(StorageError):
        device.next_day()
    monkeypatch.setattr(spool, "append", append)
    device.agent.cycle()
    device.agent.observing.tick()
    device.agent.cycle()

    sent = [record.kind for record in device.world.telemetry[device.agent.device_id].values()]
    assert sent == [RecordName.CONSENT, RecordName.WINDOW, *[RecordName.SAMPLE] * 3]


def test_truth_that_comes_later_becomes_errors(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    model = device.agent.models[WORKLOAD]
    answers = [model.predict(INPUT) for _ in range(3)]
    right, wrong = answers[0].label, next(label for label in model.manifest().labels if label != answers[0].label)

    assert model.feedback(answers[0].id, right)
    assert model.feedback(answers[1].id, model.manifest().labels.index(wrong))
    assert not model.feedback(answers[0].id, wrong), "a truth counts once"
    assert not model.feedback(answers[0].id + 12_345, right)
    with pytest.raises(UsageError, match="no class of this model"):
        model.feedback(answers[2].id, "flying")
    device.next_day()

    (window,) = device.windows()
    assert (window.histograms[4], window.labelled, window.queries) == ((1, 1), 2, 3)


def test_an_answer_of_another_process_has_no_truth_here(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    number = device.ask()
    device.agent.close()
    device.started()
    device.ask()

    assert not device.agent.models[WORKLOAD].feedback(number, "sit")


def test_sensors_that_give_nothing_or_stand_still_are_told_and_others_not(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    rng = np.random.default_rng(1)
    for _ in range(30):
        values = rng.normal(size=16).astype(np.float32)
        values[3] = 7.0
        device.ask(1, values)
    values[0] = np.nan
    for _ in range(4):
        with pytest.raises(UsageError):
            device.ask(1, values)
    device.next_day()

    (window,) = device.windows()
    assert [(one.channel, one.missing, one.stuck) for one in window.channels] == [(0, 4, 0), (3, 0, 30)]
    assert window.queries == 30


@pytest.mark.parametrize("sampling", list(Sampling))
def test_samples_are_few_and_have_their_truth(make: MakeDevice, sampling: Sampling) -> None:
    device = make(sampling=sampling, samples_a_day=4)
    device.agree(Purpose.SAMPLES)
    rng = np.random.default_rng(2)
    model, sure = device.agent.models[WORKLOAD], {}
    for _ in range(100):
        answer = model.predict(rng.normal(size=16))
        sure[answer.id] = max(answer.confidences)
        model.feedback(answer.id, answer.label)
    device.next_day()
    device.ask(50)
    device.next_day()

    samples = device.samples()
    assert len(samples) == 8
    assert all(len(one.inputs) == 64 and len(one.output) == 4 for one in samples)
    assert all(one.truth is not None for one in samples[:4])
    if sampling is Sampling.UNCERTAIN:
        assert sorted(max(one.output) for one in samples[:4]) == sorted(sure.values())[:4]


def test_samples_keep_to_the_bytes_of_a_day(make: MakeDevice) -> None:
    device = make(sample_bytes_a_day=200)
    device.agree(Purpose.SAMPLES)
    device.ask(100)
    device.next_day()

    assert len(device.samples()) == 3


def test_two_releases_on_one_day_are_two_windows(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    device.ask(3)
    device.world.release(2, [tiny_model(2)])
    device.world.assign(device.agent.device_id, 2)
    device.agent.cycle()
    device.ask(4)
    device.next_day()

    assert sorted((window.release, window.queries) for window in device.windows()) == [(1, 3), (2, 4)]


def test_damaged_counts_are_given_up_and_the_agent_goes_on(make: MakeDevice) -> None:
    device = make()
    device.agree(*BOTH)
    device.ask(3)
    device.agent.close()
    (device.folder / FILE).write_bytes(b"\x93broken")
    device.started()
    device.ask(2)
    device.next_day()

    assert [window.queries for window in device.windows()] == [2]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="epsilon is 0"):
        ObservationSettings(epsilon=0)
    assert AgentSettings().observations.budget >= 30 * AgentSettings().observations.epsilon


def test_counting_is_cheap_while_nobody_agreed_and_when_they_did(make: MakeDevice) -> None:
    """Ten times what is measured on a quiet machine; bench/agent.py has the figures."""
    device = make()
    without = _median_us(device)
    device.agree(*BOTH)

    assert _median_us(device) - without < 100


def _median_us(device: Device) -> float:
    model, taken = device.agent.models[WORKLOAD], []
    for _ in range(300):
        begun = time.perf_counter_ns()
        model.predict(INPUT)
        taken.append((time.perf_counter_ns() - begun) / 1e3)
    return float(np.median(taken))


@given(st.lists(st.lists(st.integers(0, 1), min_size=2, max_size=2), min_size=1, max_size=60), st.integers(1, 20))
def test_runs_are_the_longest_stretches_of_one_value_however_they_are_cut(rows: list[list[int]], size: int) -> None:
    values = np.array(rows, np.float32)[:, None, :]
    runs = Runs([0, 0])
    for start in range(0, len(values), size):
        runs.follow(values[start : start + size])

    wanted = [
        max(len(list(group)) for _, group in itertools.groupby(values[:, 0, channel].tolist())) for channel in (0, 1)
    ]
    assert runs.longest.tolist() == wanted
