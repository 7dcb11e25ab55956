"""What one device is offered: a small target of its own in the signed repository.

The assignment says which release to run and carries the content keys, wrapped for this device alone. It can't bring in
anything new: manifests and packages are targets of their own, listed by a key that is never online.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.errors import FormatError
from tinymlops.wire.encoding import Versioned
from tinymlops.wire.fields import Count, DeviceId, Moment, Sha256OrNothing, TargetPath, Word, WrappedKey

__all__ = ["MOST_COUNTER_STEP", "Assignment", "Offer", "PackageOffer", "TargetPath", "VariantOffer", "target_of"]

MOST_COUNTER_STEP = 2**20
"""How far an assignment's counter may be ahead of the last one that a device took.

Counters grow by one. Whoever has stolen the key that signs assignments could else use a device's up with a single one,
and the owner, once back in charge, could never offer it anything again.
"""
_DEVICE_ID = re.compile(r"[0-9a-f]{32}")


class PackageOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One way to get a variant.

    Attributes:
        path: Target that holds the sealed package.
        key_id: Names its content key.
        wrapped_key: 80 bytes: see `tinymlops.wire.key_wrapping`.
        bytes: Size of the download.
        base: SHA-256 of the model that a difference starts from, or empty for a whole one.
    """

    path: TargetPath
    key_id: Word
    wrapped_key: WrappedKey
    bytes: Count
    base: Sha256OrNothing = ""


class VariantOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of a release.

    Attributes:
        manifest: Target that describes it.
        packages: Smallest first; at least one of them is whole.

    Raises:
        FormatError: None of the packages is whole, so a device may have nothing to start from.
    """

    manifest: TargetPath
    packages: Annotated[tuple[PackageOffer, ...], Meta(min_length=1, max_length=16)]

    def __post_init__(self) -> None:
        if all(package.base for package in self.packages):
            raise FormatError(f"{self.manifest} is offered as differences only", "offer the whole package too")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A release of one workload.

    Attributes:
        workload: Which task.
        version: Of the release.
        variants: The preferred one first. A device keeps all of them and runs the one that suits its state.

    Raises:
        FormatError: A target is of another workload or version: releases are not mixed.
    """

    workload: Word
    version: Count
    variants: Annotated[tuple[VariantOffer, ...], Meta(min_length=1, max_length=8)]

    def __post_init__(self) -> None:
        folder = f"releases/{self.workload}/{self.version}/"
        for variant in self.variants:
            for path in (variant.manifest, *(package.path for package in variant.packages)):
                if not path.startswith(folder):
                    raise FormatError(f"{path} is not a target of {folder}", "make the assignment again")


class Assignment(Versioned, frozen=True, kw_only=True):
    """All that a device is offered.

    Attributes:
        device_id: Whom it is for; a device refuses any other.
        counter: Grows with every assignment of a device; a device refuses an older one, also one that is rolled back.
        issued_s: When, in seconds since 1970.
        offers: One for each workload. A roll-back is a higher counter with a lower version.

    Raises:
        FormatError: Two offers are for one workload.
    """

    device_id: DeviceId
    counter: Count
    issued_s: Moment
    offers: Annotated[tuple[Offer, ...], Meta(max_length=64)] = ()

    def __post_init__(self) -> None:
        workloads = [offer.workload for offer in self.offers]
        if len(set(workloads)) != len(workloads):
            raise FormatError(f"two offers are for one workload: {', '.join(workloads)}", "make the assignment again")

    def may_follow(self, counter: int) -> bool:
        """Whether a device that has taken an assignment with ``counter`` (0 before the first) may take this one."""
        return counter < self.counter <= counter + MOST_COUNTER_STEP


def target_of(device_id: str) -> str:
    """Path of a device's assignment in the repository.

    Raises:
        FormatError: This is no device id.
    """
    if _DEVICE_ID.fullmatch(device_id) is None:
        raise FormatError(f"{device_id!r} is not a device id (32 hexadecimal digits)", "see `tinymlops fleet list`")
    return f"devices/{device_id}"
