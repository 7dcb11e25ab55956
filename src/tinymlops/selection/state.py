"""The variant to run on a device in a state: battery, network, and what its user prefers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from tinymlops.devices.profile import DeviceProfile
from tinymlops.measurement import Measurement
from tinymlops.selection.budgets import unchecked
from tinymlops.selection.choice import admit, none_fits
from tinymlops.selection.pareto import TIME_AXES, loss, pareto_front, scores_of, shared
from tinymlops.selection.values import Selection
from tinymlops.wire.device_state import DeviceState, Network, VariantCost, Weights


def for_state(
    measurements: Iterable[Measurement],
    profile: DeviceProfile,
    state: DeviceState,
    *,
    installed: frozenset[str] = frozenset(),
) -> Selection:
    """The variant to run on a device in a state, as arXiv 2203.10923 §III.A asks.

    The least ``accuracy × points lost + time × doublings of time + download × doublings of download``
    wins; see `tinymlops.wire.device_state.Weights` for the factors. All candidates that fit are looked at, on the
    front or not.

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
    weights, costs = Weights.of(state), costs_of(candidates, installed)
    ranked = sorted(costs, key=lambda recipe: _order(recipe, costs[recipe], weights))
    first, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    return Selection(
        device=profile.name,
        recipe=first,
        reason=f"least penalty {_state_words(state)}: {_words(costs[first], weights)}",
        runner_up=second,
        runner_up_reason=_words(costs[second], weights) if second else "",
        rejected=rejected,
        front=tuple(m.variant.recipe for m in pareto_front(candidates)),
        caveats=unchecked(next(m for m in candidates if m.variant.recipe == first), profile.budgets),
    )


def costs_of(candidates: Sequence[Measurement], installed: frozenset[str] = frozenset()) -> dict[str, VariantCost]:
    """What each variant costs against the others, in the units that the penalty adds up.

    Args:
        candidates: Measurements on one device that may run there; at least one.
        installed: Recipes already on the device: they need no download.
    """
    best = min(candidates, key=loss)
    scores = scores_of(best)
    # A point is a hundredth: of the scale for accuracies, of the best one's error for errors.
    unit = 100.0 if scores.higher_is_better else 100.0 / (abs(scores.validation) or 1.0)
    axes = shared(TIME_AXES, candidates)
    times = [sum(axis(m) or 0.0 for axis in axes) for m in candidates]
    return {
        m.variant.recipe: VariantCost(
            points=unit * (loss(m) - loss(best)),
            time=math.log2(1.0 + time) - math.log2(1.0 + min(times)),
            download=0.0 if m.variant.recipe in installed else math.log2(1.0 + m.variant.gzip_bytes / 1024),
        )
        for m, time in zip(candidates, times, strict=True)
    }


def _order(recipe: str, cost: VariantCost, weights: Weights) -> tuple[Fraction, float, float, float, str]:
    return cost.penalty(weights), cost.time, cost.download, cost.points, recipe


def _words(cost: VariantCost, weights: Weights) -> str:
    terms = (
        (weights.accuracy, cost.points, "points lost"),
        (weights.time, cost.time, "doublings of time"),
        (weights.download, cost.download, "doublings of download"),
    )
    told = " + ".join(f"{weight:.3g} × {term:.2f} {what}" for weight, term, what in terms if weight)
    return f"{float(cost.penalty(weights)):.2f} = {told}"


def _state_words(state: DeviceState) -> str:
    battery = "on mains" if state.battery_fraction is None else f"with {state.battery_fraction:.0%} battery"
    charging = ", charging" if state.charging else ""
    return f"{battery}{charging}, {state.network} network, preference {state.preference:.2g}"
