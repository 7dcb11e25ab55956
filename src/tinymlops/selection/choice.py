"""The best variant inside a device's budgets, and in words why that one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tinymlops.devices.profile import DeviceProfile
from tinymlops.measurement import Measurement
from tinymlops.selection.budgets import fits, unchecked
from tinymlops.selection.pareto import TIME_AXES, loss, pareto_front, score, scores_of, shared, time_cost
from tinymlops.selection.values import Selection

DEFAULT_TOLERANCE = 0.005
"""Scores this near to the best count as equal: absolute for accuracies, a fraction of the best for errors."""

SAME_TIME = 0.05
"""Times this fraction above the least count as equal to it: wall clocks repeat no better."""


def select(
    measurements: Iterable[Measurement], profile: DeviceProfile, *, tolerance: float = DEFAULT_TOLERANCE
) -> Selection:
    """The best variant inside a device's budgets.

    Of the Pareto front of those that fit, the highest validation score wins, unless others come
    within ``tolerance`` of it: those count as equal, and the cheapest of them wins (time, where more
    than `SAME_TIME` lies between them; then gzip bytes, then score, then name).

    Args:
        measurements: Of any devices; those of ``profile`` are looked at.
        profile: The device.
        tolerance: How near counts as equal; see `DEFAULT_TOLERANCE`.
    """
    candidates, rejected = admit(measurements, profile)
    if not candidates:
        return none_fits(profile, rejected)
    front = pareto_front(candidates)
    ranking = _Ranking(candidates, tolerance)
    winner = ranking.best(front)
    others = [m for m in front if m is not winner] or [m for m in candidates if m is not winner]
    second = ranking.best(others) if others else None
    return Selection(
        device=profile.name,
        recipe=winner.variant.recipe,
        reason=ranking.why(winner),
        runner_up=second.variant.recipe if second else None,
        runner_up_reason=ranking.why_not(second, winner) if second else "",
        rejected=rejected,
        front=tuple(m.variant.recipe for m in front),
        caveats=unchecked(winner, profile.budgets),
    )


def admit(
    measurements: Iterable[Measurement], profile: DeviceProfile
) -> tuple[list[Measurement], dict[str, tuple[str, ...]]]:
    """Those of one device that may run, ordered by recipe, and why the others may not."""
    candidates, rejected = [], {}
    own = (m for m in measurements if m.device == profile.name)
    for measurement in sorted(own, key=lambda m: m.variant.recipe):
        reasons = fits(measurement, profile.budgets)
        if not reasons and score(measurement) is None:
            reasons = ("no validation score: it was measured without labelled data or gave no finite outputs",)
        if reasons:
            rejected[measurement.variant.recipe] = reasons
        else:
            candidates.append(measurement)
    return candidates, rejected


def none_fits(profile: DeviceProfile, rejected: dict[str, tuple[str, ...]]) -> Selection:
    """The answer where nothing may run."""
    reason = f"none of {len(rejected)} variants may run" if rejected else "nothing was measured on this device"
    return Selection(device=profile.name, recipe=None, reason=reason, rejected=rejected)


class _Ranking:
    """Best score first, but equals by cost; and the words for it."""

    def __init__(self, candidates: Sequence[Measurement], tolerance: float) -> None:
        self.count = len(candidates)
        self.top = min(candidates, key=lambda m: (loss(m), m.variant.recipe))
        scores = scores_of(self.top)
        self.metric = scores.metric
        self.margin = tolerance if scores.higher_is_better else tolerance * abs(scores.validation)
        self.equals = [m for m in candidates if self._equal(m)]
        self._time = shared(TIME_AXES, candidates)

    def _equal(self, measurement: Measurement) -> bool:
        # 0.84 - 0.835 is 0.005000000000000004: a thousandth of a millionth decides nothing.
        return round(loss(measurement) - loss(self.top), 9) <= self.margin

    def _time_of(self, measurement: Measurement) -> float:
        return sum(axis(measurement) or 0.0 for axis in self._time)

    def best(self, pool: Sequence[Measurement]) -> Measurement:
        least = min(loss(m) for m in pool)
        equals = [m for m in pool if round(loss(m) - least, 9) <= self.margin]
        quick = (1 + SAME_TIME) * min(map(self._time_of, equals))
        return min(
            (m for m in equals if self._time_of(m) <= quick),
            key=lambda m: (m.variant.gzip_bytes, loss(m), m.variant.recipe),
        )

    def why(self, winner: Measurement) -> str:
        score = _validation(winner)
        if self.count == 1:
            return f"the only variant that may run; validation {self.metric} {score}"
        if len(self.equals) == 1:
            return f"best validation {self.metric} of the {self.count} that may run, {score}"
        cost = _cost_words(winner)
        if _validation(winner) == _validation(self.top):
            return (
                f"best validation {self.metric}, {score}, and the cheapest of the {len(self.equals)} "
                f"within {self.margin:.4g} of it ({cost})"
            )
        return (
            f"validation {self.metric} {score} is within {self.margin:.4g} of the best "
            f"({_validation(self.top)}, {self.top.variant.recipe}), and it is the cheapest of those ({cost})"
        )

    def why_not(self, loser: Measurement, winner: Measurement) -> str:
        score = f"validation {self.metric} {_validation(loser)}"
        if not self._equal(loser):
            return f"{score} is more than {self.margin:.4g} worse than the best, {_validation(self.top)}"
        gzip = loser.variant.gzip_bytes
        if self._time_of(loser) > (1 + SAME_TIME) * self._time_of(winner):
            return f"{score} counts as equal, but it takes {_time_words(loser)} against {_time_words(winner)}"
        if gzip > winner.variant.gzip_bytes:
            return (
                f"{score} counts as equal, but the download is {_kib(gzip)} against {_kib(winner.variant.gzip_bytes)}"
            )
        return f"{score} and every cost count as equal; the score decides, then the name"


def _validation(measurement: Measurement) -> str:
    return f"{scores_of(measurement).validation:.4f}"


def _kib(size_bytes: float) -> str:
    return f"{size_bytes / 1024:,.1f} KiB"


def _time_words(measurement: Measurement) -> str:
    figure = time_cost(measurement)
    if figure is None:
        return "an unknown time"
    unit = "µs" if figure.unit == "us" else figure.unit
    return f"{figure.value:,.0f} {unit}" if figure.unit == "instructions" else f"{figure.value:,.1f} {unit}"


def _cost_words(measurement: Measurement) -> str:
    size = f"{_kib(measurement.variant.gzip_bytes)} to download"
    return size if time_cost(measurement) is None else f"{_time_words(measurement)}, {size}"
