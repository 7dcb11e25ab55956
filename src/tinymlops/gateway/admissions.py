"""Which requests count: decided durably before they are answered, many in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from tinymlops.errors import StorageError
from tinymlops.fleet import Admission, Fleet, Heard
from tinymlops.gateway.group_commit import Bounds, GroupCommit

_MOST_WAITING = 20_000
_PRUNE_EVERY_S = 5.0


class Admissions:
    """Decides which requests count, durably, before they are answered.

    Args:
        fleet: Keeps nonces and health.
        clock: Seconds since 1970.
        most_in_a_commit: Requests that share a transaction at most.
    """

    def __init__(self, fleet: Fleet, clock: Callable[[], float], most_in_a_commit: int) -> None:
        self._fleet = fleet
        self._clock = clock
        self._pruned_s = clock()
        bounds = Bounds(commit=most_in_a_commit, waiting=_MOST_WAITING)
        self._commits: GroupCommit[Heard, Admission] = GroupCommit(self._commit, bounds, name="admissions")

    async def admit(self, heard: Heard) -> Admission:
        """What becomes of a request; what it carries is kept for good when this returns.

        Raises:
            Refusal: Too many are waiting already.
            StorageError: The database failed; whether the request was kept is not known.
        """
        return await self._commits.add(heard)

    async def drain(self) -> None:
        """Wait until every request that came has its answer."""
        await self._commits.drain()

    def close(self) -> None:
        """Let the thread go."""
        self._commits.close()

    def _commit(self, batch: Sequence[Heard]) -> Sequence[Admission]:
        self._prune()
        return self._fleet.admit(batch)

    def _prune(self) -> None:
        now_s = self._clock()
        if abs(now_s - self._pruned_s) < _PRUNE_EVERY_S:
            return
        self._pruned_s = now_s
        with contextlib.suppress(StorageError):  # requests are waiting; the next round tries again
            self._fleet.prune_nonces(now_s=now_s)
