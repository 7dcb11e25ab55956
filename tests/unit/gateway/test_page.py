"""The page for people: who may see it, what it shows, and what it keeps back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pyarrow as pa
import pytest

from tests.unit.gateway.rig import TOKEN, Rig, health
from tinymlops.drift.values import FeatureFinding, Level, MonitorReport, Verdict
from tinymlops.gateway import GatewaySettings
from tinymlops.gateway.pages.consents import summary
from tinymlops.gateway.pages.drawing import drift_chart
from tinymlops.gateway.pages.sessions import LIFE_S
from tinymlops.gateway.settings import RateLimits, token_digest
from tinymlops.monitoring.records import MonitorRecords
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.retraining.values import Outcome, RetrainingRecord, Trigger
from tinymlops.rollouts.values import Audience, Limits, Member, Rollout, RolloutStatus
from tinymlops.telemetry.schemas import SCHEMAS, TableName
from tinymlops.telemetry.tables import Tables, day_of
from tinymlops.wire.encoding import encode

DAY_S = 86_400
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def log_in(rig: Rig, token: str = TOKEN, **headers: str) -> httpx.Response:
    rig.client.cookies.clear()
    return rig.call("POST", "/fleet/login", urlencode({"token": token}).encode(), {**FORM, **headers})


def page(rig: Rig, target: str = "/fleet") -> str:
    answer = rig.call("GET", target)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def verdict(group: str, level: Level, effect: float = 0.0, release: int = 3) -> Verdict:
    hidden = level is Level.HIDDEN
    finding = FeatureFinding(feature="channel 3", kind="input", p_value=0.1, adjusted=0.1, effect=effect)
    return Verdict(
        workload="activity", release=release, group=group, began_s=0.0, ended_s=1.0, level=level,
        why="fewer than 20 devices" if hidden else f"because of {group}", devices=0 if hidden else 31,
        features=() if hidden else (finding,),
    )  # fmt: skip


def look(day: int, *verdicts: Verdict) -> MonitorReport:
    return MonitorReport(
        workload="activity", began_s=day * DAY_S, ended_s=(day + 1) * DAY_S, made_s=0.0, table_version=1,
        verdicts=verdicts,
    )  # fmt: skip


# --- who may see it


@pytest.mark.parametrize("target", ["/fleet", "/fleet/devices", "/fleet/devices/" + "a" * 32])
def test_nobody_sees_anything_without_a_login(rig: Rig, target: str) -> None:
    answer = rig.call("GET", target)
    assert (answer.status_code, answer.headers["location"]) == (303, "/fleet/login")
    assert not answer.content


def test_the_token_opens_and_only_the_token(rig: Rig) -> None:
    refused = log_in(rig, "another token, long enough")
    assert refused.status_code == 401
    assert "not the operator" in refused.text
    assert "set-cookie" not in refused.headers
    answer = log_in(rig)
    assert (answer.status_code, answer.headers["location"]) == (303, "/fleet")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/fleet", f"Max-Age={LIFE_S}"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert token_digest(TOKEN) not in cookie
    assert "Devices and versions" in page(rig)


def test_a_changed_or_old_cookie_opens_nothing(rig: Rig) -> None:
    log_in(rig)
    cookie = rig.client.cookies["tinymlops-session"]
    rig.client.cookies.clear()
    for place in range(0, len(cookie), 7):
        forged = cookie[:place] + ("A" if cookie[place] != "A" else "B") + cookie[place + 1 :]
        assert rig.call("GET", "/fleet", headers={"Cookie": f"tinymlops-session={forged}"}).status_code == 303
    mine = {"Cookie": f"tinymlops-session={cookie}"}
    assert rig.call("GET", "/fleet", headers=mine).status_code == 200
    rig.clock.now_s += LIFE_S
    assert rig.call("GET", "/fleet", headers=mine).status_code == 303


def test_a_session_outlives_the_gateway_and_ends_with_the_token(rig: Rig) -> None:
    log_in(rig)
    mine = {"Cookie": f"tinymlops-session={rig.client.cookies['tinymlops-session']}"}
    rig.restart()
    assert rig.call("GET", "/fleet", headers=mine).status_code == 200
    rig.settings = GatewaySettings(operator_token_sha256=token_digest("a new operator's token"), rates=None)
    rig.restart()
    assert rig.call("GET", "/fleet", headers=mine).status_code == 303


def test_a_log_out_ends_the_session_also_for_a_copied_cookie(rig: Rig) -> None:
    log_in(rig)
    mine = {"Cookie": f"tinymlops-session={rig.client.cookies['tinymlops-session']}"}
    token = re.search(r'name="form" value="([^"]+)"', page(rig))
    assert token is not None
    forged = rig.call("POST", "/fleet/logout", b"form=guess", {**FORM, **mine})
    assert forged.status_code == 403
    assert rig.call("GET", "/fleet", headers=mine).status_code == 200
    assert rig.call("POST", "/fleet/logout", f"form={token[1]}".encode(), {**FORM, **mine}).status_code == 303
    assert rig.call("GET", "/fleet", headers=mine).status_code == 303


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])
def test_a_form_from_another_site_is_refused(rig: Rig, headers: dict[str, str]) -> None:
    assert log_in(rig, **headers).status_code == 403


def test_a_form_of_a_foreign_origin_is_refused(rig: Rig) -> None:
    body = urlencode({"token": TOKEN}).encode()
    assert rig.call("POST", "/fleet/login", body, {"Origin": "http://elsewhere.test"}).status_code == 403
    assert rig.call("POST", "/fleet/login", body, {"Origin": "http://gateway"}).status_code == 303


def test_guessing_is_slowed_down(tmp_path: Path) -> None:
    settings = GatewaySettings(operator_token_sha256=token_digest(TOKEN), rates=RateLimits(login="3/minute"))
    rig = Rig(tmp_path, settings)
    assert [log_in(rig, "a wrong token of length").status_code for _ in range(4)] == [401, 401, 401, 429]
    assert log_in(rig).status_code == 429
    rig.clock.now_s += 60
    assert log_in(rig).status_code == 303
    rig.close()


def test_without_a_token_nobody_can_log_in(tmp_path: Path) -> None:
    rig = Rig(tmp_path, GatewaySettings(rates=None))
    assert "without an operator" in page(rig, "/fleet/login")
    assert log_in(rig, "").status_code == 401
    rig.close()


def test_a_large_form_is_refused(rig: Rig) -> None:
    assert rig.call("POST", "/fleet/login", b"token=" + b"x" * 5000, FORM).status_code == 413
    assert rig.call("POST", "/fleet/login", b"&".join([b"token=x"] * 50), FORM).status_code == 401


def test_no_script_and_nothing_from_elsewhere(rig: Rig) -> None:
    log_in(rig)
    for target in ("/fleet", "/fleet/devices"):
        answer = rig.call("GET", target)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; form-action 'self'")
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script|\son\w+=|style=|https?://", answer.text)
    sheet = rig.call("GET", "/fleet/style.css")
    assert sheet.headers["content-type"].startswith("text/css")
    assert "url(" not in sheet.text


# --- what it shows


def test_an_empty_fleet_says_what_to_do(rig: Rig) -> None:
    log_in(rig)
    shown = page(rig)
    assert "tinymlops fleet code" in shown
    assert "tinymlops rollout start" in shown
    assert "tinymlops monitor" in shown


def test_devices_stand_by_profile_and_release(rig: Rig) -> None:
    device, _ = rig.device(region="north", tags=("van",)), rig.device(region="south")
    device.report(health(1))
    log_in(rig)
    shown = page(rig)
    assert "activity 1" in shown
    assert "good 1" in shown
    assert "no release yet 1" in shown
    listed = page(rig, "/fleet/devices?region=north&tag=van")
    assert listed.count("/fleet/devices/") == 1
    assert device.id in listed
    assert "No device fits" in page(rig, "/fleet/devices?region=nowhere")
    assert "raspberry-pi-5" in page(rig, f"/fleet/devices/{device.id}")


def test_what_a_device_says_is_text_and_nothing_else(rig: Rig) -> None:
    log_in(rig)
    answer = rig.call("GET", "/fleet/devices/%3Cb%3Ex")
    assert answer.status_code == 404
    assert "&lt;b&gt;x" in answer.text
    assert '"><b>' not in page(rig, "/fleet/devices?tag=%22%3E%3Cb%3E")


def test_long_lists_come_in_pages(rig: Rig) -> None:
    ids = {rig.device().id for _ in range(103)}
    log_in(rig)
    first = page(rig, "/fleet/devices?profile=raspberry-pi-5")
    following = re.search(r'href="(/fleet/devices\?[^"]*after=[^"]*)"', first)
    assert following is not None
    second = page(rig, following[1].replace("&amp;", "&"))
    found = [set(re.findall(r'/fleet/devices/([0-9a-f]{32})"', one)) for one in (first, second)]
    assert [len(one) for one in found] == [100, 3]
    assert found[0] | found[1] == ids


def test_drift_is_drawn_and_groups_that_are_too_small_are_not_named(rig: Rig) -> None:
    records = MonitorRecords(rig.store)
    small = verdict("region=islet", Level.HIDDEN)
    records.keep(look(20_000, verdict("fleet", Level.NONE, 0.01), verdict("region=north", Level.NONE, 0.02), small))
    records.keep(look(20_001, verdict("fleet", Level.WATCH, 0.1), verdict("region=north", Level.DRIFT, 0.4), small))
    log_in(rig)
    shown = page(rig)
    assert 'class="alarm"' in shown
    assert "because of region=north" in shown
    assert "islet" not in shown
    assert "1 group has too few devices" in shown
    assert "2024-10-05" in shown


def test_the_last_retraining_says_why(rig: Rig) -> None:
    record = RetrainingRecord(
        workload="activity", key="one", trigger=Trigger.DRIFT, why="region=north drifted", began_s=1.0, ended_s=2.0,
        table_version=4, outcome=Outcome.REJECTED, reason="The challenger harms region=south.",
    )  # fmt: skip
    RetrainingRecords(rig.store).keep(record)
    log_in(rig)
    shown = page(rig)
    assert "region=north drifted" in shown
    assert "harms region=south" in shown


def test_a_hidden_look_leaves_a_gap_in_the_line() -> None:
    levels = (Level.NONE, Level.NONE, Level.HIDDEN, Level.WATCH, Level.DRIFT)
    chart = drift_chart([look(day, verdict("fleet", level, 0.1 * day)) for day, level in enumerate(levels)])
    assert chart is not None
    (line,) = chart.lines
    assert len(line.paths) == 2
    assert [point.alarm for point in line.points] == [False, False, False, True]
    assert drift_chart([look(1, verdict("fleet", Level.HIDDEN))]) is None


def test_a_thousand_devices_are_shown_within_a_fifth_of_a_second(tmp_path: Path) -> None:
    from tests.support.page_fleet import fill

    rig = Rig(tmp_path)
    fill(rig.fleet, 1000, now_s=rig.clock())
    log_in(rig)
    assert "1,000" in page(rig)
    for target in ("/fleet", "/fleet/devices"):
        taken = []
        for _ in range(5):
            begun = time.process_time()
            page(rig, target)
            taken.append(time.process_time() - begun)
        assert min(taken) < 0.2, taken
    rig.close()


def test_a_rollout_shows_how_many_run_it_well(rig: Rig) -> None:
    devices = [rig.device() for _ in range(3)]
    devices[0].report(health(1))
    rollout = Rollout(
        rollout_id="one", workload="activity", version=1, audience=Audience(), stages=(0.5, 1.0), limits=Limits(),
        bounds={}, created_s=1.0, stage_since_s=1.0, status=RolloutStatus.PAUSED, reason="A person is asked.",
        members=tuple(
            Member(device_id=one.id, profile="raspberry-pi-5", stage=min(place, 1), previous=None)
            for place, one in enumerate(devices)
        ),
    )  # fmt: skip
    rig.fleet.save_rollout("one", encode(rollout), expected=None, now_s=rig.clock())
    log_in(rig)
    shown = " ".join(page(rig).split())
    assert "1 of 3 devices run it well, 1 are reached; stage 1 of 2" in shown
    assert "A person is asked." in shown


@pytest.mark.parametrize(("people", "told"), [(19, None), (20, 20)])
def test_consents_are_counted_over_twenty_devices_or_not_at_all(tmp_path: Path, people: int, told: int | None) -> None:
    tables, now_s = Tables(str(tmp_path)), 1_800_000_000.0
    day = day_of(now_s)
    who = [{"device_id": f"{number:032x}", "date": day, "received_s": now_s} for number in range(people)]
    consents = [
        {**one, "sequence": sequence, "number": sequence, "subject": "s", "purposes": purposes, "given_s": now_s,
         "until_s": now_s + 60, "wording": "1", "message": b""}
        for one in who
        for sequence, purposes in ((1, ["drift", "samples"]), (2, ["drift"]))
    ]  # fmt: skip
    windows = [
        {**one, "sequence": 3 + number, "workload": "activity", "release": 1, "recipe": "int8", "layout": "0" * 16,
         "profile": "p", "tags": [], "began_s": now_s - 9.0, "ended_s": now_s, "consent": 2, "epsilon": 0.25,
         "histograms": [[1, 2], [3, 4]], "queries": 3, "errors": 0, "labelled": 0, "latencies": [], "missing": [],
         "stuck": []}
        for one in who
        for number in range(2)
    ]  # fmt: skip
    for name, rows in ((TableName.CONSENTS, consents), (TableName.WINDOWS, windows)):
        tables.append(name, pa.Table.from_pylist(rows, schema=SCHEMAS[name]))
    found = summary(tables, now_s)
    assert (found.devices, found.reporting, found.purposes) == (told, told, {"drift": told})
    assert (found.median, found.most) == ((1.0, 1.0) if told else (None, None))
    assert summary(tables, now_s + 61).purposes == {}  # what is over is agreed to by nobody
