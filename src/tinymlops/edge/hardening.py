"""Keeps the decrypted model out of core dumps, other processes' hands and, as far as the system lets us, swap."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


def harden(*, lock_memory: bool = False) -> bool:
    """No core dumps, no reading of this process's memory by others of the same user; whether memory is locked.

    A root user can still read everything. Locking is off unless asked for: with the usual limit (RLIMIT_MEMLOCK of a
    few MiB) later allocations would fail. The systemd unit lifts that limit.

    Args:
        lock_memory: Keep all pages out of swap, once touched.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    if not lock_memory or not unlimited:
        return False
    return bool(libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0)
