"""Run challenger and champion on the rows that neither learnt from, and compare them: all rows, and group by group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from tinymlops.drift.suppression import suppress
from tinymlops.drift.values import FLEET
from tinymlops.errors import WorkloadError
from tinymlops.manifests.self_test import host_outputs
from tinymlops.model_file import read_model
from tinymlops.retraining.contest import compare
from tinymlops.retraining.values import Comparison
from tinymlops.workloads.base import Workload
from tinymlops.workloads.renewal import HELD_OUT, RECENT, JudgedRows, Renewal
from tinymlops.workloads.values import Array, Metric, Samples

Floats = NDArray[np.float64]


class Pair(msgspec.Struct, frozen=True):
    """The two models of one kind of device.

    Attributes:
        champion: The ``.tflite`` that it runs.
        challenger: That it would run.
    """

    champion: bytes
    challenger: bytes


_OF_SAMPLES = ("inputs", "targets", "groups")
_OF_ROWS = ("devices", "profiles", "regions")
_OF_SCORES = ("champion", "challenger")


class _Scored(msgspec.Struct, frozen=True):
    rows: JudgedRows
    champion: Floats
    challenger: Floats


def judge(
    workload: Workload, renewal: Renewal, pairs: Mapping[str, Pair], *, seed: int, k: int
) -> tuple[Comparison, ...]:
    """Compare on each set of rows, then on each group of devices of the held out and recent ones together.

    Every row is answered by the models of its device's kind; rows of the workload's own data by those of the first.

    Args:
        workload: Its metric decides.
        renewal: Rows.
        pairs: Kind of device → models, the most important kind first.
        seed: Of the draws.
        k: Groups of fewer devices are not shown: who few are could be told.

    Raises:
        WorkloadError: A model's outputs are not numbers, or the metric is not a mean over rows.
    """
    scored = {name: _score(workload, rows, pairs) for name, rows in renewal.judged.items()}
    named = [*scored.items(), *_groups([scored[name] for name in (HELD_OUT, RECENT) if name in scored], k)]
    better = workload.metric.higher_is_better
    return tuple(
        compare(name, one.champion, one.challenger, one.rows.samples.groups, seed=seed, higher_is_better=better)
        for name, one in named
    )


def row_scores(metric: Metric, targets: Array, outputs: Array) -> Floats:
    """The metric of each row.

    Raises:
        WorkloadError: Their mean is not the metric: how sure it is can't be told from them.
    """
    if metric.of_rows is not None:
        return metric.of_rows(targets, outputs)
    scores = np.array([metric.compute(targets[row : row + 1], outputs[row : row + 1]) for row in range(len(targets))])
    if not np.isclose(scores.mean(), metric.compute(targets, outputs), rtol=1e-6, atol=1e-9):
        raise WorkloadError(
            f"{metric.name} is not a mean over rows", "judge retraining by a metric that is one, such as accuracy"
        )
    return scores


def _score(workload: Workload, rows: JudgedRows, pairs: Mapping[str, Pair]) -> _Scored:
    kinds = np.where(np.isin(rows.profiles, list(pairs)), rows.profiles, next(iter(pairs)))
    found = [np.zeros(len(rows.samples)), np.zeros(len(rows.samples))]
    for kind in np.unique(kinds).tolist():
        chosen = kinds == kind
        part = Samples(rows.samples.inputs[chosen], rows.samples.targets[chosen], rows.samples.groups[chosen])
        for scores, model in zip(found, (pairs[kind].champion, pairs[kind].challenger), strict=True):
            scores[chosen] = _answered(workload, part, model)
    return _Scored(rows, *found)


def _answered(workload: Workload, part: Samples, model: bytes) -> Floats:
    outputs = host_outputs(model, part.inputs, read_model(model, "a variant of the contest"))
    if not np.isfinite(outputs).all():
        raise WorkloadError(f"a model of {workload.name} gives NaN or infinity", "look at its build")
    return row_scores(workload.metric, part.targets, outputs.reshape(len(part), -1))


def _groups(scored: list[_Scored], k: int) -> Iterator[tuple[str, _Scored]]:
    """Rows of each region and each kind of device, as far as no combination of them tells of fewer than k devices."""
    if not scored:
        return
    whole = _joined(scored)
    columns = {"region": whole.rows.regions, "profile": whole.rows.profiles}
    chosen = {
        f"{word}={value}": column == value
        for word, column in columns.items()
        for value in np.unique(column).tolist()
        if value
    }
    cells = {name: set(whole.rows.devices[rows].tolist()) for name, rows in chosen.items()}
    everybody = set(whole.rows.devices.tolist())
    shown = suppress({**cells, FLEET: everybody}, k)
    for name, rows in chosen.items():
        if name in shown and cells[name] != everybody:
            yield name, _part(whole, rows)


def _joined(scored: list[_Scored]) -> _Scored:
    samples = [one.rows.samples for one in scored]
    joined = Samples(*(np.concatenate([getattr(one, name) for one in samples]) for name in _OF_SAMPLES))
    rows = JudgedRows(joined, *(np.concatenate([getattr(one.rows, name) for one in scored]) for name in _OF_ROWS))
    return _Scored(rows, *(np.concatenate([getattr(one, name) for one in scored]) for name in _OF_SCORES))


def _part(whole: _Scored, chosen: NDArray[np.bool_]) -> _Scored:
    samples = Samples(*(getattr(whole.rows.samples, name)[chosen] for name in _OF_SAMPLES))
    rows = JudgedRows(samples, *(getattr(whole.rows, name)[chosen] for name in _OF_ROWS))
    return _Scored(rows, *(getattr(whole, name)[chosen] for name in _OF_SCORES))
