"""Sees the queries of one workload, and hears what really was when somebody learns it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec
import numpy.typing as npt

from tinymlops.edge.counting import missing_channels
from tinymlops.wire.observations import Purpose

if TYPE_CHECKING:
    from tinymlops.edge.observing import Observing
    from tinymlops.edge.prediction import Prediction
    from tinymlops.edge.tensors import Floats
    from tinymlops.wire.manifest import Manifest

_MOST_REMEMBERED = 4096
_MOST_VALUES = 65_536


class Watch:
    """What one model tells its observer; thread-safe.

    Args:
        observing: Counts.
        workload: Which task.
    """

    def __init__(self, observing: Observing, workload: str) -> None:
        self._observing, self._workload = observing, workload
        # Numbers of another process can't be mistaken for this one's
        self._number = secrets.randbelow(2**31) << 21
        self._recent: list[tuple[Prediction, Manifest] | None] = []

    def number(self) -> int:
        """For the next answer, so that its truth can be told later."""
        self._number += 1
        return self._number

    def saw(self, manifest: Manifest, real: Floats, prediction: Prediction) -> None:
        """A query and its answer."""
        with self._observing.lock:
            counting = self._observing.counting(self._workload, manifest)
            if counting is None:
                return
            if counting.add(real, prediction):
                self._observing.settle(counting)
            if not self._recent:
                most = max(64, min(_MOST_REMEMBERED, _MOST_VALUES // len(prediction.confidences)))
                self._recent = [None] * most
            self._recent[prediction.id % len(self._recent)] = (prediction, manifest)

    def failed(self, manifest: Manifest) -> None:
        """A query that the model did not answer."""
        with self._observing.lock:
            counting = self._observing.counting(self._workload, manifest)
            if counting is not None and Purpose.OPERATIONS in counting.tally.purposes:
                counting.tally.errors += 1

    def refused(self, manifest: Manifest, values: npt.ArrayLike) -> None:
        """A query whose input could not be taken: a sensor may be missing."""
        with self._observing.lock:
            counting = self._observing.counting(self._workload, manifest)
            if counting is None or Purpose.OPERATIONS not in counting.tally.purposes:
                return
            tally = counting.tally
            for channel in missing_channels(values, manifest):
                if channel in tally.channels:
                    tally.missing[tally.channels.index(channel)] += 1

    def learn(self, number: int, truth: object) -> bool:
        """What was really right for an earlier answer; False where that is not remembered, or not agreed to.

        Args:
            number: The answer's ``id``.
            truth: A label or its index; or output values.

        Raises:
            UsageError: It is nothing that this model could have answered.
        """
        with self._observing.lock:
            place = number % len(self._recent) if self._recent else 0
            known = self._recent[place] if self._recent else None
            if known is None or known[0].id != number:
                return False
            prediction, manifest = known
            counting = self._observing.counting(self._workload, manifest)
            if counting is None:
                return False
            told = counting.layout.truth(truth)
            self._recent[place] = None  # a truth counts once
            self._observing.settle(counting)
            tally = counting.tally
            if number in tally.samples:
                tally.samples[number] = msgspec.structs.replace(tally.samples[number], truth=told)
            if Purpose.DRIFT in tally.purposes:
                counting.layout.count_error(told, prediction.confidences, tally.histograms)
                tally.labelled += 1
            return True
