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
from tinymlops.wire.messages import Count, Word

TargetPath = Annotated[str, Meta(max_length=256, pattern=r"^releases/[A-Za-z0-9._-]+/[0-9]+/[A-Za-z0-9._-]+$")]
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
    key_id: Annotated[str, Meta(max_length=64)]
    wrapped_key: Annotated[bytes, Meta(min_length=80, max_length=80)]
    bytes: Count
    base: Annotated[str, Meta(max_length=64)] = ""


class VariantOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One variant of a release.

    Attributes:
        manifest: Target that describes it.
        packages: Smallest first; at least one of them is whole.
    """

    manifest: TargetPath
    packages: Annotated[tuple[PackageOffer, ...], Meta(min_length=1, max_length=16)]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A release of one workload.

    Attributes:
        workload: Which task.
        version: Of the release.
        variants: The preferred one first. A device keeps all of them and runs the one that suits its state.
    """

    workload: Word
    version: Count
    variants: Annotated[tuple[VariantOffer, ...], Meta(min_length=1, max_length=8)]


class Assignment(Versioned, frozen=True, kw_only=True):
    """All that a device is offered.

    Attributes:
        device_id: Whom it is for; a device refuses any other.
        counter: Grows with every assignment of a device; a device refuses an older one, also one that is rolled back.
        issued_s: When, in seconds since 1970.
        offers: One for each workload. A roll-back is a higher counter with a lower version.
    """

    device_id: str
    counter: Count
    issued_s: float
    offers: Annotated[tuple[Offer, ...], Meta(max_length=64)] = ()


def target_of(device_id: str) -> str:
    """Path of a device's assignment in the repository.

    Raises:
        FormatError: This is no device id.
    """
    if _DEVICE_ID.fullmatch(device_id) is None:
        raise FormatError(f"{device_id!r} is not a device id (32 hexadecimal digits)", "see `tinymlops fleet list`")
    return f"devices/{device_id}"
