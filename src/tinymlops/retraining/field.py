"""Labelled samples out of one version of their table: those that can be learnt from, in one order, as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tinymlops.workloads.base import Workload
from tinymlops.workloads.renewal import FieldSamples
from tinymlops.workloads.snapshots import keep_snapshot
from tinymlops.workloads.values import Array, Task

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.telemetry.tables import Tables

MOST_ROWS = 200_000
"""The newest count."""
MOST_ROWS_OF_A_DEVICE = 20_000
"""So that no single device, broken or hostile, teaches the fleet by itself."""


class FieldData(msgspec.Struct, frozen=True, kw_only=True):
    """What a retraining learns from, besides the workload's own data.

    Attributes:
        reference: Of the workload with these samples, as ``load_workload`` takes it.
        rows: Labelled samples in it.
        fresh: Of those, asked since the champion was released.
        devices: That sent them.
        unlabelled: Samples whose truth nobody learnt: no use for supervised training.
        unusable: Labelled samples that do not fit the workload: of another length, not finite, of no known class.
    """

    reference: str
    rows: int
    fresh: int
    devices: int
    unlabelled: int
    unusable: int


def take_samples(
    tables: Tables,
    workload: Workload,
    reference: str,
    *,
    version: int,
    values: int,
    since_s: float,
) -> FieldData:
    """Read the labelled samples of a workload at a version of the table, and keep them for the build.

    Args:
        tables: Of telemetry.
        workload: Which task.
        reference: The same, as ``load_workload`` takes it.
        version: Of the table of samples; the same one gives the same rows in the same order.
        values: That an input has.
        since_s: When the champion was released, seconds since 1970.

    Raises:
        StorageError: The table can't be read, or that version is gone.
    """
    frame = _labelled(tables.samples(workload.name, version=version))
    unlabelled = int(
        tables.samples(workload.name, version=version).select(_is_unlabelled().sum()).collect().item() or 0
    )
    usable = frame.filter(_fits(workload, values)).collect()
    unusable = int(frame.select(_length()).collect().item()) - len(usable)
    field = _field(_capped(usable), workload, values)
    mark = keep_snapshot(workload.name, version, field) if len(field) else ""
    return FieldData(
        reference=f"{reference}{mark}",
        rows=len(field),
        fresh=int(np.sum(field.at_s > since_s)),
        devices=len(set(field.devices.tolist())),
        unlabelled=unlabelled,
        unusable=unusable,
    )


def _is_unlabelled() -> pl.Expr:
    import polars as pl

    return pl.col("truth").is_null() | (pl.col("truth").list.len() == 0)


def _length() -> pl.Expr:
    import polars as pl

    return pl.len()


def _labelled(frame: pl.LazyFrame) -> pl.LazyFrame:
    columns = ["device_id", "sequence", "at_s", "profile", "region", "inputs", "truth"]
    return frame.filter(~_is_unlabelled()).select(columns)


def _fits(workload: Workload, values: int) -> pl.Expr:
    """Rows of the right lengths that hold nothing but numbers, with a truth that can be."""
    import polars as pl

    truth = pl.col("truth")
    fits = (
        (pl.col("inputs").list.len() == values)
        & pl.col("inputs").list.eval(pl.element().is_finite()).list.all()
        & truth.list.eval(pl.element().is_finite()).list.all()
        & (pl.col("inputs").list.drop_nulls().list.len() == values)
    )
    if workload.task is Task.REGRESSION:
        return fits & (truth.list.drop_nulls().list.len() == len(workload.labels))
    label = truth.list.first()
    return fits & (truth.list.len() == 1) & (label >= 0) & (label < len(workload.labels)) & (label == label.floor())


def _capped(frame: pl.DataFrame) -> pl.DataFrame:
    """In one order, whatever files the table is made of; the newest of each device and of all."""
    import polars as pl

    ordered = frame.sort("at_s", "device_id", "sequence")
    newest = pl.int_range(pl.len()).reverse().over("device_id") < MOST_ROWS_OF_A_DEVICE
    return ordered.filter(newest).tail(MOST_ROWS)


def _field(frame: pl.DataFrame, workload: Workload, values: int) -> FieldSamples:
    truths: Any = frame["truth"].to_list()
    if workload.task is Task.REGRESSION:
        targets: Array = np.array(truths, np.float32).reshape(len(frame), len(workload.labels))
    else:
        targets = np.array([truth[0] for truth in truths], np.float64).astype(np.int64)
    inputs: NDArray[np.float32] = frame["inputs"].explode().to_numpy() if len(frame) else np.zeros(0, np.float32)
    return FieldSamples(
        inputs=inputs.astype(np.float32).reshape(len(frame), values),
        targets=targets,
        devices=_words(frame["device_id"]),
        at_s=frame["at_s"].to_numpy().astype(np.float64),
        profiles=_words(frame["profile"]),
        regions=_words(frame["region"]),
    )


def _words(column: pl.Series) -> NDArray[np.str_]:
    return np.array(column.fill_null("").to_list(), dtype=np.str_)
