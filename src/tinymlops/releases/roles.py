"""Who signs what, and for how long.

==========  ========================================  ===========  =======================
role        says                                      key          lives
==========  ========================================  ===========  =======================
root        which keys count                          offline,     1 year
                                                      2 of 3
targets     every manifest and package that exists    offline      90 days
devices     in which bin a device is looked up        online       30 days
bin-…       what each device is offered               online       30 days
snapshot    which versions of these belong together   online       7 days
timestamp   which snapshot is the newest              online       3 days
==========  ========================================  ===========  =======================

A life is how long a device can be kept in the past by somebody who holds back what is new. Metadata that has run out
stops *updates* only: a device keeps the model it has, and goes on from there when fresh metadata comes, however late.
So the short lives cost nothing but a server that renews them (`Repository.renew`): three days let it be down over a
weekend.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

ROOT, TARGETS, SNAPSHOT, TIMESTAMP, DEVICES = "root", "targets", "snapshot", "timestamp", "devices"
OFFLINE, ONLINE = (ROOT, TARGETS), (DEVICES, SNAPSHOT, TIMESTAMP)
BIN_PREFIX = "bin"
DEVICE_PATHS = "devices/*"


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True):
    """Days until each role's metadata runs out."""

    root_days: float = 365
    targets_days: float = 90
    devices_days: float = 30
    snapshot_days: float = 7
    timestamp_days: float = 3

    def of(self, role: str) -> timedelta:
        """The life of ``role``; bins live as long as the role above them."""
        return timedelta(days=getattr(self, f"{DEVICES if is_bin(role) else role}_days"))


class RepositorySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is chosen once for a repository.

    Attributes:
        bin_bits: 2 to the power of this many bins share the devices. A device whose offer changed fetches one bin and
            the snapshot, 31 bytes for every bin: 256 bins cost 14 KB at 10,000 devices and 69 KB at 100,000, 1,024 bins
            32 KB and 48 KB (`bench/releases.py`).
        lifetimes: See `Lifetimes`.
    """

    bin_bits: int = 8
    lifetimes: Lifetimes = Lifetimes()


def is_bin(role: str) -> bool:
    """Whether ``role`` is one of the bins."""
    return role.startswith(f"{BIN_PREFIX}-")
