"""The Pareto front of one device, and the axes that it is drawn on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from tinymlops.measurement import Figure, Measurement, Scores
from tinymlops.selection.budgets import scale

Axis = Callable[[Measurement], float | None]


def pareto_front(measurements: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """Those of one device's measurements that no other beats in everything, best score first.

    Compared are the validation score and every cost that all of them have: median latency or else
    instructions, model bytes, gzip bytes, memory. Equals are all members. Measurements without a
    score can't be compared and are left out.
    """
    scored = [measurement for measurement in measurements if score(measurement) is not None]
    axes = (loss, *_cost_axes(scored))
    ranked = sorted(
        ((tuple(axis(m) or 0.0 for axis in axes), m) for m in scored),
        key=lambda pair: (pair[0], pair[1].variant.recipe),
    )
    return tuple(m for vector, m in ranked if not any(_dominates(other, vector) for other, _ in ranked))


def time_cost(measurement: Measurement) -> Figure | None:
    """What stands for time on a device: its own median latency, or else exact instructions."""
    return measurement.latency_p50 or measurement.instructions


def memory_cost(measurement: Measurement) -> Figure | None:
    """What the model itself adds to memory, or else the peak of the whole process."""
    return measurement.model_memory or measurement.peak_memory


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value * scale(figure)


TIME_AXES: tuple[Axis, ...] = (lambda m: _value(m.latency_p50), lambda m: _value(m.instructions))
MEMORY_AXES: tuple[Axis, ...] = (lambda m: _value(m.model_memory), lambda m: _value(m.peak_memory))


def _cost_axes(measurements: Sequence[Measurement]) -> list[Axis]:
    sizes: tuple[Axis, ...] = (lambda m: m.variant.model_bytes, lambda m: m.variant.gzip_bytes)
    return [*shared(TIME_AXES, measurements), *sizes, *shared(MEMORY_AXES, measurements)]


def shared(axes: Sequence[Axis], measurements: Sequence[Measurement]) -> list[Axis]:
    """The first axis on which all have a figure, as a list of at most one."""
    return [axis for axis in axes if all(axis(m) is not None for m in measurements)][:1]


def score(measurement: Measurement) -> float | None:
    """The validation score, or None where there is no finite one."""
    scores = measurement.scores
    return scores.validation if scores is not None and math.isfinite(scores.validation) else None


def loss(measurement: Measurement) -> float:
    """The validation score with its direction turned so that less is better."""
    scores = scores_of(measurement)
    return -scores.validation if scores.higher_is_better else scores.validation


def scores_of(measurement: Measurement) -> Scores:
    """The scores of a measurement that must have them.

    Raises:
        ValueError: It has none.
    """
    if measurement.scores is None:
        raise ValueError(f"{measurement.variant.recipe} on {measurement.device} has no score")
    return measurement.scores
