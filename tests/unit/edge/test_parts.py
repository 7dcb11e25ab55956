"""Small parts: tensors, predictions, battery, addresses, and the way over HTTP."""

from __future__ import annotations

import http.client
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.gateway_simulator import WORKLOAD, World, manifest_of, tiny_model
from tinymlops.edge import http_transport, litert, self_test
from tinymlops.edge.agent import Agent
from tinymlops.edge.device import battery, device_state
from tinymlops.edge.http_transport import HttpTransport
from tinymlops.edge.local_client import post
from tinymlops.edge.local_server import LocalServer
from tinymlops.edge.prediction import Latencies, ReadyVariant
from tinymlops.edge.seams import Call, SystemClock
from tinymlops.edge.settings import AgentSettings
from tinymlops.edge.tensors import InputTensor, OutputTensor, tempered
from tinymlops.errors import DoesNotRunError, FormatError, SetupError, StorageError, UnreachableError, UsageError
from tinymlops.wire.manifest import SelfTest, Tensor

INT8 = Tensor(shape=(1, 2, 2), dtype="int8", scale=0.5, zero_point=3)


# --- tensors


@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4))
def test_quantizing_is_off_by_half_a_step_at_most(values: list[float]) -> None:
    raw = InputTensor(INT8).of(values)
    real = OutputTensor(INT8).real(raw)
    inside = np.clip(values, (-128 - 3) * 0.5, (127 - 3) * 0.5)
    assert raw.dtype == np.int8
    assert np.abs(real - inside).max() <= 0.25 + 1e-4


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 2), (4,)])
def test_shapes_that_are_meant_are_taken(shape: tuple[int, ...]) -> None:
    assert InputTensor(INT8).of(np.zeros(shape)).shape == (1, 2, 2)


@pytest.mark.parametrize(
    "bad", [[1], "text", [[1, 2], [3]], [math.nan] * 4, [math.inf] * 4, [None] * 4, [[1, 2, 3, 4]]]
)
def test_inputs_that_do_not_fit_are_refused(bad: object) -> None:
    with pytest.raises(UsageError, match="give 4 finite numbers"):
        InputTensor(INT8).of(bad)  # type: ignore[arg-type]


def test_large_finite_values_are_taken() -> None:
    assert InputTensor(replace(INT8, dtype="float32", scale=None)).of([3e38] * 4).shape == (1, 2, 2)


@pytest.mark.parametrize(
    "changes", [{"dtype": "float64"}, {"scale": None}, {"scale": math.inf}, {"shape": ()}, {"shape": (2**20, 2**8)}]
)
def test_tensors_that_no_model_has_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        InputTensor(Tensor(**{"shape": (1, 2), "dtype": "int8", "scale": 0.5, **changes}))  # type: ignore[arg-type]


def test_a_temperature_above_one_evens_out() -> None:
    sharp = np.array([0.9, 0.1, 0.0], np.float32)
    soft = tempered(sharp, 2.0)
    assert soft.sum() == pytest.approx(1.0)
    assert soft[0] == pytest.approx(0.75, abs=1e-3)  # 3 : 1 is the root of 9 : 1
    assert np.allclose(tempered(sharp, 1.0), sharp, atol=1e-6)


# --- predictions


def test_prediction_names_the_class_and_its_source() -> None:
    model = tiny_model(1)
    manifest = manifest_of(model, 4, temperature=1.5)
    ready = ReadyVariant(manifest, litert.load(model))
    answer = ready.answer(ready.quantized(np.ones(16)), time.perf_counter_ns())
    assert answer.label == manifest.labels[int(np.argmax(answer.confidences))]
    assert (answer.version, answer.recipe) == (4, "int8")
    assert 0 < answer.latency_us < 1e6
    plain = ReadyVariant(replace(manifest, classifies=False, output_features=()), litert.load(model))
    assert plain.answer(plain.quantized(np.ones(16)), 0).label == ""


def test_values_that_are_not_finite_are_an_error() -> None:
    class Broken:
        def invoke(self, values: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
            return np.array([[math.nan, 1, 2, 3]], np.float32)

    untested = SelfTest(rows=0, inputs=b"", outputs=b"", tolerance=0.0)
    output = Tensor(shape=(1, 4), dtype="float32")
    manifest = manifest_of(tiny_model(1), 1, self_test=untested, output=output)
    with pytest.raises(DoesNotRunError, match="not finite"):
        ReadyVariant(manifest, Broken()).answer(np.zeros((1, 16), np.int8), 0)


def test_self_test_holds_outputs_against_the_tolerance() -> None:
    model = tiny_model(1)
    manifest = manifest_of(model, 1)
    self_test.run(manifest, litert.load(model))
    expected = np.frombuffer(manifest.self_test.outputs, np.int8).copy()
    expected[5] += 2
    off = replace(manifest, self_test=replace(manifest.self_test, outputs=expected.tobytes()))
    with pytest.raises(DoesNotRunError, match="off by 2 in row 2 of 3, and 1 is allowed"):
        self_test.run(off, litert.load(model))
    with pytest.raises(DoesNotRunError, match="gave 4 values of type int8"):
        self_test.run(replace(manifest, output=replace(manifest.output, dtype="uint8")), litert.load(model))


@pytest.mark.parametrize("content", [b"", b"x" * 100, tiny_model(1)[:300]])
def test_litert_refuses_in_our_words(content: bytes) -> None:
    with pytest.raises(DoesNotRunError):
        litert.load(content)


def test_litert_refuses_another_input() -> None:
    with pytest.raises(DoesNotRunError):
        litert.load(tiny_model(1)).invoke(np.zeros((1, 3), np.int8))


def test_percentiles_are_of_the_last_queries() -> None:
    latencies = Latencies()
    assert latencies.percentiles() is None
    for value in [1e9, *range(1, 1025)]:
        latencies.add(float(value))
    assert np.allclose(latencies.percentiles() or (), (512.5, 972.85))


# --- the device


def supply(folder: Path, name: str, **facts: str) -> None:
    (folder / name).mkdir()
    for key, value in facts.items():
        (folder / name / key).write_text(f"{value}\n")


def test_the_battery_is_the_devices_own(tmp_path: Path) -> None:
    assert battery(tmp_path) == (None, False)
    supply(tmp_path, "AC", type="Mains", online="1")
    supply(tmp_path, "mouse", type="Battery", scope="Device", capacity="3")
    assert battery(tmp_path) == (None, False)
    supply(tmp_path, "BAT0", type="Battery", capacity="40", status="Discharging")
    assert battery(tmp_path) == (0.4, False)
    (tmp_path / "BAT0/status").write_text("Charging")
    state = device_state(AgentSettings(), 1.0, tmp_path)
    assert (state.battery_fraction, state.charging, state.preference) == (0.4, True, 1.0)
    with pytest.raises(UsageError):
        device_state(AgentSettings(), 2.0, tmp_path)


def test_the_systems_clocks_go_forward() -> None:
    clock = SystemClock()
    before = clock.now(), clock.monotonic()
    assert clock.now() >= before[0] > 1.7e9
    assert clock.monotonic() >= before[1]


# --- the local server


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, agent: Agent, tmp_path: Path) -> Iterator[str]:
    agent.cycle()
    wanted = "127.0.0.1:0" if request.param == "tcp" else f"unix:{tmp_path}/s"
    server = LocalServer(wanted, agent.models, lambda: {"fine": True})
    server.start()
    yield server.address
    server.stop()


def test_answers_are_those_of_the_agent(address: str, agent: Agent) -> None:
    status, answer = post(address, f"/v1/models/{WORKLOAD}/predict", json.dumps({"inputs": [0.5] * 16}).encode())
    assert status == 200
    assert json.loads(answer)["confidences"] == list(agent.models[WORKLOAD].predict([0.5] * 16).confidences)
    assert agent.models[WORKLOAD].count().queries == 2


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"inputs": {}}', b'{"inputs": [1]}', b'{"inputs": [[[[]]]]}'])
def test_bad_questions_get_a_sentence(address: str, agent: Agent, body: bytes) -> None:
    status, answer = post(address, f"/v1/models/{WORKLOAD}/predict", body)
    assert status == 400
    assert json.loads(answer)["next_step"]
    assert agent.models[WORKLOAD].count().queries == 0, "what nobody could answer counts for nothing"


@given(body=st.binary(max_size=200))
def test_no_question_breaks_the_server(loopback: str, body: bytes) -> None:
    assert post(loopback, f"/v1/models/{WORKLOAD}/predict", body)[0] == 400


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from tests.support.devices import SteppingClock, enrolled_agent

    world = World()
    world.release(1, [tiny_model(1)])
    agent = enrolled_agent(tmp_path_factory.mktemp("agent") / "state", world, SteppingClock(world.now_s))
    world.assign(agent.device_id, 1)
    agent.cycle()
    server = LocalServer("127.0.0.1:0", agent.models, dict)
    server.start()
    yield server.address
    server.stop()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", 200),
        (b"GET /nothing HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 404),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"POST /v1/models/x/predict HTTP/1.1\r\nHost: localhost\r\n\r\n", 411),
        (b"POST /v1/models/x/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 411),
        (b"POST /v1/models/x/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", 413),
        (
            b"POST /v1/models/x/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n" + b'{"inputs":[]}',
            404,
        ),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 404),
        (b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_raw_requests(loopback: str, request_: bytes, status: int) -> None:
    host, _, port = loopback.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request_)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == status


@pytest.mark.parametrize("wanted", ["0.0.0.0:80", "nonsense", "127.0.0.1:99999", "127.0.0.1:x", "example.org:80"])
def test_only_this_machine_is_served(wanted: str, agent: Agent) -> None:
    with pytest.raises(UsageError, match="this machine alone"):
        LocalServer(wanted, agent.models, dict)


def test_a_socket_that_can_not_be_is_said(agent: Agent) -> None:
    with pytest.raises(StorageError, match="can't be listened on"):
        LocalServer("unix:/nonexistent/socket", agent.models, dict)
    with pytest.raises(UnreachableError, match="does not answer"):
        post("unix:/nonexistent/socket", "/", b"")


# --- the way over HTTP


def serve_raw(answer: bytes, wait_s: float = 0.0) -> str:
    """A server that takes one connection, answers with just these bytes, waits, and hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with server, server.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(answer)
            time.sleep(wait_s)

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_answer_comes_as_it_is() -> None:
    transport = HttpTransport(serve_raw(b"HTTP/1.1 206 X\r\nContent-Length: 3\r\nETag: a\r\n\r\nabc"))
    answer = transport.send(Call("GET", "/v1/x"))
    assert (answer.status, answer.headers["etag"], b"".join(answer.chunks)) == (206, "a", b"abc")
    answer.close()
    answer.close()


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nabc", b"HTTP/1.1 200 X\r\n" + b"a" * 99999],
)
def test_half_an_answer_is_no_answer(answer: bytes) -> None:
    transport = HttpTransport(serve_raw(answer))
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:\d+ does not answer"):
        list(transport.send(Call("GET", "/v1/x")).chunks)


def test_a_head_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "_ANSWER_S", 0.3)
    begun = time.monotonic()
    with pytest.raises(UnreachableError):
        HttpTransport(serve_raw(b"HTTP/1.1 200 X\r\nDrip: ", 5.0)).send(Call("GET", "/v1/x"))
    assert time.monotonic() - begun < 3


def test_closing_ends_a_wait() -> None:
    transport = HttpTransport(serve_raw(b"", 8.0))
    threading.Timer(0.3, transport.close).start()
    begun = time.monotonic()
    with pytest.raises(UnreachableError):
        transport.send(Call("GET", "/v1/x"))
    assert time.monotonic() - begun < 4
    with pytest.raises(UnreachableError, match="stopping"):
        transport.send(Call("GET", "/v1/x"))


@pytest.mark.parametrize("address", ["", "gateway", "ftp://x", "http://", "http://x?a=b"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError, match="not the address"):
        HttpTransport(address)


def test_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(SetupError, match="no list of certificates"):
        HttpTransport("https://x.test", tmp_path / "ca.pem")
    with pytest.raises(SetupError):
        HttpTransport("https://x.test", tmp_path / "missing.pem")
