"""The time that an agent believes: never before what the gateway has signed, even where the device starts in 1970."""

from __future__ import annotations

import hmac
import os

from tinymlops.edge.seams import Clock
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import FormatError, UntrustedError
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.messages import SignedBytes, TimeAnswer, TimeRequest

_FILE = "clock.json"
_FLOOR_S = 1_767_225_600.0  # 2026-01-01: this software did not exist before
_WORN_AFTER_S = 24 * 3600.0


class HighWater(Versioned, frozen=True, kw_only=True):
    """The latest time that the gateway has signed for this device, in seconds since 1970."""

    at_s: float = 0.0


class TrustedClock:
    """What time it is, for signing requests and for judging what has expired.

    A fresh signed answer counts, in either direction: a clock that runs ahead must not make everything look expired.
    Without one the device's own clock counts. Neither may fall behind the latest time that was ever signed.

    Args:
        clock: The device's own.
        folder: Keeps the high-water mark.
        observe: Told of its transitions.
    """

    def __init__(self, clock: Clock, folder: Folder, observe: Observer) -> None:
        self._clock = clock
        self._folder = folder
        self._observe = observe
        self._high_water_s = _saved(folder)
        self._raised_at = clock.monotonic()
        self._signed: tuple[float, float] | None = None
        self._nonce = b""

    def now(self) -> float:
        """Seconds since 1970."""
        elapsed = self._clock.monotonic() - self._raised_at
        least = self._high_water_s + elapsed
        if self._signed is not None:
            now_s, at = self._signed
            return max(now_s + self._clock.monotonic() - at, least)
        return max(self._clock.now(), least)

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._clock.monotonic()

    def is_worn(self) -> bool:
        """Whether the gateway should be asked: its last answer is old, or the device's own clock can't be right."""
        age = self.now() - self._high_water_s
        impossible = self._signed is None and self._clock.now() < max(self._high_water_s, _FLOOR_S) - 1.0
        return impossible or age > _WORN_AFTER_S

    def question(self) -> TimeRequest:
        """What to ask the gateway; each question has a nonce of its own."""
        self._nonce = os.urandom(16)
        return TimeRequest(nonce=self._nonce)

    def learn(self, answer: SignedBytes, gateway_key: bytes) -> None:
        """Take over the time of a signed answer to the last question.

        Raises:
            UntrustedError: Not signed by the gateway, an answer to another question, or a time before a signed one.
            FormatError: It can't be read.
        """
        told = decode(answer.checked(gateway_key, what="the time answer"), TimeAnswer, what="the time answer")
        if not hmac.compare_digest(told.nonce, self._nonce):
            raise UntrustedError("the time answer is not the one to our question", "ask again")
        if told.now_s < self._high_water_s:
            raise UntrustedError(
                "the gateway's time lies before one that it signed earlier", "set the clock of the gateway right"
            )
        self._observe(Transition.TIME_VERIFIED, "")
        self._folder.write(_FILE, encode(HighWater(at_s=told.now_s)))
        self._high_water_s, self._raised_at = told.now_s, self._clock.monotonic()
        self._signed = (told.now_s, self._clock.monotonic())
        self._observe(Transition.CLOCK_ADVANCED, f"{told.now_s:.0f}")


def _saved(folder: Folder) -> float:
    content = folder.read(_FILE)
    if content is None:
        return 0.0
    try:
        return decode(content, HighWater, what="the saved time").at_s
    except FormatError:
        return 0.0  # damaged by the disk: the next signed answer mends it, and the running model needs no time
