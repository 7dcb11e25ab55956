"""What selection is asked with and what it answers."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tinymlops.errors import UsageError

FAST, BALANCED, ACCURATE = 0.0, 0.5, 1.0
"""Named preferences for `DeviceState`; anything between is allowed."""


class Network(StrEnum):
    """What a download costs."""

    OFFLINE = "offline"
    METERED = "metered"
    UNMETERED = "unmetered"


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """What a device and its user want at this moment.

    Attributes:
        battery_fraction: Charge left, 0 … 1; None for a device on mains.
        charging: True while a battery is fed: then time costs what it costs on mains.
        network: What a download costs; offline, only an installed variant can run.
        preference: The user's wish, 0 (`FAST`) … 1 (`ACCURATE`).

    Raises:
        UsageError: A fraction outside 0 … 1.
    """

    battery_fraction: float | None = None
    charging: bool = False
    network: Network = Network.UNMETERED
    preference: float = BALANCED

    def __post_init__(self) -> None:
        for name, value in (("battery_fraction", self.battery_fraction), ("preference", self.preference)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise UsageError(f"{name} is {value}", "give a fraction between 0 and 1")


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
