"""An owner's site in a folder: real keys, a real release, a real table of windows; flows run by the command line."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pyarrow as pa

from tests.support.owner import FEATURES, WORKLOAD, tiny_manifest, tiny_model
from tests.support.windows import DAY_S, Crowd, Town, inputs, outputs, with_features
from tests.unit.cli.running import tinymlops
from tinymlops.files import sha256
from tinymlops.monitoring.records import MonitorRecords
from tinymlops.premises import Premises
from tinymlops.telemetry.tables import Tables, day_of

LAYOUT = (*inputs(4, 8), *outputs())
MOVED = Crowd(30, region="south", shift=0.9, features_shifted=(1,), labelled=0.5)
QUIET = Crowd(40, region="north", labelled=0.5)
HIDDEN = Crowd(6, region="region-of-six", tags=("tag-of-six",), shift=1.0)


class Site:
    """A site.

    Args:
        folder: For all of it.
        telemetry: Address of the telemetry; in the folder unless given.
        environment: For its commands, besides.
    """

    def __init__(self, folder: Path, telemetry: str | None = None, **environment: str) -> None:
        self.folder, self.state = folder, folder / "state"
        self.telemetry = telemetry or str(self.state / "telemetry")
        self.environment = {
            "TINYMLOPS_STATE": str(self.state),
            "TINYMLOPS_TELEMETRY": self.telemetry,
            "DOCKER_HOST": f"unix://{folder}/no.sock",
            **environment,
        }
        self.premises = Premises(
            store=str(self.state / "repository"),
            private=str(self.state / "private"),
            database=f"sqlite:///{self.state / 'fleet.sqlite'}",
            keys=self.state / "keys",
            telemetry=self.telemetry,
        )

    @property
    def records(self) -> MonitorRecords:
        return MonitorRecords(self.premises.telemetry_store())

    @property
    def tables(self) -> Tables:
        return self.premises.tables()

    def run(self, *words: str) -> CompletedProcess[str]:
        return tinymlops(*words, timeout_s=150, **self.environment)

    def release(self) -> None:
        """The first release, by keys of its own, for devices that count `LAYOUT`."""
        made = self.run("keys", "create", "--development")
        assert made.returncode == 0, made.stderr
        model = tiny_model(1)
        manifest = with_features(tiny_manifest(model, 1, "x86-gateway"), LAYOUT)
        self.premises.publisher().publish([manifest], {sha256(model): model}, why="first", now_s=time.time())


def town(*crowds: Crowd, days: int = 7) -> Town:
    """Windows of the days before today."""
    began_s = (time.time() // DAY_S - days) * DAY_S
    return replace(Town(crowds, features=LAYOUT, days=days), began_s=began_s)


def samples(devices: int, each: int, began_s: float) -> pa.Table:
    """Consented samples that look as the references do."""
    rng, count = np.random.default_rng(3), devices * each
    confident = rng.dirichlet(np.full(4, 0.2), count)
    moments = began_s + (1 + np.arange(count)) * 60.0
    return pa.table(
        {
            "device_id": [f"{number % devices:032x}" for number in range(count)],
            "sequence": np.arange(count) + 2**50,
            "date": [day_of(moment) for moment in moments],
            "received_s": moments,
            "workload": [WORKLOAD] * count,
            "release": [1] * count,
            "recipe": ["int8"] * count,
            "profile": ["x86-gateway"] * count,
            "at_s": moments,
            "consent": [1] * count,
            "inputs": list(rng.normal(size=(count, FEATURES)).astype(np.float32)),
            "output": list(confident),
            "truth": [[float(one)] for one in confident.argmax(axis=1)],
        }
    )


def everything_told(folder: Path) -> bytes:
    """Every byte that the monitor left behind: records, pages, pictures, databases, logs; not the table it read."""
    files = (one for one in folder.rglob("*") if one.is_file() and "tables" not in one.relative_to(folder).parts)
    return b"\n".join(one.read_bytes() for one in files)
