"""What a device may count of its inputs: a few numbers a window, in bins that the training rows fill evenly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinymlops.wire.manifest import Histogram, Statistic

BINS = 16
MOST_CHANNELS = 32
CONFIDENCE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def statistic_of(inputs: NDArray[np.float32], statistic: Statistic) -> NDArray[np.float64]:
    """``statistic`` of each channel of each row.

    Args:
        inputs: Shape (n, …, channels); with no positions between, a channel is its only value.
        statistic: Over all positions.

    Returns:
        Shape (n, channels).
    """
    flat = inputs.reshape(len(inputs), -1, inputs.shape[-1]).astype(np.float64)
    reduced: NDArray[np.float64] = flat.mean(axis=1) if statistic is Statistic.MEAN else flat.std(axis=1)
    return reduced


def histograms_of(inputs: NDArray[np.float32]) -> tuple[Histogram, ...]:
    """Histograms of training rows, of the first `MOST_CHANNELS` channels; features that never change have none.

    Args:
        inputs: Shape (n, …, channels).
    """
    return tuple(
        histogram
        for statistic in Statistic
        for channel, values in enumerate(statistic_of(inputs, statistic).T[:MOST_CHANNELS])
        if (histogram := _histogram(values, channel, statistic)) is not None
    )


def _histogram(values: NDArray[np.float64], channel: int, statistic: Statistic) -> Histogram | None:
    quantiles = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    # Six digits, so that the manifest stays small; equal edges would make bins that nothing can fall into.
    edges = np.unique([float(f"{edge:.6g}") for edge in quantiles])
    if values.min() == values.max():
        return None
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Histogram(
        name=f"channel {channel} {statistic}",
        channel=channel,
        statistic=statistic,
        edges=tuple(edges.tolist()),
        reference=tuple(round(float(count) / len(values), 6) for count in counts),
    )
