"""Bodies: read while they arrive, never more than is allowed, never for longer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import Request

from tinymlops.gateway.problems import RETRY_S, Refusal
from tinymlops.wire.messages import Problem

_CLOSE = {"Connection": "close"}
"""What was not read yet must not be taken for the next request, nor be read to its end."""


class Bodies:
    """Reads bodies.

    Args:
        most_bytes: Held in memory at once, all requests together.
        timeout_s: How long one may take to arrive, in seconds.
    """

    def __init__(self, most_bytes: int, timeout_s: float) -> None:
        self._free = most_bytes
        self._timeout_s = timeout_s

    @contextlib.asynccontextmanager
    async def read(self, request: Request, most_bytes: int) -> AsyncIterator[bytes]:
        """The body of ``request``; its memory counts as used until the block ends.

        Raises:
            Refusal: It is larger than ``most_bytes``, too slow, or there is no memory for it now.
        """
        held = 0
        parts: list[bytes] = []
        if _announced(request) > most_bytes:
            raise _too_large(most_bytes)
        try:
            async with asyncio.timeout(self._timeout_s):
                async for part in request.stream():
                    held += len(part)
                    self._free -= len(part)
                    parts.append(part)
                    if held > most_bytes:
                        raise _too_large(most_bytes)
                    if self._free < 0:
                        raise _busy()
            yield parts[0] if len(parts) == 1 else b"".join(parts)
        except TimeoutError as error:
            problem = Problem("the body of the request came too slowly", "send it again over a better link")
            raise Refusal(408, "slow body", problem, _CLOSE) from error
        finally:
            self._free += held


def _announced(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    # of a length that is no number, the server in front has made something else already
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _too_large(most_bytes: int) -> Refusal:
    problem = Problem(f"the body of the request is larger than {most_bytes} bytes", "send less at a time")
    return Refusal(413, "large body", problem, _CLOSE)


def _busy() -> Refusal:
    problem = Problem("the gateway has too much to read at once", f"try again in {RETRY_S} seconds")
    return Refusal(503, "busy", problem, {"Retry-After": str(RETRY_S), **_CLOSE})
