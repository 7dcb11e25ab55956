"""How a round of the agent went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinymlops.errors import TinyMLOpsError


@dataclass(frozen=True)
class Cycle:
    """How a round went.

    Attributes:
        delay_s: When to begin the next one.
        error: What went wrong first, or None.
    """

    delay_s: float
    error: TinyMLOpsError | None = None


def error_of(part: Callable[[], None]) -> TinyMLOpsError | None:
    """What goes wrong in ``part``, or None."""
    try:
        part()
    except TinyMLOpsError as error:
        return error
    return None
