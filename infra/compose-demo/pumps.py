"""The demo's devices: real agents with real keys, models and requests, two dozen of them in one process.

Only their past is made up: days of readings are counted at once, and the windows say when they would have been.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pump import readings  # type: ignore[import-not-found] # lies in workloads/, as in the containers

from tinymlops.edge.agent import Agent
from tinymlops.edge.consent import Consents
from tinymlops.edge.counting import Layout
from tinymlops.edge.http_transport import HttpTransport
from tinymlops.edge.noise import MICRO, noisy
from tinymlops.edge.settings import AgentSettings
from tinymlops.edge.spool import Kind
from tinymlops.edge.storage import Folder
from tinymlops.errors import TinyMLOpsError
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.observations import Purpose, RecordName, Sample, Window

DAY_S = 86_400.0
WORKLOAD = "pump"
QUERIES_A_DAY = 200
SAMPLES = 60
EPSILON = 1.0
_CONSENT_S = 60 * DAY_S


class Pump:
    """One device.

    Args:
        folder: Of its agent.
        gateway: Address.
        code: To get in with.
        number: Seeds its readings.
    """

    def __init__(self, folder: Path, gateway: str, code: str, number: int) -> None:
        self._folder = Folder(folder)
        self._rng = np.random.default_rng([7, number])
        self.agent = Agent(self._folder, HttpTransport(gateway), settings=AgentSettings(trial_s=1.0))
        self.agent.enrol(EnrolmentCode.parse(code), gateway, "x86-gateway")
        self.agent.open()

    def agree(self, given_s: float) -> None:
        """Its person agrees to everything."""
        consents = Consents(self._folder, self.agent.keys, lambda: given_s, lambda *_: None)
        consents.give(tuple(Purpose), subject="demo", until_s=given_s + _CONSENT_S)
        for _, message in consents.messages(after=0):
            self.agent.observe(Kind.OBSERVATION, RecordName.CONSENT, message)

    def live(self, began_s: float, days: int, *, remounted: bool) -> float:
        """Answer queries of some days, a window a day; the fraction that was right."""
        right = [self._day(began_s + day * DAY_S, remounted=remounted) for day in range(days)]
        return float(np.mean(right))

    def sample(self, *, remounted: bool) -> None:
        """Hand in single readings of just now, with their true states."""
        model = self.agent.models[WORKLOAD]
        manifest = model.manifest()
        inputs, states = readings(SAMPLES, self._rng, remounted=remounted)
        for values, state in zip(inputs, states, strict=True):
            sample = Sample(
                workload=WORKLOAD,
                release=manifest.version,
                recipe=manifest.recipe,
                at_s=time.time(),
                consent=1,
                inputs=values.astype("<f4").tobytes(),
                output=model.predict(values).confidences,
                truth=(float(state),),
            )
            self.agent.observe(Kind.OBSERVATION, RecordName.SAMPLE, encode_packed(sample))

    @property
    def version(self) -> int | None:
        """Of the release that it runs."""
        ready = WORKLOAD in self.agent.models and self.agent.models[WORKLOAD].release is not None
        return self.agent.models[WORKLOAD].manifest().version if ready else None

    def _day(self, began_s: float, *, remounted: bool) -> float:
        model = self.agent.models[WORKLOAD]
        manifest = model.manifest()
        layout = Layout(manifest)
        inputs, states = readings(QUERIES_A_DAY, self._rng, remounted=remounted)
        answers = np.array([model.predict(one).confidences for one in inputs], np.float64)
        counts = layout.empty()
        layout.count(layout.picked(inputs), answers, counts)
        for answer, state in zip(answers, states, strict=True):
            layout.count_error((float(state),), answer.tolist(), counts)
        each = int(EPSILON * MICRO) // len(counts)
        window = Window(
            workload=WORKLOAD,
            release=manifest.version,
            recipe=manifest.recipe,
            layout=layout.name,
            began_s=began_s,
            ended_s=began_s + DAY_S - 1,
            consent=1,
            epsilon=each / MICRO,
            histograms=tuple(noisy(bins.tolist(), each) for bins in counts),
            queries=QUERIES_A_DAY,
            labelled=QUERIES_A_DAY,
        )
        self.agent.observe(Kind.OBSERVATION, RecordName.WINDOW, encode_packed(window))
        return float((answers.argmax(axis=1) == states).mean())


@contextmanager
def awake(pumps: Sequence[Pump]) -> Iterator[None]:
    """Let all devices go their rounds in the background, one after the other."""
    stop = threading.Event()

    def rounds() -> None:
        while not stop.wait(0.5):
            for pump in pumps:
                pump.agent.cycle()

    thread = threading.Thread(target=rounds, name="pumps", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


def hand_in(pumps: Sequence[Pump]) -> None:
    """Send what waits on the devices.

    Raises:
        TinyMLOpsError: The gateway did not take it.
    """
    for pump in pumps:
        pump.agent.step()
        if pump.agent.spool.waiting(1):
            raise TinyMLOpsError("observations still wait on a device", "look into the gateway's log")
