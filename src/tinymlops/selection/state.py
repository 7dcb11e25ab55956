"""The variant to run on a device in a state: battery, network, and what its user prefers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import msgspec

from tinymlops.devices.profile import DeviceProfile
from tinymlops.measurement import Measurement
from tinymlops.selection.budgets import unchecked
from tinymlops.selection.choice import admit, none_fits
from tinymlops.selection.pareto import TIME_AXES, loss, pareto_front, scores_of, shared
from tinymlops.selection.values import DeviceState, Network, Selection


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


def for_state(
    measurements: Iterable[Measurement],
    profile: DeviceProfile,
    state: DeviceState,
    *,
    installed: frozenset[str] = frozenset(),
) -> Selection:
    """The variant to run on a device in a state, as arXiv 2203.10923 §III.A asks.

    The least ``accuracy × points lost + time × doublings of time + download × doublings of download``
    wins; see `Weights` for the factors. All candidates that fit are looked at, on the front or not.

    Args:
        measurements: Of any devices; those of ``profile`` are looked at.
        profile: The device.
        state: Battery, network, preference.
        installed: Recipes already on the device: they need no download, and offline only they can run.
    """
    candidates, rejected = admit(measurements, profile)
    if state.network == Network.OFFLINE:
        absent = [m.variant.recipe for m in candidates if m.variant.recipe not in installed]
        rejected |= dict.fromkeys(absent, ("not on the device, and the device is offline",))
        candidates = [m for m in candidates if m.variant.recipe in installed]
    if not candidates:
        return none_fits(profile, rejected)
    weights = Weights.of(state)
    ranked = sorted(_penalties(candidates, installed), key=lambda penalty: penalty.order(weights))
    first, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    return Selection(
        device=profile.name,
        recipe=first.recipe,
        reason=f"least penalty {_state_words(state)}: {first.words(weights)}",
        runner_up=second.recipe if second else None,
        runner_up_reason=second.words(weights) if second else "",
        rejected=rejected,
        front=tuple(m.variant.recipe for m in pareto_front(candidates)),
        caveats=unchecked(next(m for m in candidates if m.variant.recipe == first.recipe), profile.budgets),
    )


class _Penalty(msgspec.Struct, frozen=True):
    recipe: str
    points: float
    time: float
    download: float

    def total(self, weights: Weights) -> Fraction:
        # Exact: rounding could let two near equals change places when a weight moves.
        terms = (
            (weights.accuracy, self.points),
            (weights.time, self.time),
            (weights.download, self.download),
        )
        return sum((Fraction(weight) * Fraction(term) for weight, term in terms), Fraction(0))

    def order(self, weights: Weights) -> tuple[Fraction, float, float, float, str]:
        return self.total(weights), self.time, self.download, self.points, self.recipe

    def words(self, weights: Weights) -> str:
        terms = (
            (weights.accuracy, self.points, "points lost"),
            (weights.time, self.time, "doublings of time"),
            (weights.download, self.download, "doublings of download"),
        )
        told = " + ".join(f"{weight:.3g} × {term:.2f} {what}" for weight, term, what in terms if weight)
        return f"{float(self.total(weights)):.2f} = {told}"


def _penalties(candidates: Sequence[Measurement], installed: frozenset[str]) -> list[_Penalty]:
    best = min(candidates, key=loss)
    scores = scores_of(best)
    # A point is a hundredth: of the scale for accuracies, of the best one's error for errors.
    unit = 100.0 if scores.higher_is_better else 100.0 / (abs(scores.validation) or 1.0)
    axes = shared(TIME_AXES, candidates)
    times = [sum(axis(m) or 0.0 for axis in axes) for m in candidates]
    return [
        _Penalty(
            recipe=m.variant.recipe,
            points=unit * (loss(m) - loss(best)),
            time=math.log2(1.0 + time) - math.log2(1.0 + min(times)),
            download=0.0 if m.variant.recipe in installed else math.log2(1.0 + m.variant.gzip_bytes / 1024),
        )
        for m, time in zip(candidates, times, strict=True)
    ]


def _state_words(state: DeviceState) -> str:
    battery = "on mains" if state.battery_fraction is None else f"with {state.battery_fraction:.0%} battery"
    charging = ", charging" if state.charging else ""
    return f"{battery}{charging}, {state.network} network, preference {state.preference:.2g}"
