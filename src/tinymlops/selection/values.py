"""What selection answers."""

from __future__ import annotations

import msgspec


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The variant for one device.

    Attributes:
        device: Name of the device profile.
        recipe: The chosen variant, or None when nothing may run.
        reason: Why that one, or why none, in words.
        runner_up: The next best, or None.
        runner_up_reason: Why it lost, in words.
        rejected: Recipe → why it may not run here, for every one that may not.
        front: Recipes on the Pareto front of those that may run, best score first.
        caveats: Budgets that could not be checked for the chosen variant, in words.
    """

    device: str
    recipe: str | None
    reason: str
    runner_up: str | None = None
    runner_up_reason: str = ""
    rejected: dict[str, tuple[str, ...]] = {}
    front: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
