"""The release that serves in the field, and its models: what a challenger has to beat."""

from __future__ import annotations

import math

import msgspec

from tinymlops.errors import ReleaseError
from tinymlops.premises import Premises, passphrase_from_environment
from tinymlops.releases.records import ReleaseRecord
from tinymlops.rollouts import RolloutStatus
from tinymlops.steering import Steering
from tinymlops.wire.encoding import decode
from tinymlops.wire.manifest import Manifest


class Champion(msgspec.Struct, frozen=True, kw_only=True):
    """A release with all that a retraining needs to know of it.

    Attributes:
        record: Of the release.
        values: Numbers that an input has.
    """

    record: ReleaseRecord
    values: int

    @property
    def profiles(self) -> list[str]:
        """Kinds of device that it is for, in its own order."""
        return list(dict.fromkeys(variant.profile for variant in self.record.variants))

    @property
    def recipes(self) -> list[str]:
        """How its variants were made."""
        return list(dict.fromkeys(variant.recipe for variant in self.record.variants))


def release_in_the_field(steering: Steering, workload: str) -> int:
    """Number of the release that devices run: that of the last roll-out that was done, or else the newest one.

    Raises:
        ReleaseError: There is no release, or a roll-out is under way: nobody knows yet what it ends with.
    """
    rollouts = [one for one in steering.rollouts() if one.workload == workload]
    going = next((one for one in rollouts if not one.status.is_final), None)
    if going is not None:
        raise ReleaseError(
            f"the roll-out {going.rollout_id} of {workload} is {going.status}",
            f"let it end, or turn it back with `tinymlops rollout back {going.rollout_id}`, then retrain",
        )
    existing = steering.records.versions(workload)
    done = [one for one in rollouts if one.status is RolloutStatus.DONE and one.version in existing]
    if done:
        return max(done, key=lambda one: one.created_s).version
    if not existing:
        raise ReleaseError(
            f"there is no release of {workload} to improve on",
            f"begin with `tinymlops build {workload}` and `tinymlops release {workload}`",
        )
    return existing[-1]


def read_champion(premises: Premises, workload: str, version: int) -> Champion:
    """The release with what its first manifest says of it."""
    record = premises.records().load(workload, version)
    manifest = decode(premises.repository(passphrase_from_environment).target(record.variants[0].manifest), Manifest)
    return Champion(record=record, values=math.prod(manifest.input.shape))


def champion_models(premises: Premises, champion: Champion) -> dict[str, bytes]:
    """Kind of device → the ``.tflite`` that it prefers, out of the sealed packages."""
    publisher = premises.publisher(passphrase_from_environment)
    record = champion.record
    return {profile: publisher.model(record, record.of_profile(profile)[0].sha256) for profile in champion.profiles}
