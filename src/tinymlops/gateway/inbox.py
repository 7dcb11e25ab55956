"""Telemetry as it comes in over HTTP: many requests' records become durable together."""

from __future__ import annotations

from tinymlops.gateway.group_commit import Bounds, GroupCommit
from tinymlops.gateway.settings import GatewaySettings
from tinymlops.telemetry.inbox import Delivery, Inbox


class SharedInbox:
    """An inbox that many requests write to at once.

    Args:
        inbox: Keeps records.
        settings: How much at once.
    """

    def __init__(self, inbox: Inbox, settings: GatewaySettings) -> None:
        bounds = Bounds(commit=settings.segment_bytes, waiting=settings.inbox_bytes)
        self._commits: GroupCommit[Delivery, int] = GroupCommit(inbox.keep, bounds, name="inbox")

    @property
    def waiting_bytes(self) -> int:
        """Not durable yet."""
        return self._commits.weight

    async def keep(self, delivery: Delivery, size: int) -> int:
        """The number of the last record of the device that is kept for good.

        Args:
            delivery: Of a device that has proved who it is.
            size: Bytes that it came in.

        Raises:
            Refusal: Too much is waiting already.
            StorageError: Store or database failed; the device sends everything again.
        """
        return await self._commits.add(delivery, size)

    async def drain(self) -> None:
        """Wait until everything that came is kept or refused."""
        await self._commits.drain()

    def close(self) -> None:
        """Let the thread go."""
        self._commits.close()
