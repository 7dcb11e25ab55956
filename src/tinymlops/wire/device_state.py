"""The state of a device, and which variant suits it (arXiv 2203.10923 §III.A).

The same rule holds in the cloud and on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction

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


class Weights(msgspec.Struct, frozen=True):
    """How much each term of the penalty counts. Each depends on one part of the state alone.

    That is what makes the choice monotone: when one weight grows and the others stay, the term it
    multiplies can't grow in the minimum.

    Attributes:
        accuracy: Per point of validation score lost against the best candidate.
        time: Per doubling of time against the fastest candidate.
        download: Per doubling of the download, counted from 1 KiB.
    """

    accuracy: float
    time: float
    download: float

    @classmethod
    def of(cls, state: DeviceState) -> Weights:
        """Weights of a state: 1/16 … 16 for the preference, 1/4 on mains, 1 … 4 as a battery empties, 1 if metered."""
        battery = state.battery_fraction
        fed = battery is None or state.charging
        return cls(
            accuracy=16.0 ** (2.0 * state.preference - 1.0),
            time=0.25 if fed or battery is None else 1.0 + 3.0 * (1.0 - battery),
            download=1.0 if state.network == Network.METERED else 0.0,
        )


class VariantCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant costs against the other candidates.

    Attributes:
        points: Points of validation score lost against the best one.
        time: Doublings of time against the fastest one.
        download: Doublings of the download, counted from 1 KiB; 0 for what is installed.
    """

    points: float = 0.0
    time: float = 0.0
    download: float = 0.0

    def penalty(self, weights: Weights) -> Fraction:
        """``accuracy × points + time × doublings + download × doublings``.

        Exact: rounding could let two near equals change places when a weight moves.
        """
        terms = ((weights.accuracy, self.points), (weights.time, self.time), (weights.download, self.download))
        return sum((Fraction(weight) * Fraction(term) for weight, term in terms), Fraction(0))


def best_for(costs: Sequence[VariantCost], state: DeviceState) -> int:
    """Index of the installed variant to run in ``state``: the least penalty, and among equals the first.

    Args:
        costs: Of what is installed, so downloads cost nothing; at least one.
        state: Of the device.
    """
    weights = Weights.of(state)
    here = [VariantCost(points=cost.points, time=cost.time) for cost in costs]
    return min(range(len(here)), key=lambda index: here[index].penalty(weights))
