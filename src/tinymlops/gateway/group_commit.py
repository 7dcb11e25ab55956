"""Group commit: what arrives while one commit is being written shares the next one.

Alone, an item waits for its own commit. In a crowd, each commit serves all that came during the one before it, so
that the disk's pace bounds how long an answer takes and not how many there are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import msgspec

from tinymlops.gateway.problems import RETRY_S, Refusal
from tinymlops.wire.messages import Problem

T = TypeVar("T")
R = TypeVar("R")


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much at once; in items, or in whatever their weights are.

    Attributes:
        commit: Shares a commit at most; a single item may weigh more.
        waiting: Waits at most; more is told to come back.
    """

    commit: int
    waiting: int


class GroupCommit(Generic[T, R]):
    """Hands items to a function, many at a time.

    Args:
        commit: Makes items durable, and gives a result for each. It runs in a thread of its own, one call at a time.
        bounds: How much at once.
        name: Of the thread.
    """

    def __init__(self, commit: Callable[[Sequence[T]], Sequence[R]], bounds: Bounds, *, name: str) -> None:
        self._commit = commit
        self._bounds = bounds
        self._waiting: deque[tuple[T, int, asyncio.Future[R]]] = deque()
        self._weight = 0
        self._working: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    @property
    def weight(self) -> int:
        """Of all that waits."""
        return self._weight

    async def add(self, item: T, weight: int = 1) -> R:
        """The result for ``item``, which is durable then.

        Raises:
            Refusal: Too much is waiting already.
            Exception: What the function raised for the commit that the item was in.
        """
        if self._weight and self._weight + weight > self._bounds.waiting:
            problem = Problem("too many requests are waiting", f"try again in {RETRY_S} seconds")
            raise Refusal(503, "busy", problem, {"Retry-After": str(RETRY_S)})
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, weight, future))
        self._weight += weight
        if self._working is None:
            self._working = loop.create_task(self._work())
        return await future

    async def drain(self) -> None:
        """Wait until everything that came has its result."""
        while self._working is not None:
            await asyncio.wait([self._working])

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown()

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._commit_some(self._take())
        finally:
            self._working = None

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        taken: list[tuple[T, asyncio.Future[R]]] = []
        room = self._bounds.commit
        while self._waiting and (not taken or self._waiting[0][1] <= room):
            item, weight, future = self._waiting.popleft()
            taken.append((item, future))
            room -= weight
            self._weight -= weight
        return taken

    async def _commit_some(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        items = [item for item, _ in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, items)
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
