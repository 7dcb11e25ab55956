"""Rows for a report that reads nothing but rows: out of consented samples, or out of histograms.

Both kinds are put into the manifest's bins and spread within them, so that no value that a person's device saw is in
a report; of samples, bins of fewer than k devices are joined with a neighbour first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinymlops.drift import FeatureFinding, Verdict
from tinymlops.drift.statistics import simplex
from tinymlops.monitoring.samples import FieldRows
from tinymlops.wire.observations import FeatureKind

Column = NDArray[np.generic]
Shares = NDArray[np.float64]

ROWS = 2000
"""That a histogram is turned into: enough for smooth pictures, few enough to be quick."""


@dataclass(frozen=True, eq=False)
class ReportRows:
    """What a report is drawn of.

    Attributes:
        reference: Name of a feature → its values before.
        current: The same now.
        categories: Names of features that are categories.
        origin: In words: where the rows come from, and what that means.
    """

    reference: Mapping[str, Column]
    current: Mapping[str, Column]
    categories: tuple[str, ...]
    origin: str


def rows_of_histograms(verdict: Verdict, labels: Sequence[str], seed: int) -> ReportRows:
    """Rows whose histograms are those of a verdict, without the noise as far as that is possible.

    Args:
        verdict: With counts in its findings.
        labels: Names of the classes.
        seed: Of the order of rows: features are drawn one by one, so rows tell nothing of how they go together.
    """
    rng = np.random.default_rng(seed)
    scales = [_Scale.of(finding, labels) for finding in verdict.features]
    now, before = {}, {}
    for scale, finding in zip(scales, verdict.features, strict=True):
        seen, expected = simplex(_shares(finding.counts)), _shares(finding.expected)
        now[scale.name] = scale.values(rng.permutation(_parts(seen, ROWS)), rng)
        before[scale.name] = scale.values(rng.permutation(_parts(expected, ROWS)), rng)
    origin = (
        f"The rows were <b>resampled out of the noisy histograms</b> of {verdict.devices:,} devices: nobody's data. "
        f"{ROWS:,} rows stand for {verdict.queries:,} queries. Each feature was drawn by itself, so the page can show "
        "how a feature moved, and not how features go together; within a bin, values are spread evenly."
    )
    return ReportRows(before, now, _categories(scales), origin)


def rows_of_samples(verdict: Verdict, labels: Sequence[str], field: FieldRows, k: int, seed: int) -> ReportRows:
    """Rows of samples that people agreed to send.

    Args:
        verdict: Its expected counts are the reference.
        labels: Names of the classes.
        field: The samples, in the bins of the verdict's features.
        k: Devices that each bin shown must hold.
        seed: Of where in its bin a value is put.
    """
    rng = np.random.default_rng(seed)
    before, now, scales = {}, {}, []
    for finding in verdict.features:
        bins = field.bins.get((finding.feature, finding.edges))
        if bins is None:
            continue
        into = joined(bins, field.devices, len(finding.counts), k)
        scale = _Scale.of(finding, labels).joined(into)
        expected = np.bincount(into, _shares(finding.expected), int(into[-1]) + 1).astype(np.float64)
        now[scale.name] = scale.values(into[bins], rng)
        before[scale.name] = scale.values(_parts(expected, len(field.devices)), rng)
        scales.append(scale)
    origin = (
        f"The rows are <b>{len(field.devices):,} samples that people agreed to send</b>, of {field.count:,} devices. "
        f"Values were put into the manifest's bins, bins of fewer than {k} devices joined with a neighbour, and values "
        "spread within them: no single value is on this page. Devices may prefer to send queries that the model was "
        "unsure of, so samples can look shifted where the fleet is not. The reference rows were resampled out of the "
        "manifest's histograms."
    )
    return ReportRows(before, now, _categories(scales), origin)


def joined(bins: NDArray[np.int64], devices: NDArray[np.int64], count: int, k: int) -> NDArray[np.int64]:
    """Neighbouring bins joined until each has values of at least k devices.

    Args:
        bins: Of each value.
        devices: Code of each value's device.
        count: Bins that there are.
        k: Devices that each joined bin must hold.

    Returns:
        Place of each bin among the joined ones, shape (count,); all 0 where even all of them are not enough.
    """
    into, place, seen = np.zeros(count, np.int64), 0, set()
    for one in range(count):
        into[one] = place
        seen |= set(devices[bins == one].tolist())
        if len(seen) >= k:
            place, seen = place + 1, set()
    return np.minimum(into, max(place - 1, 0))


@dataclass(frozen=True, eq=False)
class _Scale:
    """How bins become values: names of categories, or places between the ends of a bin."""

    name: str
    categories: tuple[str, ...]
    ends: Shares

    @classmethod
    def of(cls, finding: FeatureFinding, labels: Sequence[str]) -> _Scale:
        return cls(finding.feature, _category_names(finding, labels), _ends(finding))

    def joined(self, into: NDArray[np.int64]) -> _Scale:
        together: dict[int, list[str]] = {}
        for place, name in zip(into.tolist(), self.categories, strict=False):  # numbers have no names
            together.setdefault(place, []).append(name)
        names = tuple(", ".join(together[place]) for place in sorted(together))
        first = np.searchsorted(into, np.arange(into[-1] + 1))
        ends = np.concatenate([self.ends[:-1][first], self.ends[-1:]])
        return _Scale(self.name, names, ends)

    def values(self, bins: NDArray[np.int64], rng: np.random.Generator) -> Column:
        """A value for each entry of ``bins``."""
        if self.categories:
            return np.asarray(self.categories, object)[bins]
        low, high = self.ends[:-1][bins], self.ends[1:][bins]
        placed: Column = low + (high - low) * rng.random(len(bins))
        return placed


def _categories(scales: Sequence[_Scale]) -> tuple[str, ...]:
    return tuple(scale.name for scale in scales if scale.categories)


def _category_names(finding: FeatureFinding, labels: Sequence[str]) -> tuple[str, ...]:
    if finding.kind == FeatureKind.CLASS:
        named = len(labels) == len(finding.counts)
        return tuple(labels) if named else tuple(f"class {number}" for number in range(len(finding.counts)))
    if finding.kind == FeatureKind.ERROR and finding.edges == (0.5,):
        return ("right", "wrong")
    return ()


def _ends(finding: FeatureFinding) -> Shares:
    """Ends of all bins; the open ones at both sides are taken to be as wide as their neighbours."""
    edges = np.asarray(finding.edges, np.float64)
    widths = np.diff(edges) if len(edges) > 1 else np.ones(1)
    ends = np.concatenate([[edges[0] - widths[0]], edges, [edges[-1] + widths[-1]]])
    return np.clip(ends, 0.0, 1.0) if finding.kind == FeatureKind.CONFIDENCE else ends


def _shares(counts: Sequence[float]) -> Shares:
    values = np.asarray(counts, np.float64)
    shares: Shares = values / values.sum()
    return shares


def _parts(shares: Shares, rows: int) -> NDArray[np.int64]:
    """The bin of each of ``rows`` rows, shared out exactly: the largest remainders get what is left over."""
    exact = shares / shares.sum() * rows
    whole = np.floor(exact).astype(np.int64)
    left = rows - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return np.repeat(np.arange(len(shares)), whole)
