"""What a person at a device agrees to, by the command line; the agent does not run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.devices import SteppingClock, enrolled_agent, make_agent
from tests.support.gateway_simulator import World
from tinymlops.cli.agent import agent
from tinymlops.edge.agent import Agent
from tinymlops.edge.spool import Kind
from tinymlops.errors import RefusedError, UsageError
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.observations import Purpose, RecordName, Sample


@pytest.fixture
def device(tmp_path: Path) -> Agent:
    world = World(time.time())
    return enrolled_agent(tmp_path / "device", world, SteppingClock(world.now_s))


def said(device: Agent, *words: str, answer: str = "") -> Result:
    done = CliRunner().invoke(agent, [*words, "--state", str(device.folder.root)], input=answer)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_a_person_sees_the_words_before_agreeing(device: Agent) -> None:
    refused = said(device, "consent", "give", "samples", answer="n\n")
    assert refused.exit_code == 1
    assert "single inputs a day as they were" in refused.output
    assert device.consents.newest() is None

    agreed = said(device, "consent", "give", "samples", "--subject", "flat-12", "--days", "30", answer="y\n")
    assert agreed.exit_code == 0, agreed.output
    held = device.consents.newest()
    assert held is not None
    assert (held.subject, held.purposes) == ("flat-12", (Purpose.SAMPLES,))
    assert held.until_s == pytest.approx(time.time() + 30 * 86_400, abs=60)


def test_agreeing_to_more_keeps_what_was_agreed_to(device: Agent) -> None:
    said(device, "consent", "give", "operations", "--subject", "flat-12", "--yes")
    said(device, "consent", "give", "drift", "--yes")
    told = json.loads(said(device, "consent", "show", "--json").stdout)["consent"]
    assert (told["purposes"], told["subject"], told["number"]) == (["operations", "drift"], "flat-12", 2)
    assert "operations, drift until" in said(device, "status").output


def test_a_withdrawal_deletes_what_waits_and_says_how_much(device: Agent, tmp_path: Path) -> None:
    said(device, "consent", "give", "operations", "samples", "--yes")
    sample = Sample(
        workload="activity", release=1, recipe="int8", at_s=time.time(), consent=1, inputs=bytes(8), output=(1.0,)
    )
    for _ in range(3):
        device.spool.append(Kind.OBSERVATION, RecordName.SAMPLE, encode_packed(sample))

    done = said(device, "consent", "withdraw", "samples")

    assert "3 records that waited here are deleted" in done.output
    again = make_agent(tmp_path / "device", World(), SteppingClock(time.time()))
    assert [one.kind for one in again.spool.waiting(9)] == [RecordName.CONSENT] * 2
    assert "operations until" in said(device, "consent", "show").output
    assert "nothing (consent 3" in said(device, "consent", "withdraw").output


def test_there_is_nothing_to_withdraw_before_the_first_consent(device: Agent) -> None:
    assert "nothing was ever agreed to" in said(device, "consent", "show").output
    with pytest.raises(UsageError, match="nothing was agreed to"):
        said(device, "consent", "withdraw")


def test_truth_is_told_to_the_agent_that_remembers_the_answer(device: Agent) -> None:
    with pytest.raises(RefusedError, match="no agent runs here"):
        said(device, "feedback", "activity", "17", "walk")
