"""Single queries that are kept to learn from, where their person agreed to that: few, chosen, capped."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from tinymlops.edge.prediction import Prediction
from tinymlops.edge.settings import ObservationSettings, Sampling
from tinymlops.edge.tensors import Floats
from tinymlops.wire.observations import Sample

if TYPE_CHECKING:
    from tinymlops.edge.tallies import Tally

_MOST_INPUT_BYTES = 128 * 1024
_DAY_S = 86_400.0


class Taken(msgspec.Struct, frozen=True):
    """Samples that have left for the spool on one day, counted since 1970."""

    day: int = 0
    count: int = 0
    bytes: int = 0

    def on(self, now_s: float) -> Taken:
        """The same, or none where another day has begun."""
        day = int(now_s // _DAY_S)
        return self if self.day == day else Taken(day)


class Sampler:
    """Chooses samples.

    Args:
        settings: How, and how many.
        rng: Draws the random ones.
    """

    def __init__(self, settings: ObservationSettings, rng: random.Random) -> None:
        self._settings, self._rng = settings, rng

    def choose(self, tally: Tally, rows: Floats, answers: Sequence[Prediction], now_s: float) -> None:
        """Look at further queries of a tally.

        Args:
            tally: Keeps what is chosen.
            rows: Inputs, shape (n, values).
            answers: To them.
            now_s: Seconds since 1970.
        """
        if rows.shape[1] * 4 > min(_MOST_INPUT_BYTES, self._settings.sample_bytes_a_day):
            return
        surest = self._surest(tally)
        for row, answer in zip(rows, answers, strict=True):
            tally.seen += 1
            place = self._place(tally, answer, surest)
            if place is None:
                continue
            tally.samples.pop(place, None)
            key = tally.key
            tally.samples[answer.id] = Sample(
                workload=key.workload, release=key.release, recipe=key.recipe, at_s=now_s, consent=tally.consent,
                inputs=row.astype("<f4").tobytes(), output=answer.confidences,
            )  # fmt: skip
            surest = self._surest(tally)

    def allowed(self, samples: Sequence[Sample], taken: Taken) -> tuple[list[Sample], Taken]:
        """Of ``samples``, those that the day still has room for, and what is taken then."""
        kept: list[Sample] = []
        for sample in samples:
            size = len(sample.inputs)
            if taken.count >= self._settings.samples_a_day or taken.bytes + size > self._settings.sample_bytes_a_day:
                break
            taken = Taken(taken.day, taken.count + 1, taken.bytes + size)
            kept.append(sample)
        return kept, taken

    def _surest(self, tally: Tally) -> tuple[float, int]:
        """Confidence and number of the sample that gives way first; found anew only after a change: it takes time."""
        return max(((max(one.output), number) for number, one in tally.samples.items()), default=(0.0, 0))

    def _place(self, tally: Tally, answer: Prediction, surest: tuple[float, int]) -> int | None:
        """Whose place ``answer`` takes; its own number while there is room, None where it is not chosen."""
        most = self._settings.samples_a_day
        if len(tally.samples) < most:
            return answer.id
        if not most:
            return None
        if self._settings.sampling is Sampling.UNCERTAIN and answer.label:
            return surest[1] if max(answer.confidences) < surest[0] else None
        # Vitter 1985, "Random Sampling with a Reservoir", algorithm R
        drawn = self._rng.randrange(tally.seen)
        return list(tally.samples)[drawn] if drawn < most else None
