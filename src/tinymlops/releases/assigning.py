"""What one device is offered: the variants of its kind, with content keys that only it can unwrap."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from tinymlops.errors import ReleaseError
from tinymlops.releases.records import ReleaseRecord, SealedPackage
from tinymlops.releases.vault import Vault
from tinymlops.wire.assignment import Assignment, Offer, PackageOffer, VariantOffer
from tinymlops.wire.identity import PublicKeys
from tinymlops.wire.key_wrapping import wrap
from tinymlops.wire.sealing import Cipher


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """A device, as far as offering goes.

    Attributes:
        keys: Its public keys.
        profile: Its kind.
        cipher: The one that its CPU is quickest with.
        models: SHA-256 of the models that it is known to have: a difference can start from these.
    """

    keys: PublicKeys
    profile: str
    cipher: Cipher
    models: frozenset[str] = frozenset()


def make_assignment(
    recipient: Recipient, releases: Iterable[ReleaseRecord], vault: Vault, *, counter: int, now_s: float
) -> Assignment:
    """An assignment of ``releases``, one for each workload.

    Args:
        recipient: Whom it is for.
        releases: What it shall run.
        vault: Holds the content keys.
        counter: Higher than that of any assignment that the device was given before.
        now_s: Seconds since 1970.

    Raises:
        ReleaseError: A release has no variant for this kind of device.
    """
    return Assignment(
        device_id=recipient.keys.device_id,
        counter=counter,
        issued_s=now_s,
        offers=tuple(_offer(recipient, release, vault) for release in releases),
    )


def _offer(recipient: Recipient, release: ReleaseRecord, vault: Vault) -> Offer:
    variants = release.of_profile(recipient.profile)
    if not variants:
        raise ReleaseError(
            f"release {release.version} of {release.workload} has no variant for {recipient.profile}",
            "release for that kind of device, or leave it out of the roll-out",
        )
    return Offer(
        workload=release.workload,
        version=release.version,
        variants=tuple(
            VariantOffer(
                manifest=variant.manifest,
                packages=tuple(
                    _package(recipient, package, vault)
                    for package in _suitable(release.packages[variant.sha256], recipient)
                ),
            )
            for variant in variants
        ),
    )


def _suitable(packages: Collection[SealedPackage], recipient: Recipient) -> list[SealedPackage]:
    """The whole model, and the differences that this device can start from; smallest first."""
    known = recipient.models
    usable = [one for one in packages if one.cipher == recipient.cipher and (not one.base or one.base in known)]
    return sorted(usable, key=lambda one: one.bytes)


def _package(recipient: Recipient, package: SealedPackage, vault: Vault) -> PackageOffer:
    return PackageOffer(
        path=package.path,
        key_id=package.key_id,
        wrapped_key=wrap(vault.get(package.key_id), recipient.keys, package.key_id),
        bytes=package.bytes,
        base=package.base,
    )
