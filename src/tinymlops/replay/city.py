"""Six years of a city: what each street sensor counted, hour by hour, and one sensor more that breaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinymlops.workloads.footfall import read_counts

HOURS = 24
WEEKDAYS = 7

Days = NDArray[np.datetime64]
Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Planted:
    """A second counter beside a real one, which gets stuck: it repeats one number from some day on.

    Attributes:
        of: The real sensor.
        first: Day on which it is put up.
        stuck: Day from whose noon on it repeats itself.
        last: Its last day.
    """

    of: str
    first: str
    stuck: str
    last: str

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.of} (planted copy)"


PLANTED = Planted("45 Queen Street", "2023-09-01", "2023-10-01", "2024-01-31")


@dataclass(frozen=True, eq=False)
class City:
    """What all sensors counted.

    Attributes:
        sensors: Their names; the planted one, if any, is the last.
        columns: Place of each among the inputs of the model: a copy has that of its original.
        days: Shape (days,).
        counts: People in an hour, shape (sensors, days, 24); NaN where there is none.
    """

    sensors: tuple[str, ...]
    columns: tuple[int, ...]
    days: Days
    counts: Counts

    def between(self, first: str, last: str) -> City:
        """The days from ``first`` to ``last``, both included."""
        chosen = (self.days >= np.datetime64(first)) & (self.days <= np.datetime64(last))
        return City(self.sensors, self.columns, self.days[chosen], self.counts[:, chosen])


def read_city(planted: Planted | None = PLANTED) -> City:
    """The counts of Auckland's city centre."""
    table = read_counts()
    sensors = sorted(table["sensor"].unique())
    days = np.unique(table["date"].to_numpy().astype("datetime64[D]"))
    counts = np.full((len(sensors), len(days), HOURS), np.nan)
    at = np.searchsorted(days, table["date"].to_numpy().astype("datetime64[D]"))
    sensor = np.searchsorted(sensors, table["sensor"].to_numpy().astype(str))
    counts[sensor, at, table["hour"].to_numpy()] = table["count"].to_numpy(np.float64)
    city = City(tuple(sensors), tuple(range(len(sensors))), days, counts)
    return city if planted is None else _with(city, planted)


def inputs_of(column: int, sensors: int) -> NDArray[np.float32]:
    """One-hot inputs of every hour of a week at one sensor, shape (168, values); Monday's first hour comes first."""
    rows = WEEKDAYS * HOURS
    weekday, hour = np.divmod(np.arange(rows), HOURS)
    place = np.repeat(np.eye(sensors, dtype=np.float32)[column][None], rows, axis=0)
    return np.concatenate([np.eye(HOURS)[hour], np.eye(WEEKDAYS)[weekday], place], axis=1).astype(np.float32)


def weekdays(days: Days) -> NDArray[np.int64]:
    """0 for Monday; shape (days,)."""
    return (days.astype("datetime64[D]").astype(np.int64) + 3) % WEEKDAYS  # 1 January 1970 was a Thursday


def _with(city: City, planted: Planted) -> City:
    column = city.sensors.index(planted.of)
    copy = city.counts[column].copy()
    copy[(city.days < np.datetime64(planted.first)) | (city.days > np.datetime64(planted.last))] = np.nan
    flat, noon = copy.reshape(-1), HOURS // 2
    stuck = int(np.searchsorted(city.days, np.datetime64(planted.stuck))) * HOURS + noon
    flat[stuck:] = np.where(np.isnan(flat[stuck:]), np.nan, flat[stuck - 1])
    counts = np.concatenate([city.counts, flat.reshape(1, -1, HOURS)])
    return City((*city.sensors, planted.name), (*city.columns, column), city.days, counts)
