"""Each trigger starts exactly one run, in a real Prefect server, with a real worker and a real gateway.

Serving begins with a run that is killed with its worker: by the last test its heartbeats have been away for long
enough, and it has been run again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.automations import SILENCE
from tests.integration.deployments.served import ROOT, Served, moment, served
from tinymlops.fleet import WebhookState, open_fleet
from tinymlops.gateway.webhook_signatures import Secret
from tinymlops.gateway.webhooks import PATH, RetrainStatus
from tinymlops.wire.encoding import decode

HERE = Path(__file__).parent
MOST_S = 45.0
"""From a run's beginning in Prefect to that of its code, on a busy machine; on a quiet one it is 3 s."""
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass
class Killed:
    """A run whose worker and process were killed."""

    run_id: str
    file: Path
    at_s: float


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as site:
        yield site


@pytest.fixture(scope="module", autouse=True)
def killed(site: Served) -> Killed:
    """A run under way, whose worker and whose own process end by kill -9 at once, like a machine that goes dark."""
    environment = site.environment | {"PREFECT_API_URL": f"{site.prefect}/api"}
    subprocess.run([sys.executable, str(HERE / "hold.py")], env=environment, cwd=ROOT, timeout=120, check=True)
    file = site.state / "begun"
    run_id = site.start_run("hold/hold", file=str(file), seconds=600)
    site.until(file.exists, 60)
    time.sleep(2)  # its first heartbeat is on its way to the server
    worker = site.process_of("prefect worker start")
    os.kill(worker, signal.SIGSTOP)  # so that it can tell nobody
    os.kill(site.process_of("prefect.engine"), signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    return Killed(run_id, file, time.time())


def said(answer: httpx.Response) -> RetrainStatus:
    assert answer.status_code == 202, answer.text
    return decode(answer.content, RetrainStatus)


def ended_run(site: Served, run_id: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        run: dict[str, Any] = site.api("GET", f"/flow_runs/{run_id}")
        return run if run["state_type"] in FINAL else None

    return site.until(found, 60)


def key_of(name: str) -> dict[str, str]:
    return {"key": f"webhook-{name}"}


def test_a_worker_that_dies_is_started_again(site: Served) -> None:
    site.until(lambda: "worker has ended (SIGKILL); it is started again" in site.said(), 20)


def test_every_deployment_has_its_schedule_and_limit(site: Served) -> None:
    found = {one["name"]: one for one in site.api("POST", "/deployments/filter", {"limit": 200})}
    assert found["drift"]["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert found["ingest"]["schedules"][0]["schedule"]["cron"] == "*/5 * * * *"
    assert found["ingest"]["status"] == "READY"
    assert len(site.api("POST", "/automations/filter", {})) == 3


def test_a_webhook_is_a_run_within_five_seconds(site: Served) -> None:
    site.until(lambda: "started again" in site.said(), 20)
    time.sleep(5)  # the worker that was started again asks for work
    asked_s = time.time()
    answer = said(site.webhook("quick", b'{"workload":"activity","why":"a test"}'))
    assert answer.run is not None
    run = site.begun("retrain", MOST_S, **key_of("quick"))
    assert answer.run == f"{site.prefect}/runs/flow-run/{run['id']}"
    assert run["parameters"]["trigger"] == "webhook"
    assert moment(run["created"]) - asked_s <= 5


def test_a_hundred_duplicates_at_once_are_one_run(site: Served) -> None:
    body = b'{"workload":"activity","why":"a hundred times"}'
    headers = site.signed("hundred", body)
    with ThreadPoolExecutor(100) as pool:
        posts = [pool.submit(site.client.post, site.gateway + PATH, content=body, headers=headers) for _ in range(100)]
        answers = {said(post.result()) for post in posts}
    # on a busy machine some are answered before Prefect has said which run it is
    assert {answer.id for answer in answers} == {"hundred"}
    assert len({answer.run for answer in answers if answer.run is not None}) <= 1
    site.until(lambda: site.runs("retrain", **key_of("hundred")), 30)
    assert len(site.runs("retrain", **key_of("hundred"))) == 1


def test_what_is_not_believed_is_refused_and_starts_nothing(site: Served) -> None:
    before = len(site.runs("retrain"))
    statuses = {
        "forged": site.webhook("bad-1", secret=Secret(bytes(32))),
        "stale": site.webhook("bad-2", time_s=time.time() - 301),
        "replayed with another body": site.webhook("quick"),
        "oversized": site.webhook("bad-3", b" " * 20_000),
        "unknown parameter": site.webhook("bad-4", b'{"workload":"activity","seed":1}'),
        "another workload": site.webhook("bad-5", b'{"workload":"fashion"}'),
    }
    assert {name: answer.status_code for name, answer in statuses.items()} == {
        "forged": 401, "stale": 401, "replayed with another body": 409, "oversized": 413,
        "unknown parameter": 400, "another workload": 400,
    }  # fmt: skip
    with open_fleet(f"sqlite:///{site.state / 'fleet.sqlite'}") as fleet:
        assert [fleet.outbox.find(f"bad-{number}") for number in range(1, 6)] == [None] * 5
        assert fleet.outbox.waiting() == 0
    assert len(site.runs("retrain")) == before


def test_a_storm_of_drift_starts_one_run_within_ten_seconds(site: Served) -> None:
    asked_s = time.time()
    site.drift("activity", times=50)
    run = site.begun("drift", MOST_S, workload="activity")
    assert moment(run["created"]) - asked_s <= 10
    assert run["parameters"]["why"] == "0.31", "text stays text"
    assert run["parameters"]["key"].startswith("drift-activity-3-20")
    site.drift("activity", times=50)
    time.sleep(3)
    assert len(site.runs("drift")) == 1


def test_a_schedule_tick_starts_one_run(site: Served) -> None:
    name = "every-minute"
    made = (
        "import asyncio, deployments.all as a, deployments.plans as p\n"
        f"asyncio.run(a._apply(p.Plan(flow='maintain', name='{name}', what='', cron='* * * * *')))\n"
    )
    environment = site.environment | {"PREFECT_API_URL": f"{site.prefect}/api"}
    subprocess.run([sys.executable, "-c", made], env=environment, cwd=ROOT, timeout=120, check=True)
    run = site.begun(name, 60 + MOST_S)
    found = site.api("GET", f"/deployments/name/maintain/{name}")
    site.api("DELETE", f"/deployments/{found['id']}")
    assert run["auto_scheduled"]
    assert run["expected_start_time"][17:19] == "00"
    ticks = [one["expected_start_time"] for one in site.runs(name) if one["start_time"]]
    assert ticks == [*dict.fromkeys(ticks)]


def test_while_prefect_restarts_a_webhook_waits_and_is_one_run(site: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(site.webhook, "restart") for _ in range(4)]
        os.kill(site.process_of("prefect server start"), signal.SIGKILL)
        posts += [pool.submit(site.webhook, "restart") for _ in range(4)]
        away = said(site.webhook("restart-2"))
        assert len({said(post.result()).id for post in posts}) == 1
    assert (away.state, away.run) == (WebhookState.WAITING, None)
    assert "Prefect does not answer" in away.note
    deadline = time.monotonic() + 90
    for name in ("restart", "restart-2"):
        while site.status(name).state is not WebhookState.STARTED:
            assert time.monotonic() < deadline, site.status(name)
            time.sleep(0.5)  # more often would soon be too often for the gateway
        assert len(site.runs("retrain", **key_of(name))) == 1


def test_every_run_ends_and_the_killed_one_was_begun_again(site: Served, killed: Killed) -> None:
    site.until(lambda: killed.file.read_text() == "begun\nbegun\n", SILENCE.seconds + 45)
    ended = ended_run(site, killed.run_id)
    assert (ended["state_type"], ended["run_count"]) == ("COMPLETED", 2)
    for name in ("retrain", "drift", "maintain", "ingest"):
        for run in site.runs(name):
            if run["start_time"]:
                ended_run(site, run["id"])


def test_one_ctrl_c_ends_everything(site: Served) -> None:
    assert len(site.processes()) > 4
    assert site.stop() == 0
    assert site.processes() == {}
    assert "Stopped" in site.output.read_text()
