"""The table's lists of lists of counts as one matrix, without an object for each window.

Arrow keeps a column of lists as one flat buffer and the offsets at which each list begins. A window whose histograms
are as long as its layout says is then a run of that buffer.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Matrix = NDArray[np.int32]
Mask = NDArray[np.bool_]


def counts_of(histograms: pa.Array, widths: tuple[int, ...]) -> tuple[Matrix, Mask]:
    """Counts of the windows that have exactly one histogram of each width.

    Args:
        histograms: Lists of lists of int32, one entry a window.
        widths: Bins of each feature, in the layout's order.

    Returns:
        Shape (fitting windows, sum of widths), and which windows those are, shape (windows,).
    """
    outer, bins = _lists(histograms)
    inner, flat = _lists(bins)
    fits = outer[1:] - outer[:-1] == len(widths)
    fits &= ~_nulls(histograms)
    first = outer[:-1][fits]
    lengths = (inner[1:] - inner[:-1])[first[:, None] + np.arange(len(widths))]
    good = (lengths == np.asarray(widths)).all(axis=1)
    fits[np.flatnonzero(fits)[~good]] = False
    values = flat.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return _runs(values, inner[first[good]], sum(widths)), fits


def _lists(column: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """Offsets of the lists and what they point into; an Arrow slice keeps its parent's buffers, and so its offsets."""
    return np.asarray(column.offsets, np.int64), column.values


def _nulls(column: pa.Array) -> Mask:
    return np.asarray(column.is_null())


def _runs(values: Matrix, starts: NDArray[np.int64], length: int) -> Matrix:
    if not len(starts):
        return np.empty((0, length), np.int32)
    if (np.diff(starts) == length).all():  # one behind the other: a view does
        return values[starts[0] : starts[0] + len(starts) * length].reshape(-1, length)
    runs: Matrix = values[starts[:, None] + np.arange(length)]
    return runs
