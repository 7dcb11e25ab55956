"""What a device may count of its inputs: a few numbers a window, in bins that the training rows fill evenly."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from tinymlops.wire.manifest import Histogram, Statistic

BINS = 16
MOST_CHANNELS = 1024
MOST_INPUTS = 8
"""Unless the owner chooses: the privacy budget is split over what is counted, so each feature more blurs all others."""
_ROWS_TO_CHOOSE_BY = 4096

Values = NDArray[np.float64]


def statistic_of(inputs: NDArray[np.float32], statistic: Statistic) -> Values:
    """``statistic`` of each channel of each row.

    Args:
        inputs: Shape (n, …, channels); with no positions between, a channel is its only value.
        statistic: Over all positions.

    Returns:
        Shape (n, channels).
    """
    flat = inputs.reshape(len(inputs), -1, inputs.shape[-1]).astype(np.float64)
    reduced: Values = flat.mean(axis=1) if statistic is Statistic.MEAN else flat.std(axis=1)
    return reduced


@dataclass(frozen=True, eq=False)
class Candidate:
    """A number that could be counted.

    Attributes:
        channel: Index on the last axis of the input.
        statistic: Of it.
        values: Of the training rows, shape (n,).
    """

    channel: int
    statistic: Statistic
    values: Values

    @property
    def name(self) -> str:
        """For example ``"channel 3 mean"``."""
        return f"channel {self.channel} {self.statistic}"

    def histogram(self) -> Histogram:
        """In bins that the training rows fill evenly."""
        edges = edges_of(self.values)
        return Histogram(
            name=self.name,
            channel=self.channel,
            statistic=self.statistic,
            edges=tuple(edges.tolist()),
            reference=fractions(self.values, edges),
            rows=len(self.values),
        )


def candidates_of(inputs: NDArray[np.float32]) -> list[Candidate]:
    """What could be counted of the first `MOST_CHANNELS` channels: all that ever changes.

    Args:
        inputs: Shape (n, …, channels).
    """
    return [
        Candidate(channel, statistic, values)
        for statistic in Statistic
        for channel, values in enumerate(statistic_of(inputs[..., :MOST_CHANNELS], statistic).T)
        if values.min() < values.max()
    ]


def histograms_of(inputs: NDArray[np.float32], counted: Collection[str] | None = None) -> tuple[Histogram, ...]:
    """Histograms of training rows.

    Args:
        inputs: Shape (n, …, channels).
        counted: Names of those that are wanted, for example ``"channel 3 mean"``. Unless given, the `MOST_INPUTS` that
            tell most of all others; channels with two values, such as those of a one-hot code, are not among them.
    """
    candidates = candidates_of(inputs)
    chosen = _telling(candidates) if counted is None else [one for one in candidates if one.name in counted]
    return tuple(one.histogram() for one in chosen)


def edges_of(values: Values) -> Values:
    """Inner edges of up to `BINS` bins that ``values`` fill evenly.

    A few distinct values have bins of their own, with edges halfway between them: no rounding on a device can carry one
    over an edge then.
    """
    distinct = np.unique(values)
    if len(distinct) <= BINS:
        edges = (distinct[1:] + distinct[:-1]) / 2
    else:
        edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    # Six digits, so that the manifest stays small; equal edges would make bins that nothing can fall into.
    return np.unique([float(f"{edge:.6g}") for edge in edges])


def fractions(values: Values, edges: Values) -> tuple[float, ...]:
    """Fraction of ``values`` in each of the bins between ``edges``."""
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return tuple(round(float(count) / len(values), 6) for count in counts)


def _telling(candidates: list[Candidate]) -> list[Candidate]:
    """The candidates that tell most of the others, in their own order.

    Each next one has the most left after regression on those before it: QR with column pivoting (Golub and Van Loan
    2013, *Matrix Computations*, 4th edition, section 5.5.7, subset selection) over standardized values.
    """
    varied = [one for one in candidates if len(np.unique(one.values)) > 2]
    if len(varied) <= MOST_INPUTS:
        return varied
    step = -(-len(varied[0].values) // _ROWS_TO_CHOOSE_BY)
    columns = np.stack([one.values[::step] for one in varied], axis=1)
    spread = columns.std(axis=0)
    standard = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    _, pivots = qr(standard, mode="r", pivoting=True)
    return [varied[index] for index in sorted(pivots[:MOST_INPUTS])]
