"""What a workload learns from the field: labelled samples join its own data, and some of both stay out of training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinymlops.workloads.values import Array, Samples, Split

HELD_OUT = "held out"
"""Rows that training did not see, of the same time as those it saw."""
RECENT = "recent"
"""The newest rows, all of them later than those that training saw."""
OWN = "own test"
"""Test rows of the workload's own data: nobody should lose what the model could do before there was a field."""

RECENT_SHARE = 0.2
HELD_OUT_SHARE = 0.2
VALIDATION_SHARE = 0.15
WANTED_DEVICES = 8
"""Held out, even if that is more than their share: fewer prove nothing of other devices."""

Words = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class FieldSamples:
    """Labelled queries as devices sent them, by time, device and number; without its truth, a query teaches nothing.

    Attributes:
        inputs: float32, shape (n, values): flat, as they travel.
        targets: int64 of shape (n,) for classification, float32 of shape (n, outputs) for regression.
        devices: Who sent each, shape (n,).
        at_s: When it was asked, seconds since 1970.
        profiles: Kind of each device.
        regions: Region of each device, or empty.
    """

    inputs: NDArray[np.float32]
    targets: Array
    devices: Words
    at_s: NDArray[np.float64]
    profiles: Words
    regions: Words

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, chosen: NDArray[np.bool_], shape: tuple[int, ...], groups: Array) -> Samples:
        """The ``chosen`` rows with inputs of ``shape``; ``groups`` has an entry for each of all rows."""
        return Samples(self.inputs[chosen].reshape(-1, *shape), self.targets[chosen], groups[chosen])

    def judged(self, chosen: NDArray[np.bool_], shape: tuple[int, ...], blocks: Array) -> JudgedRows:
        """The ``chosen`` rows, to compare models on."""
        rows = self.rows(chosen, shape, blocks)
        return JudgedRows(rows, self.devices[chosen], self.profiles[chosen], self.regions[chosen])


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """Rows that challenger and champion both answer.

    Attributes:
        samples: Their groups are blocks: rows of different ones are independent.
        devices: Who sent each row; empty for own data.
        profiles: Kind of each device, whose variant answers; empty for own data.
        regions: Region of each device, or empty.
    """

    samples: Samples
    devices: Words
    profiles: Words
    regions: Words


@dataclass(frozen=True, eq=False)
class Renewal:
    """A workload's data with what came from the field.

    Attributes:
        split: To build from; nothing of ``judged`` is in its train or validation part.
        judged: What models are compared on: `HELD_OUT` and `RECENT`, on which a challenger has to be better, and any
            others, on which it must do no harm.
    """

    split: Split
    judged: Mapping[str, JudgedRows]


def own_rows(samples: Samples) -> JudgedRows:
    """Rows of a workload's own data, to compare models on."""
    blank = np.full(len(samples), "")
    return JudgedRows(samples, blank, blank, blank)


def renew_by_device(own: Split, field: FieldSamples, seed: int) -> Renewal:
    """Own data and the field's, split by device and by time.

    The newest fifth by time is `RECENT`. Of the older rows, those of a fifth of the devices (and of `WANTED_DEVICES` if
    half of them are as many) are `HELD_OUT`, those of some others validate, the rest train. Which device is which
    depends on its name and the seed alone: a device that is held out stays so, whoever joins.
    """
    shape = own.train.inputs.shape[1:]
    recent = field.at_s > np.quantile(field.at_s, 1 - RECENT_SHARE)
    held, validating = _parted(field.devices[~recent], seed)
    is_held = ~recent & np.isin(field.devices, held)
    validates = ~recent & np.isin(field.devices, validating)
    parts = {"train": ~recent & ~is_held & ~validates, "validation": validates, "test": is_held}
    joined = {
        part: _joined(getattr(own, part), field.rows(chosen, shape, field.devices)) for part, chosen in parts.items()
    }
    judged = {HELD_OUT: field.judged(is_held, shape, field.devices), RECENT: field.judged(recent, shape, field.devices)}
    judged[OWN] = own_rows(own.test)
    return Renewal(Split(**joined), {name: rows for name, rows in judged.items() if len(rows.samples)})


def _parted(devices: Words, seed: int) -> tuple[list[str], list[str]]:
    """Devices to hold out, and devices to validate on."""
    order = sorted(set(devices.tolist()), key=lambda one: hashlib.sha256(f"{seed} {one}".encode()).digest())
    many = len(order)
    held = max(round(HELD_OUT_SHARE * many), min(WANTED_DEVICES, many // 2))
    return order[:held], order[held : held + round(VALIDATION_SHARE * many)]


def _joined(own: Samples, field: Samples) -> Samples:
    own_groups = np.array([f"own {group}" for group in own.groups.tolist()], dtype=np.str_)
    return Samples(
        np.concatenate([own.inputs, field.inputs]),
        np.concatenate([own.targets, field.targets.astype(own.targets.dtype)]),
        np.concatenate([own_groups, field.groups.astype(np.str_)]),
    )
