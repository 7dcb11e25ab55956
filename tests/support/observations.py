"""Windows, samples and consents as devices send them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.support.fleet_contract import new_code, wanted
from tinymlops.fleet import Fleet
from tinymlops.wire import cose
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import Record, TelemetryBatch
from tinymlops.wire.observations import CONSENT, Consent, Purpose, RecordName, Sample, Window

NOW_S = 1_900_000_000.0
HOUR_S = 3600.0
ALL = (Purpose.OPERATIONS, Purpose.DRIFT, Purpose.SAMPLES)


def window(**changes: Any) -> Window:
    """Six hours of a hundred queries, with noise of none at all."""
    chosen: dict[str, Any] = {
        "workload": "activity",
        "release": 3,
        "recipe": "int8",
        "layout": "0123456789abcdef",
        "began_s": NOW_S - 6 * HOUR_S,
        "ended_s": NOW_S,
        "consent": 1,
        "epsilon": 1.0,
        "histograms": ((40, 60), (10, 20, 70)),
        "queries": 100,
        "latencies": (0, 90, 10),
        "memory_kib": 9_000,
        "energy_uj": 5.5,
    }
    return Window(**chosen | changes)


def sample(**changes: Any) -> Sample:
    """A query with three inputs."""
    chosen: dict[str, Any] = {
        "workload": "activity",
        "release": 3,
        "recipe": "int8",
        "at_s": NOW_S - 60,
        "consent": 1,
        "inputs": np.asarray([0.5, -1.0, 2.0], "<f4").tobytes(),
        "output": (0.25, 0.75),
        "truth": (1.0,),
    }
    return Sample(**chosen | changes)


def consent(**changes: Any) -> Consent:
    """To everything, since yesterday, for a year."""
    chosen: dict[str, Any] = {
        "subject": "household-1",
        "number": 1,
        "purposes": ALL,
        "given_s": int(NOW_S - 24 * HOUR_S),
        "until_s": int(NOW_S + 365 * 24 * HOUR_S),
        "wording": "v1",
    }
    return Consent(**chosen | changes)


@dataclass
class Teller:
    """A device that numbers and signs what it tells."""

    keys: DeviceKeys = field(default_factory=DeviceKeys.generate)
    sequence: int = 0

    @classmethod
    def of(cls, fleet: Fleet, *, profile: str = "raspberry-pi-5", **terms: object) -> Teller:
        """One that the fleet has let in."""
        teller = cls()
        fleet.enrol(wanted(new_code(fleet, **terms), teller.keys, profile), now_s=NOW_S)
        return teller

    @property
    def id(self) -> str:
        return self.keys.device_id

    def tell(self, *told: Consent | Window | Sample) -> tuple[Record, ...]:
        """Records of these, in this order."""
        return tuple(self._record(one) for one in told)

    def batch(self, *told: Consent | Window | Sample) -> TelemetryBatch:
        return TelemetryBatch(records=self.tell(*told))

    def _record(self, told: Consent | Window | Sample) -> Record:
        self.sequence += 1
        if isinstance(told, Consent):
            content = cose.signed(told, CONSENT, self.keys.sign)
            return Record(self.sequence, RecordName.CONSENT, content)
        name = RecordName.WINDOW if isinstance(told, Window) else RecordName.SAMPLE
        return Record(self.sequence, name, encode_packed(told))
