from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import ReleaseError, UsageError
from tinymlops.rollouts import (
    Audience,
    DeviceStanding,
    Limits,
    Rollout,
    RolloutStatus,
    Standing,
    Target,
    advance,
    wanted_versions,
)
from tinymlops.rollouts.planning import Candidate, plan_rollout
from tinymlops.rollouts.rules import count_standings, pause, resume, turn_back
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.manifest import HealthBounds
from tinymlops.wire.messages import Phase, ReleaseHealth

BOUNDS = {"zero": HealthBounds(latency_p95_us=1000.0), "gateway": HealthBounds()}


def devices(count: int, profile: str = "zero", previous: int | None = 1) -> list[Candidate]:
    return [Candidate(device_id=f"{profile}-{i:04}", profile=profile, previous=previous) for i in range(count)]


def planned(count: int = 100, **changes: object) -> Rollout:
    arguments = {"bounds": BOUNDS, "now_s": 0.0} | changes
    return plan_rollout("r1", "activity", 2, devices(count), **arguments)  # type: ignore[arg-type]


def health(phase: Phase = Phase.GOOD, **changes: object) -> ReleaseHealth:
    return ReleaseHealth(workload="activity", version=2, assignment=1, phase=phase, **changes)  # type: ignore[arg-type]


def standings(rollout: Rollout, word: ReleaseHealth | None, at_s: float = 0.0) -> dict[str, DeviceStanding]:
    running = 2 if word and word.phase != Phase.FAILED else 1
    known = DeviceStanding(assigned_s=at_s, health=word, running=running)
    return {one.device_id: known for one in rollout.reached()}


def test_stages_hold_five_then_fifty_then_all_devices() -> None:
    rollout = planned(100)

    sizes = Counter(member.stage for member in rollout.members)

    assert sizes == {0: 5, 1: 45, 2: 50}


def test_every_stage_holds_its_share_of_each_kind() -> None:
    rollout = plan_rollout(
        "r1", "activity", 2, devices(200) + devices(100, "gateway"), bounds=BOUNDS, now_s=0.0, stages=(0.1, 1.0)
    )

    canaries = Counter(member.profile for member in rollout.members if member.stage == 0)

    assert canaries == {"zero": 20, "gateway": 10}


def test_another_rollout_draws_other_canaries_and_the_same_one_the_same() -> None:
    first = {member.device_id for member in planned().reached()}
    again = {member.device_id for member in planned().reached()}
    other = plan_rollout("r2", "activity", 2, devices(100), bounds=BOUNDS, now_s=0.0)

    assert first == again
    assert first != {member.device_id for member in other.reached()}


def test_devices_that_have_the_release_or_have_no_variant_are_left_out() -> None:
    mixed = [*devices(2), *devices(1, "toaster"), Candidate(device_id="new", profile="gateway", previous=2)]

    rollout = plan_rollout("r1", "activity", 2, mixed, bounds=BOUNDS, now_s=0.0)

    assert {member.device_id for member in rollout.members} == {"zero-0000", "zero-0001"}


def test_nobody_to_reach_is_said_in_words() -> None:
    with pytest.raises(ReleaseError, match="no device is waiting for version 2 of activity"):
        plan_rollout("r1", "activity", 2, devices(3, "toaster"), bounds=BOUNDS, now_s=0.0)


@pytest.mark.parametrize("stages", [(), (0.5,), (0.5, 0.2, 1.0), (0.0, 1.0), (0.5, 0.5, 1.0), (0.5, 1.5)])
def test_stages_that_do_not_rise_to_one_are_refused(stages: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="do not rise to 1"):
        planned(10, stages=stages)


def test_good_health_leads_through_all_stages_to_done() -> None:
    rollout = planned(100)
    stages = []
    for _ in range(10):
        stages.append(rollout.stage)
        rollout = advance(rollout, standings(rollout, health()), 1.0)

    assert stages[:3] == [0, 1, 2]
    assert rollout.status == RolloutStatus.DONE


def test_nothing_happens_while_canaries_have_said_nothing() -> None:
    rollout = planned(100)

    assert advance(rollout, standings(rollout, None), 60.0) == rollout


def test_a_downloaded_release_is_no_success() -> None:
    rollout = planned(100)

    for phase in (Phase.DOWNLOADING, Phase.TRIAL):
        assert advance(rollout, standings(rollout, health(phase)), 60.0).stage == 0


def test_word_of_another_version_is_no_success() -> None:
    rollout = planned(100)
    other = msgspec.structs.replace(health(), version=1)

    assert advance(rollout, standings(rollout, other), 60.0).stage == 0


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (health(Phase.FAILED, reason="the self-test differs by 31 steps"), "the self-test differs by 31 steps"),
        (health(Phase.TRIAL, queries=100, errors=2), "2 of 100 queries failed, more than 1.0%"),
        (health(queries=100, latency_p95_us=1500.0), "95 % of queries take up to 1,500 µs, more than 1,000 µs"),
    ],
)
def test_a_breach_turns_the_rollout_back_and_says_why(word: ReleaseHealth, reason: str) -> None:
    rollout = planned(100)
    known = standings(rollout, health())
    known[rollout.reached()[0].device_id] = DeviceStanding(assigned_s=0.0, health=word, running=2)

    turned = advance(rollout, known, 5.0)

    assert turned.status == RolloutStatus.ROLLING_BACK
    assert f"1 of 5 devices failed: {reason}" in turned.reason


def test_a_few_failures_among_many_do_not_stop_it() -> None:
    rollout = msgspec.structs.replace(planned(100), stage=2)
    known = standings(rollout, health())
    for member in rollout.members[:5]:
        known[member.device_id] = DeviceStanding(assigned_s=0.0, health=health(Phase.FAILED), running=1)

    assert advance(rollout, known, 5.0).status == RolloutStatus.DONE


def test_a_failure_in_an_earlier_stage_still_counts() -> None:
    rollout = msgspec.structs.replace(planned(100), stage=1)
    known = standings(rollout, health())
    for member in rollout.members[:5]:
        known[member.device_id] = DeviceStanding(assigned_s=0.0, health=health(Phase.FAILED), running=1)

    assert advance(rollout, known, 5.0).status == RolloutStatus.ROLLING_BACK


def test_errors_in_a_handful_of_queries_say_nothing_yet() -> None:
    rollout = planned(100)

    assert advance(rollout, standings(rollout, health(queries=10, errors=5)), 5.0).stage == 1


def test_silent_canaries_pause_it_after_their_time_and_resuming_gives_them_time_again() -> None:
    rollout = planned(100, limits=Limits(silence_s=60.0))
    paused = advance(rollout, standings(rollout, None), 61.0)

    assert paused.status == RolloutStatus.PAUSED
    assert paused.reason == "5 of 5 devices are silent"
    assert advance(paused, standings(paused, health()), 62.0) == paused
    assert resume(paused, 70.0).status == RolloutStatus.RUNNING


def test_a_silent_minority_does_not_hold_the_others_up() -> None:
    rollout = msgspec.structs.replace(planned(100, limits=Limits(silence_s=60.0)), stage=1)
    known = standings(rollout, health())
    known[rollout.members[0].device_id] = DeviceStanding(assigned_s=0.0)

    assert advance(rollout, known, 10.0).stage == 2


def test_the_last_stage_waits_for_everybody_or_their_silence() -> None:
    rollout = msgspec.structs.replace(planned(100, limits=Limits(silence_s=60.0)), stage=2)
    known = standings(rollout, health())
    known[rollout.members[0].device_id] = DeviceStanding(assigned_s=0.0)

    assert advance(rollout, known, 10.0).status == RolloutStatus.RUNNING
    assert advance(rollout, known, 61.0).status == RolloutStatus.DONE


def test_a_stage_lasts_its_soaking_time() -> None:
    rollout = planned(100, limits=Limits(soak_s=30.0))

    assert advance(rollout, standings(rollout, health()), 29.0).stage == 0
    assert advance(rollout, standings(rollout, health()), 30.0).stage == 1


def test_rolling_back_ends_when_every_device_runs_the_old_release() -> None:
    back = turn_back(planned(100), "because", 5.0)
    still = {one.device_id: DeviceStanding(running=2) for one in back.reached()}
    returned = {one.device_id: DeviceStanding(running=1) for one in back.reached()}

    assert advance(back, standings(back, health()), 6.0).status == RolloutStatus.ROLLING_BACK
    assert advance(back, still, 6.0).status == RolloutStatus.ROLLING_BACK
    assert advance(back, returned, 6.0).status == RolloutStatus.ROLLED_BACK
    assert advance(back, still, 1e9).status == RolloutStatus.ROLLED_BACK


def test_a_stage_without_devices_is_passed_over() -> None:
    rollout = planned(1)

    assert advance(rollout, standings(rollout, health()), 1.0).status == RolloutStatus.DONE


def test_pausing_and_turning_back_leave_an_ended_rollout_alone() -> None:
    done = msgspec.structs.replace(planned(10), status=RolloutStatus.DONE)

    assert pause(done, "x", 1.0) == resume(done, 1.0) == turn_back(done, "x", 1.0) == done


def test_word_of_an_assignment_before_the_rollout_does_not_count() -> None:
    again = plan_rollout(
        "r2",
        "activity",
        2,
        [Candidate(device_id="a", profile="zero", previous=1, counter=7)],
        bounds=BOUNDS,
        now_s=0.0,
    )
    old = msgspec.structs.replace(health(Phase.FAILED), assignment=7)
    new = msgspec.structs.replace(health(), assignment=8)

    assert advance(again, {"a": DeviceStanding(assigned_s=0.0, health=old)}, 1.0).status == RolloutStatus.RUNNING
    assert advance(again, {"a": DeviceStanding(assigned_s=0.0, health=new)}, 1.0).status == RolloutStatus.DONE


def rollout_of(version: int, status: RolloutStatus, created_s: float, stage: int = 2, **changes: object) -> Rollout:
    fresh = plan_rollout(f"r{version}", "activity", version, devices(10), bounds=BOUNDS, now_s=created_s)
    return msgspec.structs.replace(fresh, status=status, stage=stage, **changes)


def targets(count: int = 10) -> list[Target]:
    return [Target(device_id=one.device_id, profile=one.profile, region="eu", tags=("lab",)) for one in devices(count)]


def test_devices_that_were_reached_want_the_release_and_others_what_they_had() -> None:
    first, second = rollout_of(2, RolloutStatus.DONE, 0.0), rollout_of(3, RolloutStatus.RUNNING, 1.0, stage=0)

    wanted = wanted_versions(targets(), [second, first])

    assert Counter(one["activity"] for one in wanted.values()) == {2: 9, 3: 1}


@pytest.mark.parametrize("status", [RolloutStatus.ROLLING_BACK, RolloutStatus.ROLLED_BACK])
def test_after_turning_back_all_want_what_they_had(status: RolloutStatus) -> None:
    rollouts = [rollout_of(2, RolloutStatus.DONE, 0.0), rollout_of(3, status, 1.0)]

    assert {one["activity"] for one in wanted_versions(targets(), rollouts).values()} == {2}
    assert set(map(len, wanted_versions(targets(), rollouts[1:]).values())) == {0}


def test_a_device_that_joins_later_gets_what_ended_well_for_its_likes() -> None:
    newcomer = Target(device_id="new", profile="zero", region="eu", tags=("lab",))
    done = rollout_of(2, RolloutStatus.DONE, 0.0)
    elsewhere = rollout_of(3, RolloutStatus.DONE, 1.0, audience=Audience(regions=("us",)))
    for_field = rollout_of(4, RolloutStatus.DONE, 2.0, audience=Audience(tags=("field",)))
    for_gateways = rollout_of(5, RolloutStatus.DONE, 3.0, audience=Audience(profiles=("gateway",)))
    running = rollout_of(6, RolloutStatus.RUNNING, 4.0)

    assert wanted_versions([newcomer], [done, elsewhere, for_field, for_gateways, running]) == {"new": {"activity": 2}}


def test_a_rollout_survives_being_stored() -> None:
    rollout = advance(planned(10), {}, 1.0)

    assert decode(encode(rollout), Rollout) == rollout


_PHASES = st.sampled_from([None, *Phase])


@given(
    count=st.integers(1, 60),
    words=st.lists(st.lists(_PHASES, min_size=60, max_size=60), min_size=1, max_size=12),
    failure=st.floats(0, 0.5),
)
def test_whatever_devices_say_a_rollout_only_goes_forward_until_it_turns_back(
    count: int, words: list[list[Phase | None]], failure: float
) -> None:
    rollout = planned(count, limits=Limits(silence_s=2.5, failure=failure))
    for at, phases in enumerate(words):
        before = rollout
        known = {
            one.device_id: DeviceStanding(assigned_s=0.0, health=health(phase) if phase else None)
            for one, phase in zip(rollout.reached(), phases, strict=False)
        }
        rollout = advance(rollout, known, float(at))
        counts = sum(count_standings(before, known, float(at)), Counter())
        broken = counts[Standing.FAILED] > failure * counts.total()

        assert rollout.stage >= before.stage
        assert rollout.members == before.members
        if before.status == RolloutStatus.RUNNING:
            assert (rollout.status == RolloutStatus.ROLLING_BACK) == broken
        if rollout.stage > before.stage:
            assert counts[Standing.GOOD]
