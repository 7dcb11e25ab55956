"""Windows of one release, summed by device and by group, slice by slice of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tinymlops.monitoring.columns import Space
from tinymlops.monitoring.histograms import counts_of
from tinymlops.monitoring.references import Variant
from tinymlops.wire.observations import FeatureKind, noise_variance

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows of one layout that fit it.

    Attributes:
        device: Code of each window's device, rising, shape (windows,).
        counts: Shape (windows, bins of the layout).
        queries: Shape (windows,).
        labelled: Likewise.
        variance: Of the noise on each bin, likewise.
        variant: Place of each window's variant in `variants`, likewise.
        variants: Profiles and recipes.
    """

    device: Codes
    counts: Floats
    queries: Floats
    labelled: Floats
    variance: Floats
    variant: Codes
    variants: list[Variant]


def read_batch(windows: pl.DataFrame, widths: tuple[int, ...]) -> Batch:
    """Windows as matrices; those whose histograms are not as the layout says are left out.

    Args:
        windows: Of one layout, with the devices' codes.
        widths: Bins of each feature of the layout.
    """
    counts, fits = counts_of(windows["histograms"].to_arrow(), widths)
    order = np.argsort(windows["code"].to_numpy()[fits], kind="stable")
    kept = windows.drop("histograms").filter(pl.Series(fits))[order]
    variants = kept.select("profile", "recipe").unique(maintain_order=True).with_row_index("variant")
    epsilons, which = np.unique(kept["epsilon"].to_numpy(), return_inverse=True)
    noise = np.array([noise_variance(float(one)) for one in epsilons])
    return Batch(
        device=kept["code"].to_numpy(),
        counts=counts[order].astype(np.float64),
        queries=kept["queries"].to_numpy().astype(np.float64),
        labelled=kept["labelled"].to_numpy().astype(np.float64),
        variance=noise[which] if len(noise) else np.empty(0),
        variant=kept.join(variants, on=["profile", "recipe"], how="left", maintain_order="left")["variant"]
        .to_numpy()
        .astype(np.int64),
        variants=[(profile, recipe) for profile, recipe in variants.select("profile", "recipe").iter_rows()],
    )


class Sums:
    """What the windows of one release add up to.

    Args:
        space: Of the release's features.
        groups: Group → its devices, shape (devices,).
        slices: Of time.
        devices: How many there are.
    """

    def __init__(self, space: Space, groups: dict[str, Mask], slices: int, devices: int) -> None:
        features, self._names = len(space.features), list(groups)
        self.space = space
        self._members = np.array([groups[name] for name in self._names], np.float64)
        self._errors = np.array([one.kind is FeatureKind.ERROR for one in space.features])
        self.counts = np.zeros((slices, len(groups), space.width))
        self.variance = np.zeros((slices, len(groups), features))
        self.by_device = np.zeros((devices, space.width))
        self.counted = np.zeros((devices, features), np.bool_)
        self.queries = np.zeros(devices)
        self._by_variant: dict[tuple[Variant, str], Floats] = {}

    def add(self, batch: Batch, layout: str, part: int) -> None:
        """Add windows of one layout, of slice ``part``."""
        if not len(batch.device):
            return
        features, columns = self.space.layout(layout)
        # A window without truths holds nothing but noise about errors: it says nothing of them, and is not added.
        counts_errors = np.where(self._errors[features], batch.labelled[:, None] > 0, batch.queries[:, None] > 0)
        bins = np.diff(self.space.starts)[features]
        counts = batch.counts * np.repeat(counts_errors, bins, axis=1)
        devices, first = np.unique(batch.device, return_index=True)
        of_devices = np.add.reduceat(counts, first, axis=0)
        noise = np.add.reduceat(batch.variance[:, None] * counts_errors, first, axis=0)
        members = self._members[:, devices]
        self.counts[part][:, columns] += members @ of_devices
        self.variance[part][:, features] += members @ noise
        self.by_device[np.ix_(devices, columns)] += of_devices
        self.counted[np.ix_(devices, features)] |= np.logical_or.reduceat(counts_errors, first, axis=0)
        self._add_queries(batch, layout)

    def _add_queries(self, batch: Batch, layout: str) -> None:
        size = len(self.queries)
        self.queries += np.bincount(batch.device, batch.queries, size)
        for place, variant in enumerate(batch.variants):
            own = batch.variant == place
            of_devices = np.bincount(batch.device[own], batch.queries[own], size)
            known = self._by_variant.setdefault((variant, layout), np.zeros(size))
            known += of_devices

    def of_group(self, group: str) -> tuple[Floats, Floats]:
        """Counts, shape (slices, columns), and variances of their noise, shape (slices, features)."""
        place = self._names.index(group)
        return self.counts[:, place], self.variance[:, place]

    def queries_by_variant(self, devices: Mask) -> dict[tuple[Variant, str], float]:
        """Variant and layout → queries that ``devices`` answered with it."""
        return {key: float(of_devices[devices].sum()) for key, of_devices in self._by_variant.items()}

    @property
    def contributors(self) -> Mask:
        """Devices that are in any count, shape (devices,)."""
        any_of: Mask = np.logical_or.reduce(self.counted, axis=1)
        return any_of
