"""How often the drift test cries wolf, and how often it sees a shift, through the devices' noise.

``python bench/drift.py`` draws looks at a fleet of 50 devices with 8 normally distributed features: without a shift,
and with one of the features moved by a population stability index of 0.137. Each device sends one noisy window
(epsilon = 1 on each histogram). Named alternative, on the same data in the same run: Evidently's DataDriftPreset with
its defaults, on the raw rows (which the devices would have to give away), and on rows drawn from the noisy histograms.
Alarms are shown with their 95 % Wilson intervals.

Ours alarms where a feature is significant (Holm, 1 %) and its debiased index reaches 0.1. "Lasting" is the verdict
`drift` over a week of daily windows, noise on each. Evidently's word is its own count of drifted columns: "any" is one
column or more, "dataset" is its default of half of them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from tinymlops.drift import FeatureEvidence, GroupEvidence, Level, Rules, scatter_of, verdict_of
from tinymlops.wire.observations import SENSITIVITY, Feature, FeatureKind, noise_variance

Floats = NDArray[np.float64]

DEVICES, FEATURES, BINS = 50, 8, 10
REFERENCE_ROWS = 5_000
PSI = 0.137
EDGES = norm.ppf(np.linspace(0, 1, BINS + 1)[1:-1])
_ENDS = np.concatenate([[-2.5], EDGES, [2.5]])


@dataclass(frozen=True, eq=False)
class Look:
    """One look at the fleet.

    Attributes:
        reference: Rows that the model was made of, shape (rows, features).
        rows: What the devices saw, shape (rows, features): nobody but a simulation has them.
        evidence: What they told.
    """

    reference: Floats
    rows: Floats
    evidence: GroupEvidence


@dataclass(frozen=True)
class Rate:
    """Alarms among looks."""

    alarms: int
    looks: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson 1927, JASA 22."""
        z, n, share = 1.96, self.looks, self.alarms / self.looks
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        return max(middle - half, 0.0), min(middle + half, 1.0)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.alarms / self.looks:6.1%} ({low:.1%} – {high:.1%}) of {self.looks:,}"


def main() -> None:
    """Draw, test, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=1_000, help="without a shift, and as many with one")
    parser.add_argument("--evidently", type=int, default=100, help="of them that Evidently looks at too")
    given = parser.parse_args()
    print(
        f"{DEVICES} devices, {FEATURES} features of {BINS} bins, one moved by {PSI} (index of the whole: see --help)\n"
    )
    print_line("the test alone: 5,000 queries", *(rate(significant, looks(given.looks, shift)) for shift in (0.0, PSI)))
    for samples, days, epsilon in ((5_000, 1, 1.0), (1_000, 1, 1.0), (5_000, 7, 1.0), (20_000, 7, 1.0)):
        said, name = (alarmed, "ours") if days == 1 else (lasting, "ours, lasting")
        rates = [rate(said, looks(given.looks, shift, samples, days, epsilon)) for shift in (0.0, PSI)]
        print_line(f"{name}: {samples:,} queries, {days} window(s) a device", *rates)
    rates = [rate(alarmed, looks(given.looks, shift, differing=30.0)) for shift in (0.0, PSI)]
    print_line("ours: 5,000 queries of devices that differ", *rates)
    against(given.evidently)


def against(count: int) -> None:
    """Ours and Evidently's default on the same looks."""
    os.environ["DO_NOT_TRACK"] = "1"
    for reference_rows in (REFERENCE_ROWS, 1_000):
        print(f"\nThe same {count} looks of 5,000 queries, a reference of {reference_rows:,} rows")
        drawn = [list(looks(count, shift, reference_rows=reference_rows)) for shift in (0.0, PSI)]
        print_line("ours", *(rate(alarmed, some) for some in drawn))
        for name, rows_of in (("raw rows", raw), ("rows out of noisy histograms", resampled)):
            columns = [[drifted_columns(*rows_of(look)) for look in some] for some in drawn]
            for words, least in (("any column", 1), ("dataset", FEATURES // 2)):
                rates = [Rate(sum(found >= least for found in some), len(some)) for some in columns]
                print_line(f"Evidently, {name}, {words}", *rates)


def print_line(name: str, quiet: Rate, moved: Rate) -> None:
    """One line of the table."""
    print(f"{name:58} no shift {quiet}   shift {moved}", flush=True)


def rate(said: Callable[[GroupEvidence], bool], drawn: Iterable[Look]) -> Rate:
    """How often ``said`` is true."""
    answers = [said(look.evidence) for look in drawn]
    return Rate(sum(answers), len(answers))


def significant(evidence: GroupEvidence) -> bool:
    """Whatever the size."""
    return any(one.adjusted <= Rules().alpha for one in verdict_of(evidence).features)


def alarmed(evidence: GroupEvidence) -> bool:
    """Significant and large enough, however long it lasts."""
    rules = Rules()
    found = verdict_of(evidence, rules).features
    return any(one.adjusted <= rules.alpha and one.effect >= rules.effect for one in found)


def lasting(evidence: GroupEvidence) -> bool:
    """The verdict is drift."""
    return verdict_of(evidence).level is Level.DRIFT


def looks(  # noqa: PLR0913 - what is varied
    count: int,
    shift: float,
    samples: int = 5_000,
    days: int = 1,
    epsilon: float = 1.0,
    *,
    differing: float = 0.0,
    reference_rows: int = REFERENCE_ROWS,
) -> Iterable[Look]:
    """``count`` looks, each from its own seed.

    Args:
        count: How many.
        shift: Population stability index that the first feature moved by.
        samples: Queries of the whole look.
        days: Slices of time, each with a window and its noise for every device.
        epsilon: Of each histogram of a window.
        differing: Each device repeats so many values of its own: fewer are more different devices; 0 for alike ones.
        reference_rows: That the reference was counted on.
    """
    away = mean_shift(shift)
    for seed in range(count):
        rng = np.random.default_rng((seed, samples, days, reference_rows, round(1000 * shift)))
        yield _look(rng, away, samples, days, epsilon, differing, reference_rows)


def mean_shift(index: float) -> float:
    """How far a standard normal feature has to move for its histogram to have this index."""
    before = np.full(BINS, 1 / BINS)

    def surplus(away: float) -> float:
        after = np.diff(norm.cdf(EDGES, away), prepend=0, append=1)
        return float(np.sum((after - before) * np.log(after / before))) - index

    return float(brentq(surplus, 0, 3)) if index else 0.0


def _look(  # noqa: PLR0913, PLR0917 - as `looks`
    rng: np.random.Generator,
    away: float,
    samples: int,
    days: int,
    epsilon: float,
    differing: float,
    reference_rows: int,
) -> Look:
    each = samples // (DEVICES * days)
    moved = np.zeros(FEATURES)
    moved[0] = away
    rows = rng.normal(size=(days, DEVICES, each, FEATURES)) + moved
    if differing:  # a device repeats a few values of its own
        own = rng.normal(size=(DEVICES, int(differing), FEATURES)) + moved
        chosen = rng.integers(int(differing), size=(days, DEVICES, each))
        rows = own[np.arange(DEVICES)[None, :, None], chosen]
    reference = rng.normal(size=(reference_rows, FEATURES))
    features = tuple(_evidence(rng, reference[:, i], rows[..., i], i, epsilon) for i in range(FEATURES))
    evidence = GroupEvidence(
        workload="bench",
        release=1,
        group="fleet",
        began_s=0.0,
        ended_s=86400.0 * days,
        devices=DEVICES,
        queries=days * DEVICES * each,
        features=features,
    )
    return Look(reference, rows.reshape(-1, FEATURES), evidence)


def _evidence(
    rng: np.random.Generator, reference: Floats, values: Floats, index: int, epsilon: float
) -> FeatureEvidence:
    shares = np.bincount(np.searchsorted(EDGES, reference, "right"), minlength=BINS) / len(reference)
    feature = Feature(
        name=f"x{index}",
        kind=FeatureKind.INPUT,
        edges=tuple(EDGES.tolist()),
        reference=tuple(shares.tolist()),
        rows=len(reference),
        index=index,
    )
    days, devices, _ = values.shape
    places = np.searchsorted(EDGES, values, "right") + BINS * np.arange(days * devices).reshape(days, devices, 1)
    counts = np.bincount(places.ravel(), minlength=BINS * days * devices).reshape(days, devices, BINS)
    noisy = counts + discrete_laplace(rng, epsilon, counts.shape)
    return FeatureEvidence(
        feature=feature,
        counts=noisy.sum(axis=1),
        variance=np.full(days, devices * noise_variance(epsilon)),
        devices=devices,
        scatter=scatter_of(noisy.sum(axis=0)),
    )


def discrete_laplace(rng: np.random.Generator, epsilon: float, shape: tuple[int, ...]) -> Floats:
    """The devices' noise, quicker than they draw it: a difference of two geometric variables."""
    if epsilon == 0:
        return np.zeros(shape)
    stop = 1 - np.exp(-epsilon / SENSITIVITY)
    difference: Floats = (rng.geometric(stop, shape) - rng.geometric(stop, shape)).astype(np.float64)
    return difference


def raw(look: Look) -> tuple[Floats, Floats]:
    """What Evidently wants: every row."""
    return look.reference, look.rows


def resampled(look: Look) -> tuple[Floats, Floats]:
    """As many rows as were counted, drawn from the noisy histograms; the reference's rows through the same bins."""
    rng = np.random.default_rng(len(look.rows))
    current = [_drawn(rng, one.counts.sum(axis=0), len(look.rows)) for one in look.evidence.features]
    shares = [np.asarray(one.feature.reference) for one in look.evidence.features]
    reference = [_drawn(rng, one, len(look.reference)) for one in shares]
    return np.stack(reference, axis=1), np.stack(current, axis=1)


def _drawn(rng: np.random.Generator, counts: Floats, rows: int) -> Floats:
    shares = np.maximum(counts, 0.0)
    places = rng.choice(BINS, rows, p=shares / shares.sum())
    values: Floats = rng.uniform(_ENDS[places], _ENDS[places + 1])
    return values


def drifted_columns(reference: Floats, rows: Floats) -> int:
    """How many columns Evidently's default calls drifted."""
    import pandas as pd
    from evidently import Dataset, Report
    from evidently.presets import DataDriftPreset

    names = [f"x{i}" for i in range(FEATURES)]
    frames = [Dataset.from_pandas(pd.DataFrame(some, columns=names)) for some in (rows, reference)]
    told = Report([DataDriftPreset()]).run(*frames).dict()
    (counted,) = (one["value"] for one in told["metrics"] if "DriftedColumnsCount" in str(one["metric_name"]))
    return int(counted["count"])


if __name__ == "__main__":
    main()
