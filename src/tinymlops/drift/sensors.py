"""Sensors that are not well, told apart from drift: their devices' windows leave the test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinymlops.drift.evidence import SensorEvidence

SICK_SHARE = 0.5
"""Of a device's windows: with a channel missing or stuck in so many of them, its sensor is not well."""

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceHistory:
    """What is known of each device, shape (devices,) throughout.

    Attributes:
        first_s: End of its first window ever, or of the first that is still kept.
        last_s: End of its last window.
        windows: That it sent within the span.
        missing: Of these, the ones with a channel that had no values.
        stuck: Of these, the ones with a channel that did not move.
    """

    first_s: Floats
    last_s: Floats
    windows: Floats
    missing: Floats
    stuck: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class SensorMasks:
    """Which devices are which, shape (devices,) throughout.

    Attributes:
        missing: Lack values on a channel.
        stuck: Have a channel that does not move, and lack none.
        silent: Sent windows, and none in the second half of the span.
        new: Began within the span, while others were there before.
        sound: Have windows in the span, and are neither missing nor stuck: what the test rests on.
    """

    missing: Mask
    stuck: Mask
    silent: Mask
    new: Mask
    sound: Mask

    def among(self, devices: Mask) -> SensorEvidence:
        """How many of ``devices`` (a group) are which."""
        return SensorEvidence(
            missing=int(np.sum(self.missing & devices)),
            stuck=int(np.sum(self.stuck & devices)),
            silent=int(np.sum(self.silent & devices)),
            new=int(np.sum(self.new & devices)),
        )


def sensors_of(history: DeviceHistory, began_s: float, ended_s: float) -> SensorMasks:
    """Sort devices by how their sensors do within a span.

    Args:
        history: Of every device of the workload, those without windows in the span included.
        began_s: Of the span.
        ended_s: Likewise.
    """
    within = history.windows > 0
    missing = within & (history.missing >= SICK_SHARE * history.windows)
    stuck = within & ~missing & (history.stuck >= SICK_SHARE * history.windows)
    silent = history.last_s <= (began_s + ended_s) / 2
    began = history.first_s > began_s
    new = within & began & bool((~began).any())
    return SensorMasks(missing=missing, stuck=stuck, silent=silent, new=new, sound=within & ~missing & ~stuck)
