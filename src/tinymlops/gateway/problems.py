"""How an error reaches a device: a status, one sentence, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from tinymlops.errors import (
    FormatError,
    RefusedError,
    StorageError,
    TinyMLOpsError,
    UnreachableError,
    UntrustedError,
    UsageError,
)
from tinymlops.store import NotFoundError
from tinymlops.wire.encoding import encode
from tinymlops.wire.messages import Problem

RETRY_S = 5
"""When to come back after a failure that is not the device's."""

# The first kind that fits counts: NotFoundError is a StorageError.
_STATUSES: tuple[tuple[type[TinyMLOpsError], int, str], ...] = (
    (NotFoundError, 404, "not found"),
    (FormatError, 400, "malformed"),
    (UsageError, 400, "malformed"),
    (UntrustedError, 401, "signature"),
    (RefusedError, 403, "refused"),
    (StorageError, 503, "storage"),
    (UnreachableError, 503, "storage"),
)


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """A request that gets an error for an answer.

    Args:
        status: Of HTTP.
        reason: A word or two for the metrics.
        problem: For the device.
        headers: Of the answer.
    """

    def __init__(self, status: int, reason: str, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, reason, problem)
        self.status = status
        self.reason = reason
        self.problem = problem
        self.headers = dict(headers or {})


def refusal_of(error: TinyMLOpsError) -> Refusal:
    """What a device is told of ``error``. Where the fault is on this side, it learns no names of files or hosts."""
    status, reason = next(
        ((status, reason) for kind, status, reason in _STATUSES if isinstance(error, kind)), (500, "internal")
    )
    if status == 503:
        problem = Problem("the gateway can't reach its storage", f"try again in {RETRY_S} seconds")
        return Refusal(status, reason, problem, {"Retry-After": str(RETRY_S)})
    if status == 500:
        return Refusal(status, reason, INTERNAL)
    if status == 404:
        return not_found()
    return Refusal(status, reason, Problem(error.cause, error.next_step))


def not_found() -> Refusal:
    """There is nothing like that here."""
    return Refusal(404, "not found", Problem("there is nothing like this here", "check the address"))


def too_many(retry_s: int, who: str) -> Refusal:
    """A rate limit is used up."""
    problem = Problem(f"too many requests from this {who}", f"wait {retry_s} seconds")
    return Refusal(429, f"rate of {who}", problem, {"Retry-After": str(retry_s)})


def answer(refusal: Refusal) -> Response:
    """The answer that says it."""
    return json_response(refusal.problem, status=refusal.status, headers=refusal.headers)


def json_response(value: msgspec.Struct, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``value`` as JSON."""
    return Response(encode(value), status, headers, media_type="application/json")


INTERNAL = Problem(
    "the gateway failed", "try again later; if it stays, look into the gateway's log by the request's id"
)
