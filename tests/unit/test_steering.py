from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.owner import PROFILES, WORKLOAD, Owner, make_owner
from tinymlops.errors import ReleaseError, UnknownNameError
from tinymlops.rollouts import Audience, Limits, RolloutStatus
from tinymlops.rollouts.rules import pause, resume, turn_back
from tinymlops.wire.assignment import Assignment
from tinymlops.wire.encoding import decode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import Phase


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return make_owner(tmp_path)


def offered(owner: Owner, keys: DeviceKeys) -> int | None:
    """Version that the signed repository offers a device."""
    content = owner.publisher.repository.assignment(keys.device_id)
    offers = decode(content, Assignment).offers if content is not None else ()
    return offers[0].version if offers else None


def rolled_out(owner: Owner, devices: list[DeviceKeys], version: int, **settings: object) -> None:
    rollout = owner.steering.start(WORKLOAD, version, **settings)  # type: ignore[arg-type]
    for _ in range(10):
        if owner.steering.step(rollout.rollout_id).status.is_final:
            return
        for device in devices:
            if offered(owner, device) == version:
                owner.say(device, version, Phase.GOOD)
    pytest.fail("the roll-out does not end")


def test_canaries_are_offered_the_release_first_and_the_rest_once_they_are_well(owner: Owner) -> None:
    devices = [owner.enrol() for _ in range(4)]
    owner.release(1)
    rollout = owner.steering.start(WORKLOAD, stages=(0.25, 1.0))

    owner.steering.step(rollout.rollout_id)
    canaries = [device for device in devices if offered(owner, device) == 1]
    owner.say(canaries[0], 1, Phase.GOOD)
    owner.steering.step(rollout.rollout_id)

    assert len(canaries) == 1
    assert [offered(owner, device) for device in devices] == [1, 1, 1, 1]


def test_a_failing_canary_turns_everything_back_to_the_release_before(owner: Owner) -> None:
    devices = [owner.enrol() for _ in range(4)]
    owner.release(1)
    rolled_out(owner, devices, 1)
    owner.release(2)
    rollout = owner.steering.start(WORKLOAD, stages=(0.5, 1.0))
    owner.steering.step(rollout.rollout_id)
    canaries = [device for device in devices if offered(owner, device) == 2]
    owner.say(canaries[0], 2, Phase.FAILED, reason="the self-test differs")

    turning = owner.steering.step(rollout.rollout_id)
    after = [offered(owner, device) for device in devices]
    for device in devices:
        owner.say(device, 1, Phase.GOOD)
    ended = owner.steering.step(rollout.rollout_id)

    assert len(canaries) == 2
    assert turning.status == RolloutStatus.ROLLING_BACK
    assert "the self-test differs" in turning.reason
    assert after == [1, 1, 1, 1]
    assert ended.status == RolloutStatus.ROLLED_BACK


def test_a_first_release_that_fails_leaves_devices_with_nothing(owner: Owner) -> None:
    device = owner.enrol()
    owner.release(1)
    rollout = owner.steering.start(WORKLOAD)
    owner.steering.step(rollout.rollout_id)
    owner.say(device, 1, Phase.FAILED)

    owner.steering.step(rollout.rollout_id)

    assert offered(owner, device) is None


def test_every_assignment_of_a_device_has_a_higher_counter(owner: Owner) -> None:
    device = owner.enrol()
    owner.release(1)
    rolled_out(owner, [device], 1)
    first = owner.fleet.assignments()[device.device_id].counter
    owner.release(2)
    rolled_out(owner, [device], 2)

    assert owner.fleet.assignments()[device.device_id].counter > first


def test_settling_twice_assigns_nothing_twice(owner: Owner) -> None:
    owner.enrol()
    owner.release(1)
    owner.steering.start(WORKLOAD)

    assert owner.steering.settle() == 1
    assert owner.steering.settle() == 0


def test_a_step_that_was_cut_short_is_done_by_the_next(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    device = owner.enrol()
    owner.release(1)
    rollout = owner.steering.start(WORKLOAD)
    with monkeypatch.context() as patched:
        patched.setattr(type(owner.fleet), "record_assignments", _crash)
        with pytest.raises(InterruptedError):
            owner.steering.step(rollout.rollout_id)

    owner.steering.step(rollout.rollout_id)

    assert offered(owner, device) == 1
    assert owner.fleet.assignments()[device.device_id].counter == 2


def _crash(_self: object, _assignments: object) -> None:
    raise InterruptedError


def test_a_device_that_joins_after_the_rollout_gets_the_release(owner: Owner) -> None:
    first = owner.enrol()
    owner.release(1)
    rolled_out(owner, [first], 1)

    newcomer = owner.enrol()
    owner.steering.settle()

    assert offered(owner, newcomer) == 1


def test_revoked_devices_are_left_alone(owner: Owner) -> None:
    device, revoked = owner.enrol(), owner.enrol()
    owner.fleet.revoke(revoked.device_id, now_s=owner.now_s)
    owner.release(1)

    rollout = owner.steering.start(WORKLOAD)
    owner.steering.step(rollout.rollout_id)

    assert [member.device_id for member in rollout.members] == [device.device_id]
    assert offered(owner, revoked) is None


def test_an_audience_keeps_others_out(owner: Owner) -> None:
    here, there = owner.enrol(region="eu"), owner.enrol(region="us")
    owner.release(1)

    rolled_out(owner, [here], 1, audience=Audience(regions=("eu",)))

    assert (offered(owner, here), offered(owner, there)) == (1, None)


def test_only_one_rollout_of_a_workload_at_a_time(owner: Owner) -> None:
    owner.enrol()
    owner.release(1)
    first = owner.steering.start(WORKLOAD)

    with pytest.raises(ReleaseError, match=f"the roll-out {first.rollout_id} of tiny is running"):
        owner.steering.start(WORKLOAD)


def test_beginning_again_by_name_goes_on(owner: Owner) -> None:
    owner.enrol()
    owner.release(1)
    begun = owner.steering.start(WORKLOAD, rollout_id="summer")

    assert owner.steering.start(WORKLOAD, rollout_id="summer") == begun


def test_silence_pauses_and_a_person_resumes(owner: Owner) -> None:
    device = owner.enrol()
    owner.release(1)
    rollout = owner.steering.start(WORKLOAD, limits=Limits(silence_s=60.0))
    owner.steering.step(rollout.rollout_id)
    owner.hand[0] += 61.0

    paused = owner.steering.step(rollout.rollout_id)
    owner.steering.change(rollout.rollout_id, lambda one: resume(one, owner.now_s))
    owner.say(device, 1, Phase.GOOD)
    ended = owner.steering.step(rollout.rollout_id)

    assert (paused.status, ended.status) == (RolloutStatus.PAUSED, RolloutStatus.DONE)


def test_a_paused_rollout_reaches_nobody_new(owner: Owner) -> None:
    devices = [owner.enrol() for _ in range(4)]
    owner.release(1)
    rollout = owner.steering.start(WORKLOAD, stages=(0.25, 1.0))
    owner.steering.step(rollout.rollout_id)
    owner.steering.change(rollout.rollout_id, lambda one: pause(one, "lunch", owner.now_s))
    for device in devices:
        if offered(owner, device):
            owner.say(device, 1, Phase.GOOD)

    owner.steering.step(rollout.rollout_id)

    assert sum(offered(owner, device) == 1 for device in devices) == 1


def test_a_person_turns_a_rollout_back(owner: Owner) -> None:
    device = owner.enrol()
    owner.release(1)
    rollout = owner.steering.start(WORKLOAD)
    owner.steering.step(rollout.rollout_id)

    owner.steering.change(rollout.rollout_id, lambda one: turn_back(one, "by hand", owner.now_s))
    owner.steering.settle()

    assert offered(owner, device) is None


def test_an_unknown_rollout_is_said_in_words(owner: Owner) -> None:
    with pytest.raises(UnknownNameError, match="there is no roll-out called 'x'"):
        owner.steering.load("x")


def test_without_a_release_there_is_nothing_to_roll_out(owner: Owner) -> None:
    with pytest.raises(ReleaseError, match="there is no release of tiny"):
        owner.steering.start(WORKLOAD)


def test_both_kinds_of_device_are_offered_their_own_manifest(owner: Owner) -> None:
    devices = {profile: owner.enrol(profile) for profile in PROFILES}
    owner.release(1)
    rolled_out(owner, list(devices.values()), 1)

    for profile, keys in devices.items():
        offer = owner.fleet.assignments()[keys.device_id].offers[0]
        assert profile in offer.variants[0].manifest


def test_a_withdrawn_release_is_off_the_list_and_its_number_is_not_used_again(owner: Owner) -> None:
    device = owner.enrol()
    owner.release(1)
    rolled_out(owner, [device], 1)
    owner.release(2)
    rolled_out(owner, [device], 2)

    owner.steering.withdraw(owner.publisher, WORKLOAD, 1)

    assert not [path for path in owner.publisher.repository.targets() if path.startswith(f"releases/{WORKLOAD}/1/")]
    assert owner.publisher.records.versions(WORKLOAD) == (2,)
    assert owner.publisher.next_version(WORKLOAD) == 3
    with pytest.raises(ReleaseError, match="release 1 of tiny was withdrawn"):
        owner.steering.start(WORKLOAD, 1)


def test_a_release_that_devices_are_assigned_is_not_withdrawn(owner: Owner) -> None:
    device = owner.enrol()
    owner.release(1)
    rolled_out(owner, [device], 1)

    with pytest.raises(ReleaseError, match="1 devices are assigned release 1 of tiny"):
        owner.steering.withdraw(owner.publisher, WORKLOAD, 1)


def test_newcomers_are_not_offered_what_was_withdrawn(owner: Owner) -> None:
    device = owner.enrol()
    for seed in (1, 2):
        owner.release(seed)
        rolled_out(owner, [device], seed)
    owner.release(3)
    newcomer = owner.enrol(region="eu")
    rolled_out(owner, [newcomer], 3, audience=Audience(regions=("eu",)))
    owner.fleet.revoke(newcomer.device_id, now_s=owner.now_s)
    owner.steering.withdraw(owner.publisher, WORKLOAD, 3)

    later = owner.enrol(region="eu")
    owner.steering.settle()

    assert offered(owner, later) == 2


def test_everybody_can_be_assigned_anew(owner: Owner) -> None:
    device = owner.enrol()
    owner.release(1)
    rolled_out(owner, [device], 1)
    before = owner.fleet.assignments()[device.device_id].counter

    assert owner.steering.settle() == 0
    assert owner.steering.settle(everybody=True) == 1
    assert owner.fleet.assignments()[device.device_id].counter == before + 1


def test_counters_go_on_above_what_a_device_has_seen_when_the_record_is_older(owner: Owner) -> None:
    device = owner.enrol()
    owner.release(1)
    rolled_out(owner, [device], 1)
    owner.say(device, 1, Phase.GOOD, assignment=40)

    owner.steering.settle(everybody=True)

    assert owner.fleet.assignments()[device.device_id].counter == 41


def test_a_counter_that_no_device_can_have_seen_is_not_believed(owner: Owner) -> None:
    device = owner.enrol()
    owner.release(1)
    rolled_out(owner, [device], 1)
    owner.say(device, 1, Phase.GOOD, assignment=2**40)

    owner.steering.settle(everybody=True)

    assert owner.fleet.assignments()[device.device_id].counter == 2
