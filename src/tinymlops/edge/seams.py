"""What an agent needs of the world: a clock, a way to the gateway, an interpreter. Each can be replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Clock(Protocol):
    """Two clocks of a device."""

    def now(self) -> float:
        """Seconds since 1970 by the wall clock, which may be wrong."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back while the process lives."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since boot."""
        return time.monotonic()


@dataclass(frozen=True)
class Call:
    """A request on its way.

    Attributes:
        method: For example ``"POST"``.
        target: Path and query at the gateway; or a whole URL, where the gateway sent us on to its storage.
        headers: With the signature, unless the target is a whole URL.
        body: Empty for a GET.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """An answer whose body is still on its way.

    Attributes:
        status: Of HTTP.
        headers: Names in lower case.
        chunks: The body, as it arrives; may raise `UnreachableError` in the middle.
        close: Ends the connection early; may be called twice.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Iterable[bytes] = ()
    close: Callable[[], None] = lambda: None


class Transport(Protocol):
    """The way to the gateway."""

    def send(self, call: Call) -> Answer:
        """Send a request and wait for the beginning of its answer.

        Raises:
            UnreachableError: No answer begins.
        """
        ...


class Interpreter(Protocol):
    """A model, ready to run; not thread-safe."""

    def invoke(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The raw output tensor for one raw input tensor, both with the leading 1."""
        ...


InterpreterFactory = Callable[[bytes | bytearray], Interpreter]
"""Makes an interpreter of the bytes of a ``.tflite``; raises `DoesNotRunError` where it can't."""
