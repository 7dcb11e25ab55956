"""What a device sends is covered by a consent in the owner's eyes too, however often the person changed it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.devices import SteppingClock, make_agent
from tests.support.gateway_simulator import WORKLOAD, World
from tinymlops.edge.agent import Agent
from tinymlops.telemetry.consents import Given, purposes_of
from tinymlops.wire import cose
from tinymlops.wire.encoding import decode_packed
from tinymlops.wire.observations import CONSENT, Consent, Purpose, RecordName, Window

DAY_S = 86_400.0
OPERATIONS, DRIFT, SAMPLES = Purpose


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([OPERATIONS], [OPERATIONS, DRIFT]),
        ([OPERATIONS, DRIFT], [OPERATIONS]),
        ([OPERATIONS, DRIFT], [OPERATIONS, SAMPLES]),
        ([OPERATIONS], [OPERATIONS]),
    ],
)
def test_a_window_in_which_the_person_changed_their_mind_is_covered(
    tmp_path: Path, world: World, agent: Agent, first: Sequence[Purpose], second: Sequence[Purpose]
) -> None:
    assert agent.cycle().error is None
    clock = SteppingClock(world.now_s)
    clock.pass_time(DAY_S - clock.now_s % DAY_S + 3600)
    device = make_agent(tmp_path / "state", world, clock).open()
    for purposes in (first, second):
        device.consents.give(purposes, subject="home", until_s=clock.now_s + 100 * DAY_S)
        device.observing.look()
        device.models[WORKLOAD].predict([0.5] * 16)
        clock.pass_time(6 * 3600)
    clock.pass_time(DAY_S)
    device.observing.tick()

    records = device.spool.waiting(99)
    given = [
        Given(one.sequence, cose.opened(one.content, CONSENT, device.keys.public.signing, Consent))
        for one in records
        if one.kind == RecordName.CONSENT
    ]
    windows = [(one.sequence, decode_packed(one.content, Window)) for one in records if one.kind == RecordName.WINDOW]
    assert windows
    for sequence, window in windows:
        covered = purposes_of(
            given, sequence=sequence, number=window.consent, began_s=window.began_s, ended_s=window.ended_s
        )
        assert covered == {OPERATIONS}
