"""Drive a roll-out: look at the fleet, decide, assign. One call is one look; call again after any crash.

What devices are assigned follows from the state of the roll-outs alone, so that a step that was cut short is simply
done by the next one.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from tinymlops.errors import ReleaseError, UnknownNameError
from tinymlops.fleet import Device, Fleet, HealthOf
from tinymlops.releases.assigning import Recipient, make_assignment
from tinymlops.releases.publishing import Publisher
from tinymlops.releases.records import Records, ReleaseRecord
from tinymlops.releases.repository import Repository
from tinymlops.releases.vault import Vault
from tinymlops.rollouts import Audience, DeviceStanding, Limits, Rollout, Target, advance, plan_rollout, wanted_versions
from tinymlops.rollouts.planning import Candidate
from tinymlops.rollouts.values import DEFAULT_LIMITS, DEFAULT_STAGES, EVERYBODY
from tinymlops.wire.assignment import MOST_COUNTER_STEP, Assignment
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.messages import Phase

_ATTEMPTS = 10


@dataclass(frozen=True)
class Steering:
    """What driving roll-outs needs.

    Attributes:
        fleet: The record of devices, their health and the roll-outs.
        repository: Signed; its keyring holds the devices, snapshot and timestamp keys.
        vault: Content keys.
        records: Of the releases.
        clock: Seconds since 1970.
    """

    fleet: Fleet
    repository: Repository
    vault: Vault
    records: Records
    clock: Callable[[], float] = field(default=time.time)

    def start(
        self,
        workload: str,
        version: int | None = None,
        *,
        audience: Audience = EVERYBODY,
        stages: tuple[float, ...] = DEFAULT_STAGES,
        limits: Limits = DEFAULT_LIMITS,
        rollout_id: str | None = None,
    ) -> Rollout:
        """Begin a roll-out; the same ``rollout_id`` again gives the one that was begun.

        Args:
            workload: Which task.
            version: Of the release; the newest if not given.
            audience: Which devices.
            stages: Fractions that rise to 1.
            limits: What it is judged by.
            rollout_id: Names it; made up if not given.

        Raises:
            ReleaseError: No such release, no device for it, or another roll-out of the workload is under way.
            UsageError: The stages do not rise to 1.
        """
        name = rollout_id or f"{workload}-{uuid.uuid4().hex[:8]}"
        known = self.fleet.load_rollout(name)
        if known is not None:
            return decode(known.document, Rollout)
        self._refuse_another(workload)
        release = self._release(workload, version)
        rollout = plan_rollout(
            name,
            workload,
            release.version,
            self._candidates(workload, audience),
            bounds=release.bounds,
            now_s=self.clock(),
            audience=audience,
            stages=stages,
            limits=limits,
        )
        rollout = msgspec.structs.replace(rollout, created_s=self._after_all_others())
        if self.fleet.save_rollout(name, encode(rollout), expected=None, now_s=self.clock()) is None:
            return self.load(name)
        return rollout

    def step(self, rollout_id: str) -> Rollout:
        """Look at the devices once, go on or back if it is time, and assign what follows."""
        rollout = self.change(rollout_id, lambda one: advance(one, self.standings(one), self.clock()))
        self.settle()
        return rollout

    def load(self, rollout_id: str) -> Rollout:
        """The roll-out of that name.

        Raises:
            UnknownNameError: There is none.
        """
        return self.change(rollout_id, lambda rollout: rollout)

    def change(self, rollout_id: str, how: Callable[[Rollout], Rollout]) -> Rollout:
        """Change a roll-out, again from the start whenever somebody else was quicker.

        Raises:
            UnknownNameError: There is none of that name.
            ReleaseError: Others change it all the time.
        """
        for _ in range(_ATTEMPTS):
            stored = self.fleet.load_rollout(rollout_id)
            if stored is None:
                raise UnknownNameError("roll-out", rollout_id, [one.rollout_id for one in self.fleet.rollouts()])
            before = decode(stored.document, Rollout)
            after = how(before)
            if after == before:
                return before
            expected, now_s = stored.version, self.clock()
            if self.fleet.save_rollout(rollout_id, encode(after), expected=expected, now_s=now_s) is not None:
                return after
        raise ReleaseError(f"others keep changing the roll-out {rollout_id}", "try again in a moment")

    def rollouts(self) -> tuple[Rollout, ...]:
        """All roll-outs, the one that was changed last first."""
        return tuple(decode(one.document, Rollout) for one in self.fleet.rollouts())

    def standings(self, rollout: Rollout) -> dict[str, DeviceStanding]:
        """What is known of the devices that a roll-out has come to."""
        ids = [member.device_id for member in rollout.reached()]
        assigned = self.fleet.assignments(ids)
        said: dict[str, list[HealthOf]] = defaultdict(list)
        for one in self.fleet.health(workload=rollout.workload, device_ids=ids):
            said[one.device_id].append(one)
        return {device: _standing(rollout, assigned.get(device), said[device]) for device in ids}

    def settle(self, *, everybody: bool = False) -> int:
        """Assign every device what it shall run, wherever that is not what it was assigned last; how many changed.

        Args:
            everybody: Assign all anew, whatever they were assigned: after the devices key was stolen and exchanged, or
                the record of devices was restored from a copy.
        """
        devices = self.fleet.devices()
        wanted = wanted_versions([_target(device) for device in devices], self._that_count())
        assigned = self.fleet.assignments()
        changed = [
            one for one in devices if everybody or wanted[one.device_id] != _versions(assigned.get(one.device_id))
        ]
        if changed:
            self._assign({device: wanted[device.device_id] for device in changed})
        return len(changed)

    def _assign(self, wanted: Mapping[Device, Mapping[str, int]]) -> None:
        heard = self.fleet.health(device_ids=[device.device_id for device in wanted])
        counters = self.fleet.next_assignment_counters(
            [device.device_id for device in wanted], seen=_counters_seen(heard, self.fleet.assignments())
        )
        running = _models_on(heard)
        pairs = {pair for versions in wanted.values() for pair in versions.items()}
        releases = {pair: self.records.load(*pair) for pair in pairs}
        assignments = [
            make_assignment(
                _recipient(device, running.get(device.device_id, frozenset())),
                [releases[pair] for pair in sorted(versions.items())],
                self.vault,
                counter=counters[device.device_id],
                now_s=self.clock(),
            )
            for device, versions in wanted.items()
        ]
        self.repository.assign({one.device_id: encode(one) for one in assignments})
        self.fleet.record_assignments(assignments)

    def withdraw(self, publisher: Publisher, workload: str, version: int) -> None:
        """Take a release off the signed list for good: nobody can offer it to a device any more, not even a thief.

        Args:
            publisher: With the targets key.
            workload: Which task.
            version: Of the release.

        Raises:
            ReleaseError: There is no such release, or devices are assigned it.
        """
        record = self.records.load(workload, version)
        enrolled = [device.device_id for device in self.fleet.devices()]
        assigned = self.fleet.assignments(enrolled).values()
        offered = [one.device_id for one in assigned if _versions(one).get(workload) == version]
        if offered or any(not one.status.is_final and one.version == version for one in self._of(workload)):
            raise ReleaseError(
                f"{len(offered)} devices are assigned release {version} of {workload}",
                "roll another release out first, or turn its roll-out back",
            )
        publisher.withdraw(record)

    def _candidates(self, workload: str, audience: Audience) -> list[Candidate]:
        devices = [one for one in self.fleet.devices() if audience.holds(_target(one))]
        assigned = self.fleet.assignments(one.device_id for one in devices)
        return [
            Candidate(
                device_id=one.device_id,
                profile=one.profile,
                previous=_versions(assigned.get(one.device_id)).get(workload),
                counter=assigned[one.device_id].counter if one.device_id in assigned else 0,
            )
            for one in devices
        ]

    def _that_count(self) -> list[Rollout]:
        """Roll-outs of releases that still exist."""
        rollouts = self.rollouts()
        existing = {workload: self.records.versions(workload) for workload in {one.workload for one in rollouts}}
        return [one for one in rollouts if one.version in existing[one.workload]]

    def _of(self, workload: str) -> list[Rollout]:
        return [one for one in self.rollouts() if one.workload == workload]

    def _refuse_another(self, workload: str) -> None:
        for other in self._of(workload):
            if not other.status.is_final:
                raise ReleaseError(
                    f"the roll-out {other.rollout_id} of {workload} is {other.status}",
                    f"let it end, or turn it back with `tinymlops rollout back {other.rollout_id}`",
                )

    def _after_all_others(self) -> float:
        """The time, and later than any roll-out's beginning: the newest one decides, also if the clock went back."""
        return max([self.clock(), *(one.created_s + 0.001 for one in self.rollouts())])

    def _release(self, workload: str, version: int | None) -> ReleaseRecord:
        if version is not None:
            return self.records.load(workload, version)
        newest = self.records.newest(workload)
        if newest is None:
            raise ReleaseError(f"there is no release of {workload}", f"make one with `tinymlops release {workload}`")
        return newest


def _standing(rollout: Rollout, assignment: Assignment | None, said: Iterable[HealthOf]) -> DeviceStanding:
    is_assigned = _versions(assignment).get(rollout.workload) == rollout.version
    words = sorted((one.health for one in said), key=lambda health: health.assignment)
    running = [one.version for one in words if one.phase in {Phase.TRIAL, Phase.GOOD}]
    about = [one for one in words if one.version == rollout.version]
    return DeviceStanding(
        assigned_s=assignment.issued_s if assignment is not None and is_assigned else None,
        health=about[-1] if about else None,
        running=running[-1] if running else None,
    )


def _versions(assignment: Assignment | None) -> dict[str, int]:
    return {offer.workload: offer.version for offer in assignment.offers} if assignment is not None else {}


def _target(device: Device) -> Target:
    return Target(device_id=device.device_id, profile=device.profile, tags=device.tags, region=device.region)


def _recipient(device: Device, models: frozenset[str]) -> Recipient:
    return Recipient(keys=device.keys, profile=device.profile, cipher=device.cipher, models=models)


def _models_on(heard: Iterable[HealthOf]) -> dict[str, frozenset[str]]:
    """Device → models that it says it runs."""
    models: dict[str, set[str]] = defaultdict(set)
    for one in heard:
        if one.health.sha256 and one.health.phase in {Phase.GOOD, Phase.TRIAL}:
            models[one.device_id].add(one.health.sha256)
    return {device: frozenset(found) for device, found in models.items()}


def _counters_seen(heard: Iterable[HealthOf], assigned: Mapping[str, Assignment]) -> dict[str, int]:
    """Device → the highest counter that it has reported, unless that is further ahead than a device can be led."""
    seen: dict[str, int] = defaultdict(int)
    for one in heard:
        known = assigned[one.device_id].counter if one.device_id in assigned else 0
        if one.health.assignment <= known + MOST_COUNTER_STEP:
            seen[one.device_id] = max(seen[one.device_id], one.health.assignment)
    return seen
