"""Signing anew before it runs out: what the online keys can do alone, and what needs a person."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tinymlops.releases.edition import Edition
from tinymlops.releases.repository import Repository
from tinymlops.releases.roles import DEVICES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from tinymlops.releases.values import Published


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """When a role's metadata runs out.

    Attributes:
        role: Its name; of the bins, the one that ends first.
        expires: The end of its life.
        due: Whether half of its life is over, so that somebody should sign it anew.
        online: Whether `renew` does so by itself.
    """

    role: str
    expires: datetime
    due: bool
    online: bool


class Renewal(msgspec.Struct, frozen=True, kw_only=True):
    """What was signed anew.

    Attributes:
        published: The commit.
        renewed: Devices and bins that were due; snapshot and timestamp are in every commit.
        due: What only the offline keys can renew, and is due.
    """

    published: Published
    renewed: tuple[str, ...]
    due: tuple[Expiry, ...]


def renew(repository: Repository) -> Renewal:
    """Sign anew what the online keys sign and what is past half its life. Run it daily; twice does no harm.

    Raises:
        ReleaseError: An online key is not here.
    """
    renewed: list[str] = []

    def change(edition: Edition) -> None:
        renewed[:] = [
            role for role in (*edition.bins(), DEVICES) if _is_due(repository, role, edition.role(role).expires)
        ]
        for role in renewed:
            edition.change(role)

    published = repository.edit(change)
    due = tuple(expiry for expiry in expiries(repository) if expiry.due and not expiry.online)
    return Renewal(published=published, renewed=tuple(renewed), due=due)


def expiries(repository: Repository) -> tuple[Expiry, ...]:
    """When each role runs out, in the order root, targets, devices, bins, snapshot, timestamp."""
    edition = repository.read()
    first_bin = min(edition.bins(), key=lambda name: edition.bin(name).expires)
    ends = {
        ROOT: edition.basis.root.expires,
        TARGETS: edition.targets().expires,
        DEVICES: edition.devices().expires,
        first_bin: edition.bin(first_bin).expires,
        SNAPSHOT: edition.basis.snapshot.expires,
        TIMESTAMP: edition.basis.timestamp.expires,
    }
    return tuple(
        Expiry(role=role, expires=end, due=_is_due(repository, role, end), online=role not in {ROOT, TARGETS})
        for role, end in ends.items()
    )


def _is_due(repository: Repository, role: str, expires: datetime) -> bool:
    return expires - repository.now() < repository.settings.lifetimes.of(role) / 2
