"""Real values into bins: the arithmetic of observing, done for many queries at once."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tinymlops.edge.tensors import Floats
from tinymlops.errors import UsageError
from tinymlops.wire.manifest import Manifest, Statistic
from tinymlops.wire.observations import LATENCY_EDGES_US, FeatureKind

Counts = list[npt.NDArray[np.int64]]
Values = npt.NDArray[np.float64]
_LATENCY_EDGES = np.array(LATENCY_EDGES_US)
_STATISTICS = {Statistic.MEAN: 0, Statistic.STANDARD_DEVIATION: 1}


class Layout:
    """The features of a manifest, ready to be counted.

    Args:
        manifest: Of the variant that answers.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.name = manifest.layout
        self.classifies = manifest.classifies
        self.labels = manifest.labels
        self.bins = tuple(len(feature.edges) + 1 for feature in manifest.features)
        self.channels = tuple(sorted({histogram.channel for histogram in manifest.histograms}))
        self._shape = (-1, math.prod(manifest.input.shape[:-1]), manifest.input.shape[-1])
        self._columns = np.array(self.channels, np.intp)
        self._deviates = any(one.statistic is Statistic.STANDARD_DEVIATION for one in manifest.histograms)
        self._inputs = [
            (place, _STATISTICS[one.statistic], self.channels.index(one.channel), np.array(one.edges))
            for place, one in enumerate(manifest.histograms)
        ]
        answers = list(enumerate(manifest.output_features, start=len(manifest.histograms)))
        self._answers = [(place, one, np.array(one.edges)) for place, one in answers if one.kind != FeatureKind.ERROR]
        self._errors = [(place, one.index, one.edges) for place, one in answers if one.kind == FeatureKind.ERROR]

    def empty(self) -> Counts:
        """Bins with nothing in them."""
        return [np.zeros(bins, np.int64) for bins in self.bins]

    def picked(self, rows: Floats) -> Floats:
        """The channels that are counted, shape (n, positions, channels).

        Args:
            rows: Inputs, flat, shape (n, values).
        """
        chosen: Floats = rows.reshape(self._shape)[:, :, self._columns]
        return chosen

    def count(self, picked: Floats, answers: Values, into: Counts) -> None:
        """Add inputs and answers to ``into``.

        Args:
            picked: As `picked` gives them.
            answers: Confidences or output values, shape (n, outputs).
            into: Bins of each feature.
        """
        wide = picked.astype(np.float64)
        found = (wide.mean(axis=1), wide.std(axis=1) if self._deviates else wide[:, 0])
        for place, statistic, column, edges in self._inputs:
            _add(into[place], edges, found[statistic][:, column])
        for place, feature, edges in self._answers:
            if feature.kind == FeatureKind.CONFIDENCE:
                _add(into[place], edges, answers.max(axis=1))
            elif feature.kind == FeatureKind.CLASS:
                into[place] += np.bincount(answers.argmax(axis=1), minlength=len(into[place]))
            else:
                _add(into[place], edges, answers[:, feature.index])

    def truth(self, told: object) -> tuple[float, ...]:
        """What really was, as a sample tells it: a class index, or target values.

        Args:
            told: A label or its index; for a model that does not classify, its output values, or the only one.

        Raises:
            UsageError: It is no such thing.
        """
        if self.classifies:
            if isinstance(told, str) and told in self.labels:
                return (float(self.labels.index(told)),)
            if isinstance(told, int) and not isinstance(told, bool) and 0 <= told < len(self.labels):
                return (float(told),)
            raise UsageError(f"{str(told)[:100]!r} is no class of this model", f"give one of {', '.join(self.labels)}")
        values = told if isinstance(told, Sequence) and not isinstance(told, str) else (told,)
        real = [float(one) for one in values if isinstance(one, int | float) and math.isfinite(one)]
        if len(real) != len(values) or len(real) != len(self.labels):
            raise UsageError("the truth is not what this model puts out", f"give {len(self.labels)} finite numbers")
        return tuple(real)

    def count_error(self, truth: tuple[float, ...], answer: Sequence[float], into: Counts) -> None:
        """Add how wrong an answer was: truth minus output; for a class, 0 where it was right, else 1."""
        for place, index, edges in self._errors:
            if self.classifies:
                error = float(answer.index(max(answer)) != int(truth[0]))
            else:
                error = truth[index] - answer[index]
            into[place][bisect_right(edges, error)] += 1


def latency_bins(latencies_us: Sequence[float]) -> npt.NDArray[np.int64]:
    """Counts between `LATENCY_EDGES_US`."""
    places = np.searchsorted(_LATENCY_EDGES, latencies_us, side="right")
    return np.bincount(places, minlength=len(_LATENCY_EDGES) + 1)


class Runs:
    """The longest run of queries in which a channel did not change, for each channel that is counted.

    Args:
        longest: So far.
    """

    def __init__(self, longest: Sequence[int]) -> None:
        self.longest = np.array(longest, np.int64)
        self._current = np.zeros(len(longest), np.int64)
        self._last: Floats | None = None

    def follow(self, picked: Floats) -> None:
        """Go on with further queries.

        Args:
            picked: Shape (n, positions, channels).
        """
        before = picked[:1] if self._last is None else self._last
        chain = np.concatenate([before, picked])
        same = (chain[1:] == chain[:-1]).all(axis=1)
        if self._last is None:
            same[0] = False
        self._last = picked[-1:].copy()
        rows = np.arange(len(same))[:, None]
        began = np.maximum.accumulate(np.where(same, -1, rows), axis=0)
        runs = np.where(began < 0, self._current + rows + 1, rows - began + 1)
        np.maximum(self.longest, runs.max(axis=0), out=self.longest)
        self._current = runs[-1]


def missing_channels(values: npt.ArrayLike, manifest: Manifest) -> npt.NDArray[np.intp]:
    """Channels with a value that is not finite, of an input that was refused; none where its shape is another."""
    try:
        real = np.asarray(values, np.float32)
    except (ValueError, TypeError, OverflowError):
        return np.zeros(0, np.intp)
    if real.size != math.prod(manifest.input.shape):
        return np.zeros(0, np.intp)
    return np.flatnonzero(~np.isfinite(real.reshape(-1, manifest.input.shape[-1])).all(axis=0))


def _add(into: npt.NDArray[np.int64], edges: Values, values: Values) -> None:
    into += np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(into))
