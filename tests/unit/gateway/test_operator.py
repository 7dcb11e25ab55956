"""What the owner asks."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.gateway.rig import TOKEN, Rig, health, problem, value
from tinymlops.gateway.operator_routes import DevicePage, RolloutLine, RolloutList
from tinymlops.gateway.services import Wellbeing
from tinymlops.wire.messages import Phase

ROUTES = ("/v1/devices", "/v1/rollouts", "/v1/rollouts/r", "/metrics")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
)
def test_without_the_token_there_is_nothing(rig: Rig, route: str, header: str) -> None:
    answer = rig.call("GET", route, headers={"Authorization": header})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    problem(answer)


@pytest.mark.parametrize("route", ROUTES)
def test_where_no_token_was_set_there_is_nothing_for_anybody(rig: Rig, route: str) -> None:
    rig.settings = msgspec.structs.replace(rig.settings, operator_token_sha256=None)
    rig.restart()
    assert rig.operator(route).status_code == 401
    assert rig.operator(route, "").status_code == 401


def test_devices_come_in_pages_with_what_runs_on_them(rig: Rig) -> None:
    crowd = {device.id: device for device in (rig.device(tags=("shop",)) for _ in range(5))}
    rig.device()
    next(iter(crowd.values())).report(health(1))
    seen: list[str] = []
    releases = 0
    after: str | None = ""
    while after is not None:
        page = value(rig.operator(f"/v1/devices?tag=shop&limit=2&after={after}"), DevicePage)
        seen += [line.device.device_id for line in page.devices]
        releases += sum(len(line.releases) for line in page.devices)
        after = page.after
    assert seen == sorted(crowd)
    assert releases == 1


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", f"after={'a' * 65}", "tag=" + "&tag=".join("a" * 65)]
)
def test_a_query_that_is_none_is_refused(rig: Rig, query: str) -> None:
    answer = rig.operator(f"/v1/devices?{query}")
    assert answer.status_code == 400
    problem(answer)


def test_roll_outs_are_shown_with_their_state(rig: Rig) -> None:
    assert value(rig.operator("/v1/rollouts"), RolloutList).rollouts == ()
    rig.fleet.save_rollout("activity-3", b'{"stage":1}', expected=None, now_s=5.0)
    line = value(rig.operator("/v1/rollouts/activity-3"), RolloutLine)
    assert (line.document, line.version, line.updated_s) == ({"stage": 1}, 1, 5.0)
    assert value(rig.operator("/v1/rollouts"), RolloutList).rollouts == (line,)
    assert rig.operator("/v1/rollouts/none").status_code == 404


def test_metrics_count_answers_refusals_and_phases(rig: Rig) -> None:
    device = rig.device()
    device.report(health(1, version=3, phase=Phase.TRIAL))
    rig.call("POST", "/v1/health", b"{}")
    rig.call("BREW", f"/{device.id}")
    text = rig.operator("/metrics").text
    assert 'tinymlops_requests_total{method="POST",route="/v1/health",status="200"} 1.0' in text
    assert 'tinymlops_refused_total{reason="not signed"} 1.0' in text
    assert 'tinymlops_devices{phase="trial",version="3",workload="activity"} 1.0' in text
    assert 'method="other",route="none",status="404"' in text
    assert device.id not in text


def test_phases_are_counted_again_after_a_while_only(rig: Rig) -> None:
    device = rig.device()
    assert "tinymlops_devices{" not in rig.operator("/metrics").text
    device.report(health(1))
    assert "tinymlops_devices{" not in rig.operator("/metrics").text


def test_healthz_says_whether_database_and_store_answer(rig: Rig, tmp_path: Path) -> None:
    assert value(rig.call("GET", "/healthz"), Wellbeing) == Wellbeing(has_repository=False)
    rig.restart()
    rig.store.put("metadata/timestamp.json", b"{}")
    assert value(rig.call("GET", "/healthz"), Wellbeing) == Wellbeing(has_repository=True)
    (tmp_path / "store" / "metadata" / "timestamp.json").unlink()
    (tmp_path / "store" / "metadata" / "1.root.json").unlink()
    (tmp_path / "store" / "metadata").rmdir()
    (tmp_path / "store" / "metadata").symlink_to("metadata")  # leads to itself
    assert value(rig.call("GET", "/healthz"), Wellbeing) == Wellbeing(has_repository=True), "believed for a second"
    rig.restart()
    answer = rig.call("GET", "/healthz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert str(tmp_path) not in answer.text


def test_every_answer_has_careful_headers_and_a_name(rig: Rig) -> None:
    for answer in (rig.call("GET", "/healthz"), rig.call("GET", "/nothing"), rig.call("POST", "/v1/health")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert len(answer.headers["x-request-id"]) == 16
