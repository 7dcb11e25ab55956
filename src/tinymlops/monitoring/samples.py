"""Samples that people agreed to send, in the bins that devices count into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tinymlops.manifests.histograms import statistic_of
from tinymlops.monitoring.references import References
from tinymlops.monitoring.spans import Span
from tinymlops.telemetry.tables import Tables
from tinymlops.wire.manifest import Manifest
from tinymlops.wire.observations import Feature, FeatureKind

LEAST_SAMPLES = 300
"""Fewer say less than the histograms do."""
MOST_SAMPLES = 20_000
"""The newest count; Evidently takes about a second for each 10,000."""

Bins = NDArray[np.int64]
Key = tuple[str, tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class FieldRows:
    """Samples of one release.

    Attributes:
        bins: Name and edges of a feature → the bin of each sample, shape (samples,); features that some samples lack
            are not in it, such as errors where the truth is not known.
        devices: Code of each sample's device, likewise.
        count: Devices that there are.
    """

    bins: Mapping[Key, Bins]
    devices: NDArray[np.int64]
    count: int


def samples_of(
    tables: Tables, workload: str, release: int, references: References, span: Span, k: int
) -> FieldRows | None:
    """Samples of a release within a span; None where they are too few, or of fewer than k devices.

    Args:
        tables: Of samples.
        workload: Which task.
        release: That answered.
        references: Of the release.
        span: In which they were taken.
        k: Devices that anything shown must rest on.
    """
    wanted = ["device_id", "profile", "recipe", "inputs", "output", "truth"]
    frame = tables.samples(workload, began_s=span.began_s, ended_s=span.ended_s).filter(pl.col("release") == release)
    rows = frame.sort("at_s", descending=True).select(wanted).head(MOST_SAMPLES).collect()
    parts = [
        (own["device_id"], _counted(references.manifests[variant], own))
        for variant, own in _by_variant(rows)
        if variant in references.manifests
    ]
    kept = [(ids.filter(pl.Series(good)), bins) for ids, (good, bins) in parts]
    ids = pl.concat([ids for ids, _ in kept]) if kept else pl.Series([], dtype=pl.String)
    if len(ids) < LEAST_SAMPLES or ids.n_unique() < k:
        return None
    common = set.intersection(*(set(bins) for ids, bins in kept if len(ids)))
    return FieldRows(
        bins={name: np.concatenate([bins[name] for one, bins in kept if len(one)]) for name in sorted(common)},
        devices=ids.rank("dense").to_numpy().astype(np.int64),
        count=ids.n_unique(),
    )


def _by_variant(rows: pl.DataFrame) -> list[tuple[tuple[str, str], pl.DataFrame]]:
    found = rows.partition_by("profile", "recipe", as_dict=True)
    return [((str(profile), str(recipe)), own) for (profile, recipe), own in found.items()]


def _counted(manifest: Manifest, rows: pl.DataFrame) -> tuple[NDArray[np.bool_], dict[Key, Bins]]:
    """Which rows fit the model, and the bins of those that do."""
    values, outputs = int(np.prod(manifest.input.shape)), len(manifest.labels)
    good = ((rows["inputs"].list.len() == values) & (rows["output"].list.len() == outputs)).to_numpy()
    kept = rows.filter(pl.Series(good))
    if not len(kept):
        return good, {}
    inputs = _matrix(kept["inputs"]).astype(np.float32).reshape(len(kept), *manifest.input.shape[1:])
    found = {
        (one.name, one.edges): _bins(one.feature, statistic_of(inputs, one.statistic)[:, one.channel])
        for one in manifest.histograms
    }
    made = _matrix(kept["output"])
    truth = _matrix(kept["truth"]) if (kept["truth"].list.len() > 0).fill_null(value=False).all() else None
    for feature in manifest.output_features:
        told = _told(feature, made, truth, classifies=manifest.classifies)
        if told is not None:
            found[feature.name, feature.edges] = _bins(feature, told)
    return good, found


def _told(feature: Feature, made: Any, truth: Any, *, classifies: bool) -> Any:
    """Value of a feature of the model's answers for each row, or None where nobody knows it."""
    if feature.kind is FeatureKind.CONFIDENCE:
        return made.max(axis=1)
    if feature.kind is FeatureKind.CLASS:
        return made.argmax(axis=1)
    if feature.kind is FeatureKind.OUTPUT:
        return made[:, feature.index]
    if truth is None:
        return None
    return made.argmax(axis=1) != truth[:, 0] if classifies else truth[:, feature.index] - made[:, feature.index]


def _matrix(column: pl.Series) -> NDArray[np.float64]:
    return np.stack(column.to_list()).astype(np.float64)


def _bins(feature: Feature, values: Any) -> Bins:
    """As a device counts: a value on an edge falls above it."""
    return np.searchsorted(np.asarray(feature.edges), np.asarray(values, np.float64), side="right").astype(np.int64)
