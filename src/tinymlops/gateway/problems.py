"""How an error reaches a device: a status, one sentence, and what to do next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import msgspec
from starlette.responses import Response

from tinymlops.errors import FormatError, RefusedError, TinyMLOpsError, UntrustedError
from tinymlops.store import NotFoundError
from tinymlops.wire.encoding import encode
from tinymlops.wire.messages import Problem

RETRY_S = 5
"""When to come back after a failure that is not the device's."""


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
    """What a device is told of an error that is not its own fault: no names of files, hosts or keys of this side."""
    if isinstance(error, NotFoundError):
        return not_found()
    problem = Problem("the gateway can't reach its storage", f"try again in {RETRY_S} seconds")
    return Refusal(503, "storage", problem, {"Retry-After": str(RETRY_S)})


@contextlib.contextmanager
def blaming_the_request() -> Iterator[None]:
    """Errors of form and refusals in the block are the request's: it is told them in full.

    Raises:
        Refusal: In their place.
    """
    try:
        yield
    except FormatError as error:
        raise Refusal(400, "malformed", Problem(error.cause, error.next_step)) from error
    except UntrustedError as error:
        raise Refusal(400, "untrusted", Problem(error.cause, error.next_step)) from error
    except RefusedError as error:
        raise Refusal(403, "refused", Problem(error.cause, error.next_step)) from error


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
