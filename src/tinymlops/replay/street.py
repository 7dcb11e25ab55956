"""A street sensor as a device: it predicts each hour, learns the truth an hour later, and tells noisy histograms.

Counting, noise and consent are those of the agent (`tinymlops.edge`); what it tells is read as the gateway's records
are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from tinymlops.edge.counting import Layout
from tinymlops.edge.noise import MICRO, noisy
from tinymlops.replay.city import HOURS
from tinymlops.replay.serving import Served
from tinymlops.wire import cose
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import Record
from tinymlops.wire.observations import CONSENT, ChannelHealth, Consent, Purpose, RecordName, Sample, Window

DAY_S = 86_400
HOUR_S = 3_600
EPSILON = 1.0
"""Of a window, shared by its histograms. A window is a day: 24 queries."""
YEARS = 20
_SHORTEST_RUN = 2

Row = NDArray[np.float32]
Truths = NDArray[np.float64]


class StreetSensor:
    """One device.

    Args:
        column: Its place among the inputs of the model.
        seed: Of its keys and noise. A device in the field asks its system for chance; a replay has to be repeatable.
    """

    def __init__(self, column: int, seed: int) -> None:
        self.keys = _keys(seed)
        self.column = column
        self._below = random.Random(seed).randrange  # noqa: S311 - hides nobody: these counts are public
        self._sequence = 0
        self._last, self._run = float("nan"), 0

    def agree(self, day_s: int) -> Record:
        """The consent of whoever runs the sensor, signed by its key."""
        consent = Consent(
            subject="city",
            number=1,
            purposes=(Purpose.OPERATIONS, Purpose.DRIFT, Purpose.SAMPLES),
            given_s=day_s,
            until_s=day_s + YEARS * 366 * DAY_S,
            wording="replay",
        )
        return self._record(RecordName.CONSENT, cose.signed(consent, CONSENT, self.keys.sign))

    def tell(self, day_s: int, weekday: int, counts: Truths, served: Served, layout: Layout) -> Iterator[Record]:
        """Window and samples of a day; nothing of hours without a count, in which the sensor was out of service.

        Args:
            day_s: When the day began, seconds since 1970.
            weekday: 0 for Monday.
            counts: People in each hour, shape (24,), NaN where there is none.
            served: The release that it runs.
            layout: Of the same.
        """
        hours = np.flatnonzero(np.isfinite(counts))
        if not len(hours):
            return
        places = weekday * HOURS + hours
        inputs, answers = served.inputs[self.column][places], served.answers[self.column][places]
        truths = np.log1p(counts[hours])
        yield self._record(
            RecordName.WINDOW,
            encode_packed(self._window(day_s, inputs, answers, truths, served, layout)),
        )
        for hour, row, answer, truth in zip(hours, inputs, answers, truths, strict=True):
            sample = Sample(
                workload=served.manifest.workload,
                release=served.manifest.version,
                recipe=served.manifest.recipe,
                at_s=float(day_s + (int(hour) + 1) * HOUR_S),
                consent=1,
                inputs=row.astype("<f4").tobytes(),
                output=(float(answer),),
                truth=(float(truth),),
            )
            yield self._record(RecordName.SAMPLE, encode_packed(sample))

    def _window(
        self, day_s: int, inputs: Row, answers: Truths, truths: Truths, served: Served, layout: Layout
    ) -> Window:
        counted = layout.empty()
        layout.count(layout.picked(inputs), answers[:, None], counted)
        for truth, answer in zip(truths.tolist(), answers.tolist(), strict=True):
            layout.count_error((truth,), (answer,), counted)
        share = round(EPSILON * MICRO) // max(len(counted), 1)
        manifest = served.manifest
        return Window(
            workload=manifest.workload,
            release=manifest.version,
            recipe=manifest.recipe,
            layout=layout.name,
            began_s=float(day_s),
            ended_s=float(day_s + DAY_S),
            consent=1,
            epsilon=share / MICRO,
            histograms=tuple(noisy(bins.tolist(), share, self._below) for bins in counted),
            queries=len(truths),
            labelled=len(truths),
            channels=self._health(truths, inputs.shape[1]),
        )

    def _health(self, truths: Truths, values: int) -> tuple[ChannelHealth, ...]:
        """Of the counter itself, told as the channel behind those of the input."""
        longest = 0
        for truth in truths.tolist():
            self._run = self._run + 1 if truth == self._last else 1
            self._last = truth
            longest = max(longest, min(self._run, len(truths)))
        return (ChannelHealth(channel=values, stuck=longest),) if longest >= _SHORTEST_RUN else ()

    def _record(self, name: RecordName, content: bytes) -> Record:
        self._sequence += 1
        return Record(self._sequence, name, content)


def _keys(seed: int) -> DeviceKeys:
    """Keys that are the same in every replay, and so worth nothing outside of one: they order the rows of tables."""
    signing, sealing = (sha256(f"replay {seed} {what}".encode()).digest() for what in ("signing", "sealing"))
    return DeviceKeys(Ed25519PrivateKey.from_private_bytes(signing), X25519PrivateKey.from_private_bytes(sealing))
