"""A gateway in this process, and devices that talk to it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tinymlops.fleet import CodeTerms, Fleet, open_fleet
from tinymlops.gateway import GatewayKey, GatewaySettings, create_app
from tinymlops.gateway.settings import token_digest
from tinymlops.store import DirectoryStore, ObjectStore
from tinymlops.wire.encoding import decode, encode, encode_packed
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import (
    Enrolment,
    EnrolmentRequest,
    HealthReport,
    Phase,
    Problem,
    Record,
    ReleaseHealth,
    TelemetryBatch,
)
from tinymlops.wire.request_signing import Request, sign
from tinymlops.wire.sealing import Cipher

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())

NOW_S = 1_900_000_000.0
ROOT = b'{"signed": {"_type": "root", "version": 1}}'
TOKEN = "an operator's token for tests"  # noqa: S105
T = TypeVar("T", bound=msgspec.Struct)


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Rig:
    """A gateway over a folder and SQLite; requests go straight into the app."""

    def __init__(
        self,
        folder: Path,
        settings: GatewaySettings | None = None,
        *,
        database: str = "",
        store: ObjectStore | None = None,
    ) -> None:
        self.folder = folder
        self.clock = Clock()
        self.store = store or DirectoryStore(folder / "store")
        self.store.put("metadata/1.root.json", ROOT)
        self.key = GatewayKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
        self.settings = settings or GatewaySettings(
            operator_token_sha256=token_digest(TOKEN), timestamp_ttl_s=0.0, rates=None
        )
        self.database = database or f"sqlite:///{folder / 'fleet.sqlite'}"
        self.loop = asyncio.new_event_loop()
        self.start()

    def start(self) -> None:
        """Begin with nothing in memory."""
        self.fleet: Fleet = open_fleet(self.database)
        self.app = create_app(self.settings, self.fleet, self.store, self.key, clock=self.clock)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://gateway")

    def stop(self) -> None:
        """Let everything go."""
        self.loop.run_until_complete(self.client.aclose())
        self.loop.run_until_complete(self.app.state.gateway.close())
        self.fleet.close()

    def restart(self) -> None:
        """As a new process would see it."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        self.loop.close()

    def call(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """The answer to one request."""
        return self.loop.run_until_complete(
            self.client.request(method, target, content=body, headers=dict(headers or {}))
        )

    def together(self, *requests: tuple[str, str, bytes, Mapping[str, str]]) -> list[httpx.Response]:
        """The answers to requests that are under way at once."""

        async def all_of_them() -> list[httpx.Response]:
            calls = (self.client.request(m, t, content=b, headers=dict(h)) for m, t, b, h in requests)
            return list(await asyncio.gather(*calls))

        return self.loop.run_until_complete(all_of_them())

    def operator(self, target: str, token: str = TOKEN) -> httpx.Response:
        return self.call("GET", target, headers={"Authorization": f"Bearer {token}"})

    def code(self, **terms: Any) -> EnrolmentCode:
        chosen = CodeTerms(**{"expires_s": self.clock() + 3600, "root_version": 1, **terms})
        return self.fleet.new_code(chosen, root=ROOT, gateway_key=self.key.public)

    def device(self, **terms: Any) -> FakeDevice:
        """A device that is enrolled."""
        device = FakeDevice(self)
        answer = device.enrol(self.code(**terms))
        assert answer.status_code == 200, answer.text
        return device


class FakeDevice:
    """Keys, and requests signed with them."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.keys = DeviceKeys.generate()
        self.id = self.keys.device_id

    def signed(self, method: str, target: str, body: bytes = b"") -> dict[str, str]:
        return sign(Request(method, target, body), self.keys, now_s=self.rig.clock())

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return self.rig.call(method, target, body, {**self.signed(method, target, body), **(headers or {})})

    def enrolment(self, code: EnrolmentCode, profile: str = "raspberry-pi-5") -> bytes:
        return encode(
            EnrolmentRequest(
                secret=code.secret,
                signing_key=self.keys.public.signing,
                sealing_key=self.keys.public.sealing,
                profile=profile,
                agent_version="0.1.0",
                cipher=Cipher.AES_256_GCM,
            )
        )

    def enrol(self, code: EnrolmentCode, profile: str = "raspberry-pi-5") -> httpx.Response:
        return self.ask("POST", "/v1/enrol", self.enrolment(code, profile))

    def report(self, health: HealthReport) -> httpx.Response:
        return self.ask("POST", "/v1/health", encode(health))

    def hand_in(self, *numbers: int) -> httpx.Response:
        return self.ask("POST", "/v1/telemetry", encode_packed(records(*numbers)))


def records(*numbers: int) -> TelemetryBatch:
    return TelemetryBatch(records=tuple(Record(number, "window", b"content %d" % number) for number in numbers))


def health(sequence: int, *, version: int = 1, phase: Phase = Phase.GOOD) -> HealthReport:
    release = ReleaseHealth(workload="activity", version=version, assignment=1, phase=phase, queries=7)
    return HealthReport(sequence=sequence, sent_at=NOW_S, agent_version="0.1.0", releases=(release,))


def value(answer: httpx.Response, kind: type[T]) -> T:
    assert answer.status_code == 200, answer.text
    return decode(answer.content, kind)


def problem(answer: httpx.Response) -> Problem:
    assert answer.headers["content-type"] == "application/json"
    found = decode(answer.content, Problem)
    assert found.error
    assert found.next_step
    return found


def digest_name(content: bytes, name: str) -> str:
    return f"{hashlib.sha256(content).hexdigest()}.{name}"


def running(folder: Path, settings: GatewaySettings | None = None) -> Iterator[Rig]:
    """For a fixture."""
    rig = Rig(folder, settings)
    yield rig
    rig.close()


def checked_enrolment(answer: httpx.Response, code: EnrolmentCode) -> Enrolment:
    enrolment = value(answer, Enrolment)
    code.check_anchor(enrolment.root, enrolment.gateway_key)
    return enrolment
