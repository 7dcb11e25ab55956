"""Who sent windows, which groups they are in, and how their sensors do: a light pass over the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tinymlops.drift import FLEET, DeviceHistory, SensorMasks, sensors_of

Mask = NDArray[np.bool_]

ILL = pl.col("missing").list.len().fill_null(0) + pl.col("stuck").list.len().fill_null(0) > 0
"""Windows with a channel that was not well: they are in no count."""


@dataclass(frozen=True, eq=False)
class RollCall:
    """Every device of a workload.

    Attributes:
        devices: A row a device, with ``code`` rising from 0: what is known of it at its last window.
        began_s: Of the span that is looked at.
        ended_s: Likewise.
    """

    devices: pl.DataFrame
    began_s: float
    ended_s: float

    def __len__(self) -> int:
        return len(self.devices)

    @cached_property
    def sensors(self) -> SensorMasks:
        """Which devices are well."""
        column = {name: self.devices[name].to_numpy().astype(np.float64) for name in _HISTORY}
        return sensors_of(DeviceHistory(**column), self.began_s, self.ended_s)

    def codes(self, groups: dict[str, Mask], least: int) -> pl.DataFrame:
        """Identity and code of the devices whose windows count.

        Args:
            groups: As `groups` gives them.
            least: Devices that a group must have.
        """
        counted = self.sensors.sound & ~self._few_outside(groups, least)
        return self.devices.select("device_id", "code").filter(pl.Series(counted))

    def groups(self, least: int) -> dict[str, Mask]:
        """Group → its devices, shape (devices,); the fleet first. Groups of fewer than ``least`` are left out."""
        found: dict[str, Mask] = {FLEET: np.ones(len(self), np.bool_)}
        found |= dict(self._by("profile", least))
        found |= dict(self._by("region", least))
        found |= dict(self._by("tags", least))
        return found

    def _few_outside(self, groups: dict[str, Mask], least: int) -> Mask:
        """Devices that would cost a region or profile its verdict.

        Where a few are in none that is large enough, the fleet less all others would be those few, so that another
        region would have to be hidden with theirs. It is better to leave the few out of all sums.
        """
        few = np.zeros(len(self), np.bool_)
        for kind in ("profile=", "region="):
            own = [mask & self.sensors.sound for name, mask in groups.items() if name.startswith(kind)]
            large = [mask for mask in own if mask.sum() >= least]
            outside = self.sensors.sound & ~np.logical_or.reduce([few, *large])
            if len(large) > 1 and outside.sum() < least:
                few |= outside
        return few

    def _by(self, column: str, least: int) -> Iterator[tuple[str, Mask]]:
        one_each = self.devices.select("code", pl.col(column).alias("name"))
        if column == "tags":
            one_each = one_each.explode("name", empty_as_null=True).unique()
        members = one_each.drop_nulls().group_by("name").agg(pl.col("code")).filter(pl.col("code").list.len() >= least)
        for name, codes in members.sort("name").iter_rows():
            mask = np.zeros(len(self), np.bool_)
            mask[codes] = True
            yield f"{column.removesuffix('s')}={name}", mask


_LAST = ("region", "profile", "tags", "release")
_HISTORY = ("first_s", "last_s", "windows", "missing", "stuck")


def call_roll(windows: pl.LazyFrame, began_s: float, ended_s: float) -> RollCall:
    """Everybody who sent a window.

    Args:
        windows: Of one workload, from some time before the span to its end: earlier ones tell who is new, and who fell
            silent.
        began_s: Of the span, seconds since 1970.
        ended_s: Likewise.
    """
    within = pl.col("ended_s") > began_s
    devices = (
        windows.select(
            "device_id",
            "ended_s",
            "region",
            "profile",
            "tags",
            "release",
            within.alias("within"),
            (within & (pl.col("missing").list.len() > 0)).alias("missing"),
            (within & (pl.col("stuck").list.len() > 0)).alias("stuck"),
        )
        .group_by("device_id")
        .agg(
            pl.col("ended_s").min().alias("first_s"),
            pl.col("ended_s").max().alias("last_s"),
            pl.col("within").sum().alias("windows"),
            pl.col("missing").sum(),
            pl.col("stuck").sum(),
            *(pl.col(name).get(pl.col("ended_s").arg_max()) for name in _LAST),
        )
        .sort("device_id")
        .collect(engine="streaming")
    )
    return RollCall(devices.with_columns(pl.int_range(len(devices), dtype=pl.Int64).alias("code")), began_s, ended_s)
