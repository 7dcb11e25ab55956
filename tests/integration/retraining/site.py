"""An owner whose devices send labelled samples: a real build, release and table; retrained by the command line."""

from __future__ import annotations

import time
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pyarrow as pa

from tests.integration.workloads.moving import rows
from tests.unit.cli.running import tinymlops
from tinymlops.fleet import CodeTerms
from tinymlops.premises import Premises
from tinymlops.retraining import RetrainingRecord
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.rollouts import Rollout
from tinymlops.telemetry.tables import day_of
from tinymlops.wire.encoding import decode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import EnrolmentRequest
from tinymlops.wire.sealing import Cipher

FOLDER = Path(__file__).parents[1] / "workloads"
WORKLOAD = "moving"
PROFILE = "x86-gateway"


class Site:
    """A site with one release in the field.

    Args:
        folder: For all of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        self.environment = {
            "TINYMLOPS_STATE": str(self.state),
            "TINYMLOPS_WORKLOAD_FOLDER": str(FOLDER),
            "DOCKER_HOST": f"unix://{folder}/no.sock",
        }
        self.premises = Premises(
            store=str(self.state / "repository"),
            private=str(self.state / "private"),
            database=f"sqlite:///{self.state / 'fleet.sqlite'}",
            keys=self.state / "keys",
            telemetry=str(self.state / "telemetry"),
        )

    @property
    def records(self) -> tuple[RetrainingRecord, ...]:
        return RetrainingRecords(self.premises.telemetry_store()).history(WORKLOAD)

    @property
    def releases(self) -> tuple[int, ...]:
        return self.premises.records().versions(WORKLOAD)

    @property
    def rollouts(self) -> list[Rollout]:
        with self.premises.fleet() as fleet:
            return [decode(one.document, Rollout) for one in fleet.rollouts()]

    def run(self, *words: str) -> CompletedProcess[str]:
        return tinymlops(*words, timeout_s=400, **self.environment)

    def retrain(self, *words: str) -> CompletedProcess[str]:
        return self.run("retrain", WORKLOAD, "--out", str(self.folder / "out"), *words)

    def begin(self, devices: int = 2) -> None:
        """Keys, a build, its release, and devices that wait for one."""
        for words in (
            ("keys", "create", "--development"),
            ("build", WORKLOAD, "--recipes", "int8", "--devices", PROFILE, "--out", str(self.folder / "out")),
            ("release", WORKLOAD),
        ):
            ended = self.run(*words)
            assert ended.returncode == 0, ended.stderr
        for _ in range(devices):
            self.enrol()

    def enrol(self) -> None:
        """Let a device in, past the gateway."""
        keys = DeviceKeys.generate()
        with self.premises.fleet() as fleet:
            root = (self.premises.keys / "root.json").read_bytes()
            code = fleet.new_code(
                CodeTerms(expires_s=time.time() + 60, root_version=1), root=root, gateway_key=bytes(32)
            )
            request = EnrolmentRequest(
                secret=code.secret, signing_key=keys.public.signing, sealing_key=keys.public.sealing, profile=PROFILE,
                agent_version="0.1.0", cipher=Cipher.CHACHA20_POLY1305,
            )  # fmt: skip
            fleet.enrol(request, now_s=time.time())

    def samples(self, *, world: int, devices: int = 24, each: int = 25, labelled: bool = True, seed: int = 1) -> int:
        """Samples as ingest would have put them into the table; the table's version then."""
        tables = self.premises.tables()
        tables.append_samples(field_rows(world=world, devices=devices, each=each, labelled=labelled, seed=seed))
        return tables.version("samples")


def field_rows(*, world: int, devices: int, each: int, labelled: bool, seed: int) -> pa.Table:
    """Rows of the table of samples, asked from now on."""
    count = devices * each
    inputs, labels = rows(count, 100 + seed, world)
    moments = time.time() + np.arange(count) * 0.01
    return pa.table(
        {
            "device_id": [f"{number % devices:032x}" for number in range(count)],
            "sequence": np.arange(count) + seed * 10_000_000,
            "date": [day_of(moment) for moment in moments],
            "received_s": moments,
            "workload": [WORKLOAD] * count,
            "release": [1] * count,
            "recipe": ["int8"] * count,
            "profile": [PROFILE] * count,
            "region": [("north", "south")[number % devices % 2] for number in range(count)],
            "at_s": moments,
            "consent": [1] * count,
            "inputs": list(inputs),
            "output": [[0.0, 0.0, 1.0]] * count,
            "truth": [[float(one)] if labelled else None for one in labels],
        }
    )
