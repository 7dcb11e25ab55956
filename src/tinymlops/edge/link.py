"""Signed requests to the gateway, with bounds on how much an answer may hold and how slowly it may come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tinymlops.edge.seams import Answer, Call, Transport
from tinymlops.edge.settings import Limits
from tinymlops.edge.trusted_clock import TrustedClock
from tinymlops.errors import FormatError, RefusedError, UnreachableError, UntrustedError
from tinymlops.wire.encoding import decode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import Problem
from tinymlops.wire.request_signing import Request, sign

_GOOD = frozenset({200, 206})
_MOST_WAIT_S = 3600.0
_LONGEST_TEXT = 300


class WrongTimeError(RefusedError):
    """The gateway holds the time of our request for wrong.

    Args:
        now_s: The gateway's. Nobody signed it.
        cause: See `TinyMLOpsError`.
        next_step: See `TinyMLOpsError`.
    """

    def __init__(self, now_s: float, cause: str, next_step: str) -> None:
        super().__init__(cause, next_step)
        self.now_s = now_s


class AbsentError(RefusedError):
    """There is no such thing at the gateway, or not for us.

    Args:
        status: 403 or 404.
        cause: See `TinyMLOpsError`.
        next_step: See `TinyMLOpsError`.
    """

    def __init__(self, status: int, cause: str, next_step: str) -> None:
        super().__init__(cause, next_step)
        self.status = status


class BusyError(UnreachableError):
    """The gateway asks us to come back later.

    Args:
        retry_after_s: When.
        cause: See `TinyMLOpsError`.
        next_step: See `TinyMLOpsError`.
    """

    def __init__(self, retry_after_s: float, cause: str, next_step: str) -> None:
        super().__init__(cause, next_step)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Body:
    """The body of a good answer, on its way.

    Attributes:
        status: 200 or 206.
        headers: Names in lower case.
        chunks: Bounded in size and pace.
    """

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Link:
    """The gateway, as the agent sees it.

    Args:
        transport: Carries requests.
        keys: Sign them.
        clock: Their time, and the measure of pace.
        limits: Of what is accepted.
    """

    def __init__(self, transport: Transport, keys: DeviceKeys, clock: TrustedClock, limits: Limits) -> None:
        self._transport = transport
        self._keys = keys
        self._clock = clock
        self._limits = limits

    def post(self, target: str, body: bytes, *, signed_at_s: float | None = None) -> bytes:
        """The answer to a POST.

        Args:
            target: Path.
            body: Of the request.
            signed_at_s: The time that the request names, where it is not the trusted one.

        Raises:
            UnreachableError: No answer, or one that comes too slowly.
            RefusedError: The gateway says no.
            UntrustedError: The answer is longer than any.
        """
        most_bytes = self._limits.answer_bytes
        with self.open("POST", target, body=body, most_bytes=most_bytes, signed_at_s=signed_at_s) as answer:
            return b"".join(answer.chunks)

    def get(self, target: str, *, most_bytes: int) -> bytes:
        """The answer to a GET, at most ``most_bytes``; raises as `post` does."""
        with self.open("GET", target, most_bytes=most_bytes) as answer:
            return b"".join(answer.chunks)

    @contextmanager
    def open(
        self,
        method: str,
        target: str,
        *,
        most_bytes: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        signed_at_s: float | None = None,
    ) -> Iterator[Body]:
        """The answer while it arrives; raises as `post` does, also in the middle.

        Args:
            method: Of HTTP.
            target: Path and query.
            most_bytes: Longest body that is accepted.
            body: Of the request.
            headers: Beside the signature, which does not cover them.
            signed_at_s: See `post`.
        """
        begun = self._clock.monotonic()
        signed = sign(
            Request(method, target, body), self._keys, now_s=self._clock.now() if signed_at_s is None else signed_at_s
        )
        answer = self._transport.send(Call(method, target, {**signed, **(headers or {})}, body))
        try:
            if answer.status == 307 and method == "GET":
                answer.close()
                answer = self._transport.send(Call("GET", _elsewhere(answer), dict(headers or {})))
            if answer.status not in _GOOD:
                raise self._refusal(answer, target, begun)
            yield Body(answer.status, answer.headers, self._bounded(answer, most_bytes, target, begun))
        finally:
            answer.close()

    def _bounded(self, answer: Answer, most_bytes: int, target: str, begun: float) -> Iterator[bytes]:
        """The chunks of a body, as long as it is neither too long nor too slow.

        Time counts from the request, so an attacker can't win any by holding back the first byte.
        """
        received = 0
        for chunk in answer.chunks:
            received += len(chunk)
            if received > most_bytes:
                raise UntrustedError(
                    f"{target} goes on after the {most_bytes:,} bytes that it may have",
                    "nothing of it is used; it is asked for again later",
                )
            elapsed = self._clock.monotonic() - begun - self._limits.grace_s
            if elapsed > 0 and received < elapsed * self._limits.least_bytes_per_s:
                raise UnreachableError(
                    f"{target} comes at less than {self._limits.least_bytes_per_s:,.0f} bytes a second",
                    "what has come is kept; the rest is asked for later",
                )
            yield chunk

    def _refusal(self, answer: Answer, target: str, begun: float) -> RefusedError | UnreachableError:
        problem = self._problem(answer, target, begun)
        status, cause, step = answer.status, problem.error[:_LONGEST_TEXT], problem.next_step[:_LONGEST_TEXT]
        if status == 401 and problem.now_s is not None:
            return WrongTimeError(problem.now_s, cause, step)
        if status in {403, 404}:
            return AbsentError(status, cause, step)
        if status in {429, 503}:
            return BusyError(_seconds(answer.headers.get("retry-after", "")), cause, step)
        if status >= 500:
            return UnreachableError(cause, step)
        return RefusedError(cause, step)

    def _problem(self, answer: Answer, target: str, begun: float) -> Problem:
        """What the gateway says about an error, in its words if it finds any."""
        chunks = self._bounded(answer, self._limits.answer_bytes, target, begun)
        try:
            return decode(b"".join(chunks), Problem)
        except FormatError:
            return Problem(f"the gateway answered {target} with status {answer.status}", "look into the gateway's log")


def _elsewhere(answer: Answer) -> str:
    """Where an answer sends us. What is there needs no trust: its length and digest are signed.

    Raises:
        UntrustedError: To something that is no web address.
    """
    target = answer.headers.get("location", "")
    if urlsplit(target).scheme not in {"http", "https"}:
        raise UntrustedError("the gateway sends us on to something that is no web address", "look at its settings")
    return target


def _seconds(text: str) -> float:
    return min(float(text), _MOST_WAIT_S) if text.isascii() and text.isdigit() else 0.0
