"""The installed gateway over real sockets: its life, its limits, its commands."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.integration.gateway.live import COMMAND, TOKEN, LiveDevice, Server, Site
from tests.support.postgresql import postgresql
from tests.support.seaweedfs import BUCKET, S3Server
from tests.unit.gateway.rig import digest_name, health, records
from tinymlops.gateway.server import MOST_HEADER_BYTES
from tinymlops.wire.encoding import decode, encode, encode_packed
from tinymlops.wire.messages import Acknowledgement, Problem, SignedBytes, TimeAnswer, TimeRequest


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    site.run("keys", "create", "--development", "--bin-bits", "2")
    site.run("gateway", "init")
    return site


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    with site.gateway("--device-rate", "100000/minute") as server:
        yield server


@pytest.fixture
def device(site: Site, server: Server) -> LiveDevice:
    device = LiveDevice()
    device.enrol(server, site.code("--tag", "shop", "--region", "eu"))
    return device


def test_a_device_from_its_code_to_its_revocation(site: Site, server: Server, device: LiveDevice) -> None:
    timestamp = device.ask(server, "GET", "/v1/metadata/timestamp.json")
    assert timestamp.status == 200
    assert json.loads(timestamp.data)["signed"]["_type"] == "timestamp"
    answer = device.ask(server, "POST", "/v1/health", encode(health(1)))
    assert decode(answer.data, Acknowledgement).through == 1
    answer = device.ask(server, "POST", "/v1/telemetry", encode_packed(records(1, 2)))
    assert decode(answer.data, Acknowledgement).through == 2
    (line,) = [
        json.loads(line)
        for line in site.run("fleet", "list", "--tag", "shop", "--json").splitlines()
        if device.id in line
    ]
    assert (line["releases"][0]["phase"], line["region"]) == ("good", "eu")
    assert device.id in site.run("fleet", "list", "--region", "eu")
    assert "release 1, good" in site.run("fleet", "show", device.id[:12])
    assert json.loads(site.run("fleet", "show", device.id, "--json"))["device_id"] == device.id

    site.run("fleet", "revoke", device.id)
    answer = device.ask(server, "GET", "/v1/metadata/timestamp.json")
    assert (answer.status, decode(answer.data, Problem).error) == (403, "this device was revoked")
    assert device.id not in site.run("fleet", "list")
    assert device.id in site.run("fleet", "list", "--revoked")


def test_the_time_is_signed_by_the_key_that_enrolment_named(site: Site, server: Server) -> None:
    device = LiveDevice()
    enrolment = device.enrol(server, site.code())
    answer = device.ask(server, "POST", "/v1/time", encode(TimeRequest(nonce=bytes(range(16)))))
    content = decode(answer.data, SignedBytes).checked(enrolment.gateway_key, what="the time")
    told = decode(content, TimeAnswer)
    assert told.nonce == bytes(range(16))
    assert abs(told.now_s - time.time()) < 60


def test_codes_are_printed_one_a_line_and_can_be_withdrawn(site: Site, server: Server) -> None:
    codes = site.run("fleet", "code", "--count", "3", "--profile", "raspberry-pi-5").split()
    assert len(set(codes)) == 3
    site.run("fleet", "withdraw", codes[0])
    ended = subprocess.run(
        [COMMAND, "fleet", "withdraw", codes[0]], capture_output=True, text=True, check=False, env=site.environment
    )
    assert (ended.returncode, "no unused code" in ended.stderr) == (2, True)


def test_replays_are_refused_after_a_restart_also_after_kill_9(site: Site) -> None:
    device = LiveDevice()
    body = encode(health(1))
    headers = device.signed("POST", "/v1/health", body)
    with site.gateway() as first:
        device.enrol(first, site.code())
        assert first.call("POST", "/v1/health", body, headers).status == 200
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(timeout=30)
        with site.gateway() as second:
            assert second.call("POST", "/v1/health", body, headers).status == 409
            assert device.ask(second, "POST", "/v1/health", encode(health(2))).status == 200
        first.process.returncode = 0
        first.stop = lambda: None  # type: ignore[method-assign]


def test_two_gateways_on_one_database_refuse_each_others_replays(
    site: Site, server: Server, device: LiveDevice
) -> None:
    with site.gateway() as other:
        headers = device.signed("GET", "/v1/metadata/timestamp.json")
        assert server.call("GET", "/v1/metadata/timestamp.json", headers=headers).status == 200
        assert other.call("GET", "/v1/metadata/timestamp.json", headers=headers).status == 409


def test_what_is_under_way_is_answered_before_it_stops(site: Site) -> None:
    device = LiveDevice()
    body = encode(health(1))
    with site.gateway() as server:
        device.enrol(server, site.code())
        headers = device.signed("POST", "/v1/health", body)
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = f"POST /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{''.join(lines)}\r\n".encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(head + body[:10])
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[10:])
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        server.stop()


@pytest.mark.parametrize(
    "headers",
    [
        b"".join(b"X-%d: y\r\n" % number for number in range(5000)),
        b"X-Long: " + b"y" * (MOST_HEADER_BYTES + 1000) + b"\r\n",
        b"".join(b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(90)),
    ],
    ids=["thousands", "one that is long", "many that are long"],
)
def test_headers_are_bounded(server: Server, headers: bytes) -> None:
    answer = server.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431")
    assert b'"next_step"' in answer


def test_a_header_that_never_ends_costs_no_memory(server: Server) -> None:
    before = server.memory_mib()
    answer = server.raw(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"y" * (64 * 2**20))
    assert answer.startswith((b"HTTP/1.1 431", b""))
    assert server.memory_mib() - before < 40


def test_a_large_body_is_refused_before_it_is_read(server: Server, device: LiveDevice) -> None:
    before = server.memory_mib()
    signed = "".join(f"{name}: {value}\r\n" for name, value in device.signed("POST", "/v1/telemetry").items())
    for length in ("Content-Length: 1000000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"):
        head = f"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\n{signed}{length}".encode()
        chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
        answer = server.raw(head + (chunk * 64 if "chunked" in length else bytes(64 * 2**20)))
        assert answer.startswith((b"HTTP/1.1 413", b"")), answer[:200]
    assert server.memory_mib() - before < 40


def test_what_is_no_http_is_refused(server: Server) -> None:
    for content in (b"\x16\x03\x01\x00\x00", b"\r\n\r\nnonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 1000):
        answer = server.raw(content)
        assert answer.startswith(b"HTTP/1.1 4")
        assert b'"error"' in answer


def test_who_says_nothing_or_half_a_request_is_not_waited_for(site: Site, server: Server) -> None:
    began = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as silent,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as halting,
    ):
        halting.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        assert silent.recv(10) == b""
        assert halting.recv(10) == b""
    assert 5 < time.monotonic() - began < 25


def test_many_slow_requests_leave_room_for_others(server: Server, device: LiveDevice) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(100)]
    for connection in slow:
        connection.sendall(b"POST /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert device.ask(server, "POST", "/v1/health", encode(health(1))).status == 200
    for connection in slow:
        connection.close()


def test_revocation_holds_from_the_next_request_on_while_a_crowd_is_talking(site: Site, server: Server) -> None:
    device = LiveDevice()
    device.enrol(server, site.code())
    stop = threading.Event()

    def talk() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            device.ask(server, "POST", "/v1/health", encode(health(number)))

    crowd = [threading.Thread(target=talk) for _ in range(3)]
    for one in crowd:
        one.start()
    try:
        site.run("fleet", "revoke", device.id)
        answers = [device.ask(server, "GET", "/v1/metadata/timestamp.json").status for _ in range(5)]
    finally:
        stop.set()
        for one in crowd:
            one.join(timeout=30)
    assert answers == [403] * 5


def test_the_operators_routes_and_the_log(site: Site, server: Server, device: LiveDevice) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert server.call("GET", "/metrics", headers=bearer).data.count(b"tinymlops_requests_total") > 2
    assert server.call("GET", "/healthz").status == 200
    page = json.loads(server.call("GET", "/v1/devices?limit=1000", headers=bearer).data)
    assert device.id in {line["device"]["device_id"] for line in page["devices"]}
    text = server.log.read_text()
    answered = [json.loads(line) for line in text.splitlines() if '"answered"' in line]
    assert {"request", "route", "status", "ms", "timestamp"} <= set(answered[-1])
    assert TOKEN not in text
    assert "Traceback" not in text


def test_https(site: Site, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=gateway", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *name, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with site.gateway("--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        with urllib3.PoolManager(ca_certs=str(certificate)) as pool:
            answer = pool.request("GET", f"https://127.0.0.1:{server.port}/healthz", timeout=30)
        assert (answer.status, "strict-transport-security" in answer.headers) == (200, True)
        context = ssl.create_default_context(cafile=certificate)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
            assert context.wrap_socket(plain, server_hostname="127.0.0.1").version() in {"TLSv1.2", "TLSv1.3"}


def test_behind_a_proxy_the_proxys_word_counts_only_where_it_is_trusted(site: Site, server: Server) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    with site.gateway("--trusted-proxy", "127.0.0.1") as behind:
        behind.call("GET", "/healthz", headers=forwarded)
        assert '"203.0.113.7"' in behind.log.read_text()
        behind.log.write_text("")
        server.call("GET", "/healthz", headers=forwarded)
        time.sleep(0.2)
        assert "203.0.113.7" not in server.log.read_text()


def test_a_port_that_is_taken_is_said_in_one_sentence(site: Site, server: Server) -> None:
    ended = subprocess.run(
        [COMMAND, "gateway", "--listen", f"127.0.0.1:{server.port}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=site.environment,
    )
    assert ended.returncode == 9
    assert "choose another --listen" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_packages_come_from_the_bucket_by_a_signed_url(tmp_path: Path, s3_server: S3Server) -> None:
    package = os.urandom(5000)
    path = f"releases/activity/1/{digest_name(package, 'int8.tmz')}"
    address = f"s3://{BUCKET}/gateway-{os.urandom(4).hex()}"
    s3_server.store(address.rpartition("/")[2]).put(f"targets/{path}", package)
    site = Site(tmp_path, TINYMLOPS_STORE=address, **s3_server.environment())
    site.run("keys", "create", "--development", "--bin-bits", "1")
    site.run("gateway", "init")
    device = LiveDevice()
    with site.gateway("--redirect") as server:
        device.enrol(server, site.code())
        answer = device.ask(server, "GET", f"/v1/targets/{path}")
        assert answer.status == 307
        assert server.pool.request("GET", answer.headers["location"]).data == package
        assert server.pool.request("GET", answer.headers["location"].replace("tmz", "tmx")).status in {403, 404}
        answer = device.ask(server, "POST", "/v1/telemetry", encode_packed(records(1, 2)))
        assert decode(answer.data, Acknowledgement).through == 2
    with site.gateway() as server:
        assert device.ask(server, "GET", f"/v1/targets/{path}").data == package
        assert device.ask(server, "GET", f"/v1/targets/{path}x").status == 404


def test_a_fleet_in_postgresql(tmp_path: Path) -> None:
    with postgresql() as database:
        site = Site(tmp_path, TINYMLOPS_DATABASE=database.database())
        site.run("keys", "create", "--development", "--bin-bits", "1")
        site.run("gateway", "init")
        assert "brought up to date" in site.run("fleet", "migrate")
        assert "nothing to do" in site.run("fleet", "migrate")
        device = LiveDevice()
        body = encode(health(1))
        headers = device.signed("POST", "/v1/health", body)
        with site.gateway() as first, site.gateway() as second:
            device.enrol(first, site.code())
            answers = [one.call("POST", "/v1/health", body, headers).status for one in (first, second)]
            assert answers == [200, 409]
            site.run("fleet", "revoke", device.id)
            assert device.ask(second, "POST", "/v1/health", body).status == 403
