"""What a device may count of its model's answers, and of their errors where it learns the truth later."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from tinymlops.manifests.histograms import edges_of, fractions
from tinymlops.wire.observations import MOST_BINS, Feature, FeatureKind

CONFIDENCE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
ERROR_STEPS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5)
"""Edges of the histogram of a regression's errors, on both sides of 0, in standard deviations of the target."""
MOST_OUTPUTS = 4
"""Outputs of a regression that are counted, unless the owner chooses."""

Outputs = NDArray[np.float64]


def of_classes(
    confidences: Outputs, targets: NDArray[np.int64], counted: Collection[str] | None = None
) -> tuple[Feature, ...]:
    """Confidence, class and error of a model that classifies.

    Args:
        confidences: Of validation rows, tempered, shape (n, classes).
        targets: Class numbers, shape (n,).
        counted: Names of those that are wanted; all unless given.
    """
    classes = confidences.shape[1]
    answers = np.argmax(confidences, axis=1)
    possible = [edge for edge in CONFIDENCE_EDGES if edge > 1 / classes]  # the largest of n confidences is 1/n at least
    features = [
        _feature("confidence", FeatureKind.CONFIDENCE, np.array(possible), confidences.max(axis=1)),
        _feature("error", FeatureKind.ERROR, np.array([0.5]), (answers != targets).astype(np.float64)),
    ]
    if classes <= MOST_BINS:
        features.insert(1, _feature("class", FeatureKind.CLASS, np.arange(classes - 1) + 0.5, answers))
    return tuple(one for one in features if counted is None or one.name in counted)


def of_values(
    outputs: Outputs, targets: Outputs, taught: Outputs, counted: Collection[str] | None = None
) -> tuple[Feature, ...]:
    """Output and error of each output of a regression.

    Edges follow from the targets that the network was taught, so that all variants of a release count into the same.

    Args:
        outputs: Of validation rows, shape (n, outputs).
        targets: Of the same rows, shape (n, outputs).
        taught: Targets of the training rows, shape (m, outputs).
        counted: Names of those that are wanted; unless given, those of the first `MOST_OUTPUTS` outputs.
    """
    several = outputs.shape[1] > 1
    found = []
    for place in range(outputs.shape[1]):
        name = f" {place}" if several else ""
        made, true = outputs[:, place], targets[:, place]
        errors = _error_edges(taught[:, place])
        found += [
            _feature(f"output{name}", FeatureKind.OUTPUT, edges_of(taught[:, place]), made, place),
            _feature(f"error{name}", FeatureKind.ERROR, errors, true - made, place),
        ]
    return tuple(found[: 2 * MOST_OUTPUTS] if counted is None else [one for one in found if one.name in counted])


def _error_edges(taught: Outputs) -> Outputs:
    spread = float(taught.std()) or 1.0
    steps = np.array(ERROR_STEPS)
    return np.array([float(f"{edge:.6g}") for edge in np.concatenate([-steps[::-1], [0.0], steps]) * spread])


def _feature(name: str, kind: FeatureKind, edges: Outputs, values: NDArray[np.generic], index: int = 0) -> Feature:
    known = np.asarray(values, np.float64)
    return Feature(
        name=name, kind=kind, edges=tuple(edges.tolist()), reference=fractions(known, edges), rows=len(known),
        index=index,
    )  # fmt: skip
