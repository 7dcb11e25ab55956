"""A made-up fleet's windows, as the table of windows holds them: any number of devices and days, with a shift or none.

Counts are multinomial draws of each device's own shares, with the noise that a device adds. Everything is drawn from
one seed, day by day, so that ten thousand devices never lie in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tinymlops.telemetry.schemas import TableName, conform
from tinymlops.telemetry.tables import Tables, day_of
from tinymlops.wire.manifest import Histogram, Manifest, Statistic
from tinymlops.wire.observations import SENSITIVITY, Feature, FeatureKind, layout_of

DAY_S = 86_400.0
_MOST_AT_ONCE = 20_000
START_S = 1_800_000_000.0 - 1_800_000_000.0 % DAY_S


def inputs(features: int = 8, bins: int = 16) -> tuple[Feature, ...]:
    """Features of inputs whose reference fills all bins evenly, as quantiles of training rows do."""
    edges = tuple(round(float(edge), 6) for edge in np.linspace(-1.5, 1.5, bins - 1))
    return tuple(
        Feature(
            name=f"channel {channel} mean",
            kind=FeatureKind.INPUT,
            edges=edges,
            reference=(1.0 / bins,) * bins,
            rows=10_000,
            index=channel,
        )
        for channel in range(features)
    )


def outputs(classes: int = 4) -> tuple[Feature, ...]:
    """Confidence, class and error of a model that is right in nine of ten rows."""
    shares = np.full(classes, 1.0 / classes)
    return (
        Feature(
            name="confidence",
            kind=FeatureKind.CONFIDENCE,
            edges=(0.5, 0.7, 0.9),
            reference=(0.05, 0.05, 0.1, 0.8),
            rows=1000,
        ),
        Feature(
            name="class",
            kind=FeatureKind.CLASS,
            edges=tuple(float(one) + 0.5 for one in range(classes - 1)),
            reference=tuple(float(one) for one in shares),
            rows=1000,
        ),
        Feature(name="error", kind=FeatureKind.ERROR, edges=(0.5,), reference=(0.9, 0.1), rows=1000),
    )


def with_features(manifest: Manifest, features: tuple[Feature, ...]) -> Manifest:
    """``manifest`` with other features to count."""
    histograms = tuple(
        Histogram(
            name=one.name,
            channel=one.index,
            statistic=Statistic.MEAN,
            edges=one.edges,
            reference=one.reference,
            rows=one.rows,
        )
        for one in features
        if one.kind is FeatureKind.INPUT
    )
    others = tuple(one for one in features if one.kind is not FeatureKind.INPUT)
    return msgspec.structs.replace(manifest, histograms=histograms, output_features=others)


def shifted(reference: tuple[float, ...], by: float) -> NDArray[np.float64]:
    """Shares that moved towards the upper bins: tilted by ``by``, from 0 (not at all) to 1."""
    tilt = 1.0 + by * np.linspace(-1.0, 1.0, len(reference))
    moved: NDArray[np.float64] = np.asarray(reference, np.float64) * tilt
    moved /= moved.sum()
    return moved


def psi(reference: tuple[float, ...], shares: NDArray[np.float64]) -> float:
    """Population stability index of two distributions without empty bins."""
    before = np.asarray(reference, np.float64)
    return float(((shares - before) * np.log(shares / before)).sum())


@dataclass(frozen=True)
class Crowd:
    """Devices that are alike.

    Attributes:
        devices: How many.
        region: That they are in, or None.
        tags: That they have.
        shift: How far their features moved (`shifted`); 0 for not at all.
        features_shifted: Which features move, by their place in the layout; None for all.
        shift_from_day: First day of it.
        from_day: First day that they send windows on.
        until_day: First day that they no longer send any on, or None.
        missing: Channels whose sensor is absent.
        stuck: Channels whose sensor hangs.
        drift: Whether their people agreed to histograms.
        labelled: Share of the queries whose truth comes later.
    """

    devices: int
    region: str | None = None
    tags: tuple[str, ...] = ()
    shift: float = 0.0
    features_shifted: tuple[int, ...] | None = None
    shift_from_day: int = 0
    from_day: int = 0
    until_day: int | None = None
    missing: tuple[int, ...] = ()
    stuck: tuple[int, ...] = ()
    drift: bool = True
    labelled: float = 0.0


@dataclass(frozen=True)
class Town:
    """All windows of a release.

    Attributes:
        crowds: Who is in it.
        features: Of the layout.
        days: From `began_s` on.
        windows_a_day: Of each device.
        queries: Of each window.
        epsilon: Of each histogram; 0 for no noise.
        spread: How much devices differ: concentration of a Dirichlet distribution about the shares, or None for not.
        seed: Of all draws, and of the devices' names.
    """

    crowds: tuple[Crowd, ...]
    features: tuple[Feature, ...] = field(default_factory=inputs)
    days: int = 7
    windows_a_day: int = 4
    queries: int = 50
    epsilon: float = 1.0
    spread: float | None = None
    seed: int = 7
    workload: str = "tiny"
    release: int = 1
    recipe: str = "int8"
    profile: str = "x86-gateway"
    layout: str | None = None
    began_s: float = START_S

    @property
    def ended_s(self) -> float:
        """Of the last window."""
        return self.began_s + self.days * DAY_S

    @property
    def devices(self) -> int:
        """How many there ever are."""
        return sum(crowd.devices for crowd in self.crowds)

    def names(self) -> list[list[str]]:
        """The devices of each crowd; the same seed gives the same."""
        found, first = [], self.seed * 1_000_000
        for crowd in self.crowds:
            found.append([f"{number:032x}" for number in range(first, first + crowd.devices)])
            first += crowd.devices
        return found

    def tables(self) -> Iterator[pa.Table]:
        """A table for each day on which there is any window."""
        rng = np.random.default_rng(self.seed)
        names = self.names()
        shares = [_device_shares(self, crowd, rng) for crowd in self.crowds]
        for day in range(self.days):
            parts = [
                _crowd_day(self, crowd, day, names[number], shares[number], rng)
                for number, crowd in enumerate(self.crowds)
                if crowd.from_day <= day and (crowd.until_day is None or day < crowd.until_day)
            ]
            if parts:
                yield pa.concat_tables(parts)

    def table(self) -> pa.Table:
        """All of it at once."""
        return pa.concat_tables(list(self.tables()))

    def fill(self, tables: Tables) -> None:
        """Append all windows: in one commit if they are few, else in one a day."""
        few = self.devices * self.days * self.windows_a_day <= _MOST_AT_ONCE
        for one in [self.table()] if few and self.crowds else self.tables():
            tables.append_windows(one)

    def later(self, days: int, **changes: object) -> Town:
        """The same devices on the days that follow."""
        return replace(self, began_s=self.ended_s, days=days, **changes)  # type: ignore[arg-type]


def _device_shares(town: Town, crowd: Crowd, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """For each feature the shares of each device before any shift: shape (devices, bins)."""
    found = []
    for feature in town.features:
        reference = np.maximum(np.asarray(feature.reference, np.float64), 1e-12)
        alike = np.tile(reference / reference.sum(), (crowd.devices, 1))
        found.append(alike if town.spread is None else rng.dirichlet(town.spread * reference, crowd.devices))
    return found


def _crowd_day(
    town: Town, crowd: Crowd, day: int, names: list[str], shares: list[NDArray[np.float64]], rng: np.random.Generator
) -> pa.Table:
    rows = crowd.devices * town.windows_a_day
    device = np.repeat(np.arange(crowd.devices), town.windows_a_day)
    window = np.tile(np.arange(town.windows_a_day), crowd.devices)
    length_s = DAY_S / town.windows_a_day
    began_s = town.began_s + day * DAY_S + window * length_s
    labelled = np.full(rows, round(crowd.labelled * town.queries))
    ended_s = began_s + length_s - 1.0  # before midnight, so that a day is one partition
    columns = {
        "device_id": pa.array(np.asarray(names, object)[device]),
        # 2 ** 40: releases of one device do not share sequences
        "sequence": pa.array(day * town.windows_a_day + window + int(town.began_s) + town.release * 2**40),
        "date": pa.array([day_of(town.began_s + day * DAY_S)] * rows),
        "received_s": pa.array(ended_s + 60.0),
        "workload": pa.array([town.workload] * rows),
        "release": pa.array([town.release] * rows),
        "recipe": pa.array([town.recipe] * rows),
        "layout": pa.array([town.layout or layout_of(town.features)] * rows),
        "profile": pa.array([town.profile] * rows),
        "region": pa.array([crowd.region] * rows, pa.string()),
        "tags": pa.array([list(crowd.tags)] * rows, pa.list_(pa.string())),
        "began_s": pa.array(began_s),
        "ended_s": pa.array(ended_s),
        "consent": pa.array([1] * rows),
        "epsilon": pa.array([town.epsilon if crowd.drift else 0.0] * rows),
        "histograms": _histograms(town, crowd, day, device, shares, labelled, rng),
        "queries": pa.array([town.queries] * rows),
        "errors": pa.array([0] * rows),
        "labelled": pa.array(labelled),
        "latencies": pa.array([[]] * rows, pa.list_(pa.int64())),
        "missing": pa.array([list(crowd.missing)] * rows, pa.list_(pa.int32())),
        "stuck": pa.array([list(crowd.stuck)] * rows, pa.list_(pa.int32())),
    }
    return conform(pa.table(columns), TableName.WINDOWS)


def _histograms(  # noqa: PLR0917 - one call
    town: Town,
    crowd: Crowd,
    day: int,
    device: NDArray[np.int64],
    shares: list[NDArray[np.float64]],
    labelled: NDArray[np.int64],
    rng: np.random.Generator,
) -> pa.Array:
    rows = len(device)
    if not crowd.drift:
        return pa.array([[]] * rows, pa.list_(pa.list_(pa.int32())))
    parts = []
    for place, feature in enumerate(town.features):
        own = shares[place]
        moves = crowd.features_shifted is None or place in crowd.features_shifted
        if crowd.shift and moves and day >= crowd.shift_from_day:
            own = own * (1.0 + crowd.shift * np.linspace(-1.0, 1.0, own.shape[1]))
            own /= own.sum(axis=1, keepdims=True)
        how_many = labelled if feature.kind is FeatureKind.ERROR else np.full(rows, town.queries)
        counts = rng.multinomial(how_many, own[device])
        parts.append(counts + discrete_laplace(rng, town.epsilon, counts.shape))
    flat = np.concatenate(parts, axis=1).astype(np.int32)
    widths = np.array([part.shape[1] for part in parts])
    inner = np.concatenate([[0], np.cumsum(np.tile(widths, rows))]).astype(np.int32)
    outer = (np.arange(rows + 1) * len(parts)).astype(np.int32)
    bins = pa.ListArray.from_arrays(pa.array(inner), pa.array(flat.ravel()))
    return pa.ListArray.from_arrays(pa.array(outer), bins)


def discrete_laplace(rng: np.random.Generator, epsilon: float, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """P(k) ∝ exp(−|k| · epsilon / `SENSITIVITY`): the difference of two geometric draws."""
    if epsilon == 0.0:
        return np.zeros(shape, np.int64)
    stop = -np.expm1(-epsilon / SENSITIVITY)
    noise: NDArray[np.int64] = rng.geometric(stop, shape) - rng.geometric(stop, shape)
    return noise
