"""The monitor from the table to what people see: real Delta, Prefect, MLflow, Evidently and browser."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
from msgspec.structs import replace

from tests.integration.monitoring.site import HIDDEN, MOVED, QUIET, Site, everything_told, samples, town
from tests.integration.test_pages import BROWSER, page, served
from tests.support.owner import WORKLOAD
from tests.support.seaweedfs import BUCKET, S3Server
from tests.support.windows import DAY_S, Crowd
from tests.unit.monitoring.looks import references
from tinymlops.drift import FLEET, Level, Rules
from tinymlops.monitoring.drawing import draw
from tinymlops.monitoring.looking import look
from tinymlops.monitoring.records import MonitorRecords
from tinymlops.monitoring.references import ReferenceFinder
from tinymlops.monitoring.spans import span_of
from tinymlops.store import open_store
from tinymlops.telemetry.tables import Tables


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site where a region drifts, looked at twice at the same moment, beside its Prefect server."""
    folder = tmp_path_factory.mktemp("monitored")
    with served("prefect", folder / "state", "/api/health") as url:
        site = Site(folder, PREFECT_API_URL=f"{url}/api")
        site.release()
        seen = town(MOVED, QUIET, HIDDEN)
        seen.fill(site.tables)
        until = datetime.fromtimestamp(seen.ended_s, UTC).isoformat()
        for _ in range(2):
            ended = site.run("monitor", WORKLOAD, "--until", until)
            assert ended.returncode == 0, ended.stderr
            (folder / "said").write_text(ended.stdout + ended.stderr)
        site.environment["PAGES"] = url
        yield site


def ask(site: Site, what: str, question: dict[str, Any] | None = None) -> Any:
    url = f"{site.environment['PREFECT_API_URL']}/{what}/filter"
    return httpx.post(url, json=question or {}, timeout=20).raise_for_status().json()


def test_the_verdict_is_kept_and_said(site: Site) -> None:
    report = site.records.newest(WORKLOAD)

    assert report is not None
    levels = {one.group: one.level for one in report.verdicts}
    assert (levels["region=south"], levels["region=north"]) == (Level.DRIFT, Level.NONE)
    said = (site.folder / "said").read_text()
    assert "region=south" in said
    assert "channel 1 mean" in said
    assert len(site.records.history(WORKLOAD)) == 1  # the same look again is the same record


def test_drift_is_one_event_however_often_the_same_look_is_taken(site: Site) -> None:
    report = site.records.newest(WORKLOAD)
    assert report is not None

    found = ask(site, "events", {"filter": {"event": {"name": ["drift.detected"]}}})["events"]

    (event,) = found
    assert event["resource"]["prefect.resource.id"] == f"tinymlops.workload.{WORKLOAD}"
    told = event["payload"]
    assert (told["workload"], told["release"], told["group"]) == (WORKLOAD, 1, "region=south")
    assert told["features"] == ["channel 1 mean"]
    assert told["effect"] > Rules().effect
    assert told["why"].startswith("region=south: channel 1 mean")
    assert told["report"] == report.report


def test_the_run_shows_verdicts_picture_and_page(site: Site, tmp_path: Path) -> None:
    artifacts = {one["key"]: one for one in ask(site, "artifacts") if one["key"]}

    dom = page(f"{site.environment['PAGES']}/artifacts/artifact/{artifacts[f'{WORKLOAD}-drift']['id']}", tmp_path)
    assert "region=south" in dom
    assert "channel 1 mean" in dom
    assert 'src="data:image/png;base64,' in dom
    link = artifacts[f"{WORKLOAD}-drift-page"]
    report = site.records.newest(WORKLOAD)
    assert report is not None
    assert f"{(Path(site.telemetry) / report.report).as_uri()}" in link["data"]


def test_mlflow_has_the_effects_as_curves_and_the_files(site: Site) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{site.state / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(f"{WORKLOAD}-monitoring")

    (run,) = client.search_runs([experiment.experiment_id])

    assert run.info.run_name == "release 1"
    assert run.data.metrics["group/region-south"] > Rules().effect
    assert len(client.get_metric_history(run.info.run_id, "effect/channel 1 mean")) == 1
    (folder,) = client.list_artifacts(run.info.run_id, "looks")
    assert {Path(one.path).name for one in client.list_artifacts(run.info.run_id, folder.path)} == {
        "drift.html",
        "drift.png",
    }


def test_a_group_below_k_is_in_no_byte_of_what_is_left_behind(site: Site) -> None:
    told = everything_told(site.folder)

    assert b"region=south" in told
    assert b"of-six" not in told


def test_the_page_opens_offline_and_says_where_its_rows_come_from(site: Site, tmp_path: Path) -> None:
    report = site.records.newest(WORKLOAD)
    assert report is not None
    file = Path(site.telemetry) / report.report
    with counted_connections() as (port, connections):
        command = [*BROWSER, f"--proxy-server=127.0.0.1:{port}", f"--user-data-dir={tmp_path}", file.as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    assert "resampled out of the noisy histograms" in dom
    assert "Drift Score" in dom  # Evidently's script ran
    assert "region=south" in dom
    assert "cdn.plot.ly" not in file.read_text()
    # The browser's own errands are not the page's.
    assert [one for one in connections if not any(own in one for own in (b"google", b"gvt1"))] == []


@contextmanager
def counted_connections() -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that answers nobody, and the first lines that were said to it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                with client:
                    client.settimeout(2)
                    asked.append(client.recv(4096).split(b"\r\n")[0])

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield server.getsockname()[1], asked
        over.set()
        listener.join(timeout=5)


@pytest.fixture
def here(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The same site for the library in this process."""
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    return site


def test_enough_consented_samples_make_the_page(here: Site, tmp_path: Path) -> None:
    other = Tables(str(tmp_path))
    seen = town(Crowd(40))
    seen.fill(other)
    other.append_samples(samples(devices=25, each=20, began_s=seen.began_s))

    premises, span = replace(here.premises, telemetry=str(tmp_path)), span_of(7, seen.ended_s)
    report = look(other, ReferenceFinder(premises, WORKLOAD), WORKLOAD, span, rules=Rules(), made_s=0.0)

    drawn = draw(report, span, Rules(), premises, ())

    text = drawn.page.decode()
    assert drawn.words == "drawn of samples that people agreed to send"
    assert "<b>500 samples that people agreed to send</b>, of 25 devices" in text
    stricter = Rules(k=26)
    assert "resampled" in draw(report, span, stricter, premises, ()).words


def test_over_s3_the_same_is_found(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = town(MOVED, QUIET)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    address = f"s3://{BUCKET}/telemetry"
    tables, span = Tables(address), span_of(7, seen.ended_s)
    seen.fill(tables)

    report = look(
        tables, lambda releases: dict.fromkeys(releases, references(seen)), WORKLOAD, span, rules=Rules(), made_s=0.0
    )

    records = MonitorRecords(open_store(address))
    kept = records.keep_with_page(report, b"<html></html>")
    assert records.newest(WORKLOAD) == kept
    assert {one.group: one.level for one in kept.verdicts}["region=south"] is Level.DRIFT
    assert open_store(address).get(kept.report) == b"<html></html>"


def test_too_few_devices_are_said_in_words_and_nothing_is_shown(here: Site, tmp_path: Path) -> None:
    few = Site(tmp_path, PREFECT_API_URL=here.environment["PREFECT_API_URL"])
    few.release()
    town(HIDDEN).fill(few.tables)

    ended = few.run("monitor", WORKLOAD)

    assert ended.returncode == 0, ended.stderr
    assert "Fewer than 20 devices sent what may be looked at" in ended.stdout
    report = few.records.newest(WORKLOAD)
    assert report is not None
    assert [(one.group, one.level) for one in report.verdicts] == [(FLEET, Level.HIDDEN)]
    assert report.report == ""
    assert b"of-six" not in everything_told(few.state)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--days", "0.5"), "too few to tell"),
        (("--k", "0"), "hides nothing"),
        (("--until", "yesterday"), "is no time"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_starts(site: Site, words: tuple[str, ...], said: str) -> None:
    refused = site.run("monitor", WORKLOAD, *words)

    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Watch it" not in refused.stderr


def test_reports_are_plain_json(site: Site) -> None:
    (file,) = Path(site.telemetry).glob("monitoring/*/*.json")

    assert json.loads(file.read_bytes())["workload"] == WORKLOAD
    assert file.stem == f"{int((datetime.now(UTC).timestamp() // DAY_S) * DAY_S):012d}"
