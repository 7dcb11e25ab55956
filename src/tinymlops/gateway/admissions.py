"""Group commit: requests that arrive while one transaction is being written share the next one.

Alone, a request waits for its own commit. In a crowd, each commit serves all that came during the one before it, so
that the disk's pace bounds how long an answer takes and not how many there are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tinymlops.errors import StorageError
from tinymlops.fleet import Admission, Fleet, Heard
from tinymlops.gateway.problems import RETRY_S, Refusal
from tinymlops.wire.messages import Problem

_MOST_WAITING = 20_000
_PRUNE_EVERY_S = 5.0

Waiting = tuple[Heard, "asyncio.Future[Admission]"]


class Admissions:
    """Decides which requests count, durably, before they are answered.

    Args:
        fleet: Keeps nonces and health.
        clock: Seconds since 1970.
        most_in_a_commit: Requests that share a transaction at most.
    """

    def __init__(self, fleet: Fleet, clock: Callable[[], float], most_in_a_commit: int) -> None:
        self._fleet = fleet
        self._most = most_in_a_commit
        self._clock = clock
        self._waiting: deque[Waiting] = deque()
        self._working: asyncio.Task[None] | None = None
        # One thread: the commits are one after the other anyway.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="admissions")
        self._pruned_s = clock()

    async def admit(self, heard: Heard) -> Admission:
        """What becomes of a request; what it carries is kept for good when this returns.

        Raises:
            Refusal: Too many are waiting already.
            StorageError: The database failed; whether the request was kept is not known.
        """
        if len(self._waiting) >= _MOST_WAITING:
            problem = Problem("too many requests are waiting", f"try again in {RETRY_S} seconds")
            raise Refusal(503, "busy", problem, {"Retry-After": str(RETRY_S)})
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Admission] = loop.create_future()
        self._waiting.append((heard, future))
        if self._working is None:
            self._working = loop.create_task(self._work())
        return await future

    async def drain(self) -> None:
        """Wait until every request that came has its answer."""
        while self._working is not None:
            await asyncio.wait([self._working])

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown()

    async def _work(self) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), self._most)
                await self._commit([self._waiting.popleft() for _ in range(count)])
                await self._prune()
        finally:
            self._working = None

    async def _commit(self, batch: Sequence[Waiting]) -> None:
        heard = [one for one, _ in batch]
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, self._fleet.admit, heard)
        except BaseException as error:
            for _, future in batch:
                if not future.done():  # its client may have gone
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _prune(self) -> None:
        now_s = self._clock()
        if abs(now_s - self._pruned_s) < _PRUNE_EVERY_S:
            return
        self._pruned_s = now_s
        prune = self._fleet.prune_nonces
        with contextlib.suppress(StorageError):  # requests are waiting; the next round tries again
            await asyncio.get_running_loop().run_in_executor(self._thread, lambda: prune(now_s=now_s))
