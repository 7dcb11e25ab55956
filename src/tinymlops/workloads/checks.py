"""Refuse a split that would teach nonsense or flatter the result, before any time is spent on it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from tinymlops.errors import WorkloadError
from tinymlops.workloads.base import Workload
from tinymlops.workloads.values import Samples, Split, Task


def check_workload(workload: object, source: str) -> Workload:
    """``workload`` itself, if it has a usable name and labels.

    Raises:
        WorkloadError: It is no ``Workload``, or its name, labels or budget can't be used.
    """
    if not isinstance(workload, Workload):
        raise WorkloadError(
            f"{source} is no Workload", "subclass tinymlops.workloads.Workload, as docs/workloads.md shows"
        )
    name = getattr(workload, "name", "")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise WorkloadError(f"{source} has the name {name!r}", "use 1 to 63 lower case letters, digits and dashes")
    labels = getattr(workload, "labels", ())
    wanted = 2 if workload.task is Task.CLASSIFICATION else 1
    if not isinstance(labels, tuple) or len(labels) < wanted or len(set(labels)) != len(labels):
        raise WorkloadError(f"{name} has the labels {labels!r}", f"give a tuple of at least {wanted} different names")
    if not workload.budget >= 0:
        raise WorkloadError(f"{name} has the accuracy budget {workload.budget}", "set budget to 0 or more")
    return workload


def check_split(workload: Workload, split: Split) -> Split:
    """``split`` itself, if a network can be trained and honestly tested on it.

    Raises:
        WorkloadError: Empty or misshapen parts, NaNs, labels out of range, a class without training
            rows, or a group that stands on both sides of the split.
    """
    for part, samples in _parts(split):
        _check_shapes(workload, part, samples, split.train.inputs.shape[1:])
        _check_values(workload, part, samples)
    _check_classes(workload, split)
    _check_leaks(workload, split)
    return split


def _parts(split: Split) -> Iterator[tuple[str, Samples]]:
    yield from (("train", split.train), ("validation", split.validation), ("test", split.test))


def _check_shapes(workload: Workload, part: str, samples: Samples, shape: tuple[int, ...]) -> None:
    rows = len(samples.inputs)
    if rows == 0:
        raise WorkloadError(f"the {part} split of {workload.name} is empty", "give it at least one row")
    if samples.inputs.dtype != np.float32 or samples.inputs.ndim < 2:
        found = f"{samples.inputs.dtype} of shape {samples.inputs.shape}"
        raise WorkloadError(f"the {part} inputs of {workload.name} are {found}", "give float32 of shape (rows, ...)")
    if samples.inputs.shape[1:] != shape:
        raise WorkloadError(
            f"the {part} inputs of {workload.name} have shape {samples.inputs.shape[1:]} and those of train {shape}",
            "give every split the same shape",
        )
    if len(samples.targets) != rows or len(samples.groups) != rows:
        raise WorkloadError(
            f"the {part} split of {workload.name} has {rows} inputs, {len(samples.targets)} targets"
            f" and {len(samples.groups)} groups",
            "give one target and one group a row",
        )
    outputs = len(workload.labels)
    if workload.task is Task.REGRESSION and samples.targets.shape != (rows, outputs):
        raise WorkloadError(
            f"the {part} targets of {workload.name} have shape {samples.targets.shape}", f"give ({rows}, {outputs})"
        )


def _check_values(workload: Workload, part: str, samples: Samples) -> None:
    bad = np.flatnonzero(~np.isfinite(samples.inputs.reshape(len(samples), -1)).all(axis=1))
    if bad.size:
        raise WorkloadError(
            f"{bad.size} {part} inputs of {workload.name} hold NaN or infinity (first in row {bad[0]})",
            "drop or fill these rows in split()",
        )
    if workload.task is Task.REGRESSION:
        if not np.isfinite(np.asarray(samples.targets, np.float64)).all():
            raise WorkloadError(f"{part} targets of {workload.name} hold NaN or infinity", "drop these rows in split()")
        return
    if not np.issubdtype(samples.targets.dtype, np.integer) or samples.targets.ndim != 1:
        raise WorkloadError(
            f"the {part} targets of {workload.name} are no class numbers", "give int64 of shape (rows,)"
        )
    low, high, classes = int(samples.targets.min()), int(samples.targets.max()), len(workload.labels)
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise WorkloadError(
            f"a {part} target of {workload.name} is {wrong}, but there are {classes} labels (0 to {classes - 1})",
            "number the classes from 0, or name the missing labels",
        )


def _check_classes(workload: Workload, split: Split) -> None:
    if workload.task is not Task.CLASSIFICATION:
        return
    counts = np.bincount(split.train.targets.astype(np.int64), minlength=len(workload.labels))
    empty = [label for label, count in zip(workload.labels, counts, strict=True) if count == 0]
    if empty:
        raise WorkloadError(
            f"{workload.name} has no training rows of the class {', '.join(map(repr, empty))}",
            "add some, or take the label out",
        )


def _check_leaks(workload: Workload, split: Split) -> None:
    sides = {part: set(np.unique(samples.groups).tolist()) for part, samples in _parts(split)}
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        shared = sorted(map(str, sides[one] & sides[other]))
        if shared:
            raise WorkloadError(
                f"the split of {workload.name} leaks: {len(shared)} groups (such as {shared[0]!r}) stand in"
                f" both {one} and {other}",
                "put every row of a group on one side",
            )
