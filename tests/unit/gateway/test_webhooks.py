"""A webhook asks for a retraining: one run, whatever happens on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.unit.gateway.rig import NOW_S, TOKEN, Rig, problem
from tinymlops.fleet import WebhookState
from tinymlops.gateway import GatewaySettings, RateLimits
from tinymlops.gateway.dispatching import GIVE_UP_S, pause_s
from tinymlops.gateway.prefect_api import PrefectAddress, PrefectAPI
from tinymlops.gateway.settings import WebhookSettings, token_digest
from tinymlops.gateway.webhook_signatures import Secret
from tinymlops.gateway.webhooks import PATH, RetrainStatus
from tinymlops.wire.encoding import decode

SECRET, OLD_SECRET = Secret(bytes(range(32))), Secret(bytes(24))
ASKED = b'{"workload":"activity","why":"a new sensor"}'
DEPLOYMENT = "/api/deployments/name/retrain/retrain"


class FakePrefect:
    """Two routes of Prefect, with its promise about idempotency keys; ``fault`` answers instead, or raises."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.calls = 0
        self.fault: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        await asyncio.sleep(0)
        faulty = self.fault(request)
        if faulty is not None:
            return faulty
        if request.url.path == DEPLOYMENT:
            return httpx.Response(200, json={"id": "deployment-1"})
        assert request.url.path == "/api/deployments/deployment-1/create_flow_run"
        asked = msgspec.json.decode(request.content)
        is_new = asked["idempotency_key"] not in self.runs
        self.runs.setdefault(asked["idempotency_key"], asked)
        return httpx.Response(201 if is_new else 200, json={"id": f"run-{asked['idempotency_key']}"})


class WebhookRig(Rig):
    """A gateway whose Prefect can be made to fail."""

    prefect: FakePrefect

    def start(self) -> None:
        super().start()
        self.connect(self.prefect if hasattr(self, "prefect") else FakePrefect())

    def connect(self, prefect: FakePrefect) -> None:
        self.prefect = prefect
        assert self.settings.webhooks is not None
        address = self.settings.webhooks.prefect
        self.app.state.gateway.dispatcher._prefect = PrefectAPI(address, httpx.MockTransport(prefect))

    def headers(
        self, name: str, body: bytes, *, secret: Secret = SECRET, time_s: float | None = None
    ) -> dict[str, str]:
        sent_s = int(self.clock() if time_s is None else time_s)
        signature = secret.sign(name, sent_s, body)
        return {"webhook-id": name, "webhook-timestamp": str(sent_s), "webhook-signature": signature}

    def post(self, name: str = "msg_1", body: bytes = ASKED, **how: Any) -> httpx.Response:
        return self.call("POST", PATH, body, self.headers(name, body, **how))

    def status(self, name: str = "msg_1") -> RetrainStatus:
        answer = self.call("GET", f"{PATH}/{name}", headers=self.headers(name, b""))
        assert answer.status_code == 200, answer.text
        return decode(answer.content, RetrainStatus)

    def until(self, state: WebhookState, name: str = "msg_1") -> RetrainStatus:
        """Wait for the dispatcher, with a gateway's clock that runs on."""
        give_up = time.monotonic() + 10
        while (found := self.status(name)).state is not state:
            assert time.monotonic() < give_up, found
            self.clock.now_s += 1
            self.app.state.gateway.dispatcher.start()
            self.loop.run_until_complete(asyncio.sleep(0.01))
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[WebhookRig]:
    webhooks = WebhookSettings(
        secrets=(SECRET, OLD_SECRET),
        workloads=("activity", "footfall"),
        prefect=PrefectAddress(api="http://prefect/api", ui="http://prefect"),
        answer_s=1.0,
    )
    settings = GatewaySettings(
        operator_token_sha256=token_digest(TOKEN), timestamp_ttl_s=0.0, rates=None, webhooks=webhooks
    )
    rig = WebhookRig(tmp_path, settings)
    yield rig
    rig.close()


def said(answer: httpx.Response) -> RetrainStatus:
    assert answer.status_code == 202, answer.text
    return decode(answer.content, RetrainStatus)


def nothing_happened(rig: WebhookRig) -> bool:
    return rig.prefect.calls == 0 and rig.fleet.outbox.waiting() == 0 and rig.fleet.outbox.find("msg_1") is None


def test_a_webhook_starts_a_run_and_says_where_it_is(rig: WebhookRig) -> None:
    answer = rig.post()
    expected = RetrainStatus(
        id="msg_1",
        state=WebhookState.STARTED,
        run="http://prefect/runs/flow-run/run-webhook-msg_1",
        status="/webhooks/retrain/msg_1",
    )
    assert said(answer) == expected == rig.status()
    assert answer.headers["location"] == "/webhooks/retrain/msg_1"
    (run,) = rig.prefect.runs.values()
    assert run["parameters"] == {
        "workload": "activity", "why": "a new sensor", "approval": False, "trigger": "webhook", "key": "webhook-msg_1",
    }  # fmt: skip


def test_a_hundred_duplicates_at_once_are_one_run_and_one_answer(rig: WebhookRig) -> None:
    headers = rig.headers("msg_1", ASKED)
    answers = rig.together(*[("POST", PATH, ASKED, headers)] * 100)
    assert {said(one) for one in answers} == {rig.status()}
    assert list(rig.prefect.runs) == ["webhook-msg_1"]
    assert rig.prefect.calls == 2


def test_the_same_webhook_later_or_after_a_restart_gets_the_same_answer(rig: WebhookRig) -> None:
    first = said(rig.post())
    rig.clock.now_s += 3600
    assert said(rig.post()) == first
    rig.restart()
    assert said(rig.post(secret=OLD_SECRET)) == first
    assert rig.prefect.calls == 2


def test_two_webhooks_are_two_runs(rig: WebhookRig) -> None:
    assert said(rig.post("a")).run != said(rig.post("b")).run
    assert len(rig.prefect.runs) == 2


@pytest.mark.parametrize(
    ("status", "reason", "post"),
    [
        (401, "forged", lambda rig: rig.post(secret=Secret(b"x" * 32))),
        (401, "body changed", lambda rig: rig.call("POST", PATH, ASKED + b" ", rig.headers("msg_1", ASKED))),
        (401, "renamed", lambda rig: rig.call("POST", PATH, ASKED, rig.headers("a", ASKED) | {"webhook-id": "msg_1"})),
        (401, "unsigned", lambda rig: rig.call("POST", PATH, ASKED)),
        (401, "stale", lambda rig: rig.post(time_s=NOW_S - 301)),
        (401, "from the future", lambda rig: rig.post(time_s=NOW_S + 301)),
        (413, "oversized", lambda rig: rig.post(body=b" " * (16 * 1024 + 1))),
        (400, "empty", lambda rig: rig.post(body=b"")),
        (400, "no JSON", lambda rig: rig.post(body=b"{")),
        (400, "no object", lambda rig: rig.post(body=b"[]")),
        (400, "unknown parameter", lambda rig: rig.post(body=b'{"workload":"activity","seed":7}')),
        (400, "wrong type", lambda rig: rig.post(body=b'{"workload":"activity","approval":"yes"}')),
        (400, "another workload", lambda rig: rig.post(body=b'{"workload":"fashion"}')),
        (400, "a path", lambda rig: rig.post(body=b'{"workload":"/tmp/evil.py:Task"}')),
        (400, "long reason", lambda rig: rig.post(body=b'{"workload":"activity","why":"%s"}' % (b"x" * 501))),
        (405, "other method", lambda rig: rig.call("PUT", PATH, ASKED, rig.headers("msg_1", ASKED))),
    ],
)  # fmt: skip
def test_what_is_not_believed_or_not_allowed_is_refused_and_nothing_else_happens(
    rig: WebhookRig, status: int, reason: str, post: Callable[[WebhookRig], httpx.Response]
) -> None:
    answer = post(rig)
    assert answer.status_code == status, reason
    problem(answer)
    assert nothing_happened(rig)


def test_an_id_that_was_used_for_something_else_is_refused(rig: WebhookRig) -> None:
    rig.post()
    answer = rig.post(body=b'{"workload":"footfall"}')
    assert answer.status_code == 409
    assert "id of its own" in problem(answer).next_step
    assert len(rig.prefect.runs) == 1


def test_too_many_webhooks_from_one_address_are_told_to_wait(rig: WebhookRig) -> None:
    rig.settings = msgspec.structs.replace(rig.settings, rates=RateLimits(webhook="3/minute"))
    rig.restart()
    assert [rig.post(f"m{number}").status_code for number in range(5)] == [202, 202, 202, 429, 429]
    assert len(rig.prefect.runs) == 3


def test_without_secrets_there_is_no_such_route(rig: WebhookRig) -> None:
    rig.client.base_url = httpx.URL("http://gateway")
    rig.settings = msgspec.structs.replace(rig.settings, webhooks=None)
    Rig.stop(rig)
    Rig.start(rig)
    assert rig.post().status_code == 404
    assert rig.call("GET", f"{PATH}/msg_1", headers=rig.headers("msg_1", b"")).status_code == 404


@pytest.mark.parametrize(
    "fault",
    [
        lambda _: httpx.Response(503, text="database is locked"),
        lambda _: httpx.Response(404, json={"detail": "no such deployment"}),
        lambda _: httpx.Response(401),
        lambda _: httpx.Response(200, text="<html>a portal</html>"),
    ],
)
def test_while_prefect_is_away_the_request_waits_and_is_answered_with_a_place_to_ask(
    rig: WebhookRig, fault: Callable[[httpx.Request], httpx.Response]
) -> None:
    rig.prefect.fault = fault
    waiting = said(rig.post())
    assert (waiting.state, waiting.run) == (WebhookState.WAITING, None)
    assert "Prefect" in waiting.note or "answers" in waiting.note
    rig.prefect.fault = lambda _: None
    assert rig.until(WebhookState.STARTED).note == ""
    assert len(rig.prefect.runs) == 1


def test_an_answer_that_was_lost_on_the_way_is_no_second_run(rig: WebhookRig) -> None:
    prefect = rig.prefect

    def lose(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST":
            prefect.runs[msgspec.json.decode(request.content)["idempotency_key"]] = {}
            raise httpx.ReadError("the server was restarted", request=request)
        return None

    prefect.fault = lose
    assert said(rig.post()).state is WebhookState.WAITING
    prefect.fault = lambda _: None
    rig.until(WebhookState.STARTED)
    assert len(prefect.runs) == 1


def test_a_gateway_that_starts_goes_on_with_what_another_left(rig: WebhookRig) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there", request=request)

    rig.prefect.fault = refuse
    rig.post()
    rig.restart()
    rig.prefect.fault = lambda _: None
    rig.clock.now_s += 100

    async def start_and_wait() -> None:
        async with rig.app.router.lifespan_context(rig.app):
            while rig.fleet.outbox.waiting():  # noqa: ASYNC110 - the dispatcher tells nobody who did not ask
                await asyncio.sleep(0.01)

    rig.loop.run_until_complete(asyncio.wait_for(start_and_wait(), 10))
    assert list(rig.prefect.runs) == ["webhook-msg_1"]


def test_what_prefect_will_never_take_is_said(rig: WebhookRig) -> None:
    rig.prefect.fault = lambda request: httpx.Response(422) if request.method == "POST" else None
    failed = said(rig.post())
    assert failed.state is WebhookState.FAILED
    assert "422" in failed.note
    assert rig.fleet.outbox.waiting() == 0


def test_a_request_is_given_up_after_a_day(rig: WebhookRig) -> None:
    rig.prefect.fault = lambda _: httpx.Response(503)
    rig.post()
    rig.clock.now_s += GIVE_UP_S
    assert "for a day" in rig.until(WebhookState.FAILED).note


def test_only_who_knows_the_secret_is_told_where_a_webhook_stands(rig: WebhookRig) -> None:
    rig.post()
    target = f"{PATH}/msg_1"
    assert rig.call("GET", target).status_code == 401
    assert rig.call("GET", target, headers=rig.headers("msg_1", ASKED)).status_code == 401
    assert rig.call("GET", target, headers=rig.headers("msg_2", b"")).status_code == 404
    assert rig.call("GET", f"{PATH}/msg_2", headers=rig.headers("msg_2", b"")).status_code == 404


def test_webhooks_are_counted_by_fate(rig: WebhookRig) -> None:
    rig.post()
    rig.post()
    rig.post(secret=Secret(b"x" * 32))
    text = rig.operator("/metrics").text
    for outcome in ("accepted", "repeated", "started"):
        assert f'tinymlops_webhooks_total{{outcome="{outcome}"}} 1.0' in text
    assert 'tinymlops_refused_total{reason="webhook signature"} 1.0' in text


def test_pauses_grow_to_a_bound() -> None:
    assert all(0.5 <= pause_s(1) <= 1 for _ in range(50))
    assert all(15 <= pause_s(99) <= 30 for _ in range(50))


def test_prefect_is_where_its_own_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_UI_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert PrefectAddress.from_environment() == PrefectAddress()
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api/")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:secret")
    found = PrefectAddress.from_environment()
    assert (found.api, found.ui) == ("https://prefect.example/api", "https://prefect.example")
    assert found.authorization == "Basic YWRtaW46c2VjcmV0"
    assert "YWRt" not in repr(found)
    monkeypatch.delenv("PREFECT_API_AUTH_STRING")
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_x")
    monkeypatch.setenv("PREFECT_UI_URL", "https://pages.example/")
    assert PrefectAddress.from_environment("http://other/api").run_page("1") == "https://pages.example/runs/flow-run/1"
    assert PrefectAddress.from_environment().authorization == "Bearer pnu_x"
