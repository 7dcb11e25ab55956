"""A site that is served, and killed again and again: worker, gateway and Prefect server, by SIGKILL, at random moments.

Each cycle the world moves, a monitor looks and a retraining runs to its release and roll-out, while devices hand
windows in. What has to hold afterwards: every cycle ended with one promotion, one release and one roll-out; every
window that was acknowledged is in the table, once; no run is left running.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.integration.deployments.served import ROOT, Served, moment
from tests.integration.retraining.site import WORKLOAD
from tests.integration.retraining.site import Site as Owner
from tests.support.observations import Teller, consent, window
from tinymlops.retraining import Outcome
from tinymlops.rollouts.rules import turn_back
from tinymlops.wire.encoding import decode, encode_packed
from tinymlops.wire.messages import Acknowledgement, TelemetryBatch
from tinymlops.wire.request_signing import Request, sign

VICTIMS = ("worker", "gateway", "prefect")
CYCLE_S = 900.0
RECOVERY_S = 400.0
"""A sweep that was killed keeps its slot for 90 s; the next comes, and looks twice at what is silent for 150 s."""
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_COMMANDS = {
    "worker": "prefect worker start",
    "gateway": "gateway run",
    "prefect": "prefect server start",
    "engine": "prefect.engine",
}


@dataclass
class Told:
    """A device's windows that the gateway has acknowledged."""

    device: Teller
    through: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Kill:
    """One SIGKILL: who, how long after its cycle's begin, and what the two runs were doing just before."""

    victim: str
    after_s: float
    states: str


@dataclass
class Chaos:
    """The site, its killer and its devices.

    Attributes:
        owner: Keys, releases, samples.
        site: What is served.
        seed: Of who is killed when.
        kills: In order.
        took_s: How long each cycle took.
    """

    owner: Owner
    site: Served
    seed: int
    kills: list[Kill] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - no secret
        self.stop = threading.Event()
        with self.owner.premises.fleet() as fleet:
            self.told = [Told(Teller.of(fleet, profile="x86-gateway")) for _ in range(3)]
        self.threads = [threading.Thread(target=self._tell, args=(one,), daemon=True) for one in self.told]
        for thread in self.threads:
            thread.start()

    def cycle(self, number: int, kills: int, *, span_s: float = 50.0, begun: bool = False) -> None:
        """Move the world, look, retrain, and kill ``kills`` times meanwhile; then wait for the end of it.

        Kills come at random moments from the runs' submission on, one in each ``kills``-th part of ``span_s``; with
        ``begun``, from the moment on that both have begun.
        """
        began_s = time.monotonic()
        self.owner.samples(world=number, each=100, seed=100 + number)
        key = f"chaos-{number}"
        runs = (
            self._start("monitor/monitor", f"look-{number}", {"workload": WORKLOAD, "days": 1}),
            self._start("retrain/retrain", key, {"workload": WORKLOAD, "key": key, "why": "chaos", "fewest": 50}),
        )
        if begun:
            self.site.until(
                lambda: all(self.site.api("GET", f"/flow_runs/{run}")["start_time"] for run in runs), CYCLE_S
            )
        submitted_s = time.monotonic()
        victims = (VICTIMS * -(-kills // len(VICTIMS)))[:kills]
        for place, victim in enumerate(self.random.sample(victims, kills)):
            at_s = span_s / kills * (place + self.random.random())
            time.sleep(max(0.0, submitted_s + at_s - time.monotonic()))
            states = ", ".join(self.site.api("GET", f"/flow_runs/{run}")["state_name"] for run in runs)
            self.kill(victim, time.monotonic() - submitted_s, states)
        self.site.until(lambda: any(one.key == key for one in self.owner.records), CYCLE_S)
        self._turn_back()
        self.site.until(lambda: not self.unfinished(), CYCLE_S)
        self.took_s.append(time.monotonic() - began_s)

    def kill(self, victim: str, after_s: float, states: str) -> None:
        """SIGKILL; with a worker, every other time also what it runs, as when a machine goes dark."""
        names = [victim, "engine"] if victim == "worker" and self.random.random() < 0.5 else [victim]
        for name in names:
            for process, command in self.site.processes().items():
                if _COMMANDS[name] in command and "supervised" not in command:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
        self.kills.append(Kill("worker and its runs" if len(names) > 1 else victim, after_s, states))

    def unfinished(self) -> list[str]:
        """Runs of this loop that a worker has taken and that have not ended, and asked ones that nobody took yet."""
        runs = self.site.api("POST", "/flow_runs/filter", {"limit": 200, "sort": "EXPECTED_START_TIME_DESC"})
        ours = ("monitor", "retrain", "rollout")
        known = {one["id"]: one["name"] for one in self.site.api("POST", "/flows/filter", {})}
        return [
            f"{known[run['flow_id']]} {run['state_name']}"
            for run in runs
            if known.get(run["flow_id"]) in ours and not run["auto_scheduled"] and run["state_type"] not in FINAL
        ]

    def stuck(self) -> list[str]:
        """Runs of any flow that somebody has taken, and that have been in one state for longer than recovery takes."""
        asked = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}, "limit": 200}
        return [
            f"{run['name']} {run['state_name']}"
            for run in self.site.api("POST", "/flow_runs/filter", asked)
            if time.time() - moment(run["state"]["timestamp"]) > RECOVERY_S
        ]

    def lost(self) -> dict[str, tuple[int, int]]:
        """Device → windows that were acknowledged and rows that are in the table, where they differ."""
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
        loaded = self.owner.run("telemetry", "load")
        assert loaded.returncode == 0, loaded.stderr
        assert "refused" not in loaded.stdout, loaded.stdout
        rows = self.owner.premises.tables().scan("windows").select("device_id", "sequence").collect()
        found: dict[str, list[int]] = {one.device.id: [] for one in self.told}
        for device_id, sequence in rows.iter_rows():
            if device_id in found:
                found[device_id].append(sequence)
        wanted = {one.device.id: [*range(2, one.through + 1)] for one in self.told}  # 1 is the consent
        return {
            one: (len(wanted[one]), len(found[one]))
            for one in wanted
            if sorted(sequence for sequence in found[one] if sequence <= (wanted[one] or [0])[-1]) != wanted[one]
        }

    def _start(self, deployment: str, key: str, parameters: dict[str, object]) -> str:
        found = self.site.api("GET", f"/deployments/name/{deployment}")
        asked = {"parameters": parameters, "idempotency_key": key}
        return str(self.site.api("POST", f"/deployments/{found['id']}/create_flow_run", asked)["id"])

    def _turn_back(self) -> None:
        """There are no agents behind these devices: the roll-out would wait for them."""
        steering = self.owner.premises.steering()
        for one in steering.rollouts():
            if not one.status.is_final:
                steering.change(one.rollout_id, lambda it: turn_back(it, "the cycle is over", time.time()))
                steering.step(one.rollout_id)  # assigns what ran before
                steering.step(one.rollout_id)  # sees that nobody is assigned it any more

    def _tell(self, told: Told) -> None:
        """Hand windows in, one after the other; what was not acknowledged is sent again."""
        now_s = time.time()
        agreed = consent(given_s=int(now_s - 60), until_s=int(now_s + 10**6))
        waiting: list[Any] = list(told.device.tell(agreed))
        while not self.stop.wait(0.25):
            if len(waiting) < 5:
                at_s = time.time()
                waiting += told.device.tell(
                    window(workload=WORKLOAD, release=1, began_s=at_s - 60, ended_s=at_s, queries=100 + told.sent)
                )
                told.sent += 1
            body = encode_packed(TelemetryBatch(records=tuple(waiting)))
            headers = sign(Request("POST", "/v1/telemetry", body), told.device.keys, now_s=time.time())
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.post(f"{self.site.gateway}/v1/telemetry", content=body, headers=headers, timeout=10)
                if answer.status_code == 200:
                    told.through = decode(answer.content, Acknowledgement).through
                    waiting = [one for one in waiting if one.sequence > told.through]


@contextlib.contextmanager
def chaos(folder: Path, seed: int) -> Iterator[Chaos]:
    """A site with a release in the field, served until the block ends."""
    owner = Owner(folder)
    owner.begin()
    site = Served(owner.state)
    site.environment |= owner.environment | {"TINYMLOPS_PROJECT": str(ROOT)}
    one = None
    try:
        site.start()
        one = Chaos(owner, site, seed)
        yield one
    finally:
        if one is not None:
            one.stop.set()
        if site.process.poll() is None:
            site.stop()
        for process in site.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def check(one: Chaos, cycles: int) -> None:
    """What has to hold after ``cycles``.

    Raises:
        AssertionError: It does not.
    """
    records = one.owner.records
    outcomes = [(record.key, record.outcome) for record in records]
    assert outcomes == [(f"chaos-{number}", Outcome.PROMOTED) for number in range(1, cycles + 1)], outcomes
    assert one.owner.releases == tuple(range(1, cycles + 2)), one.owner.releases
    assert [record.release for record in records] == list(range(2, cycles + 2))
    assert sorted(rollout.rollout_id for rollout in one.owner.rollouts) == sorted(one.rollout_id for one in records)
    assert one.unfinished() == []
    assert one.stuck() == []
    assert one.lost() == {}
    assert all(told.through > 1 for told in one.told), "no window was acknowledged"
