"""Devices that hand windows in as quickly as a gateway takes them, and know what was acknowledged to them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from tests.support.fleet_contract import new_code, wanted
from tinymlops.fleet import Fleet
from tinymlops.wire import cose
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import Acknowledgement, Record, TelemetryBatch
from tinymlops.wire.observations import CONSENT, Consent, Purpose, RecordName, Window
from tinymlops.wire.request_signing import Request, sign

Body = Callable[[Sequence[Record]], bytes]
_PATH = "/v1/telemetry"
_AGAIN_S = 0.05
_PATIENCE_S = 60.0
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass
class Sender:
    """A device: its first record is its consent, all others are windows.

    Attributes:
        keys: Sign its requests.
        through: Number of the last record that was acknowledged.
    """

    keys: DeviceKeys
    through: int = -1

    @property
    def windows(self) -> int:
        """Acknowledged."""
        return max(0, self.through)

    def records(self, most: int, contents: Sequence[bytes]) -> tuple[Record, ...]:
        """The next ones, in the order of their numbers."""
        first = self.through + 1
        opening = () if first else (Record(0, RecordName.CONSENT, self._consent()),)
        numbers = range(max(first, 1), max(first, 1) + most)
        return opening + tuple(Record(one, RecordName.WINDOW, contents[one % len(contents)]) for one in numbers)

    def _consent(self) -> bytes:
        now_s = int(time.time())
        given = Consent(
            subject=f"household-{self.keys.device_id[:6]}",
            number=1,
            purposes=(Purpose.OPERATIONS, Purpose.DRIFT),
            given_s=now_s - 86_400,
            until_s=now_s + 86_400,
            wording="v1",
        )
        return cose.signed(given, CONSENT, self.keys.sign)


@dataclass
class Told:
    """What the crowd met.

    Attributes:
        latencies_s: From a request's first byte to the end of its answer, of those that were acknowledged.
        broken: Connections that ended before an answer.
        busy: Answers 503.
    """

    latencies_s: list[float] = field(default_factory=list)
    broken: int = 0
    busy: int = 0


def senders(fleet: Fleet, count: int) -> list[Sender]:
    """That many devices that the fleet has let in."""
    made = [Sender(DeviceKeys.generate()) for _ in range(count)]
    for one in made:
        fleet.enrol(wanted(new_code(fleet), one.keys, "raspberry-pi-5"), now_s=time.time())
    return made


def contents(*, features: int = 8, bins: int = 16, kinds: int = 256) -> list[bytes]:
    """Windows of today's last hours with a thousand queries each, noise of ε = 1 and all."""
    rng = np.random.default_rng(7)
    stop = 1 - np.exp(-0.5)
    ended_s = time.time() - 60
    made = []
    for place in range(kinds):
        counts = rng.multinomial(1000, np.full(bins, 1 / bins), features)
        counts = counts + rng.geometric(stop, counts.shape) - rng.geometric(stop, counts.shape)
        window = Window(
            workload="activity",
            release=3,
            recipe="pruned-int8",
            layout="0123456789abcdef",
            began_s=ended_s - place % 12 * 300 - 300,
            ended_s=ended_s - place % 12 * 300,
            consent=1,
            epsilon=1.0,
            histograms=tuple(map(tuple, counts.tolist())),
            queries=1000,
            latencies=(0, 0, 0, 120, 700, 150, 30),
            memory_kib=41_000,
            energy_uj=910.5,
        )
        made.append(encode_packed(window))
    return made


def packed(records: Sequence[Record]) -> bytes:
    """As agents send records."""
    return encode_packed(TelemetryBatch(records=tuple(records)))


class Crowd:
    """Devices over a few connections: each has one request under way, and sends it again until it is acknowledged.

    Args:
        devices: All of them.
        each: Windows in a request.
        body: Makes a body of records; what agents send unless given.
    """

    def __init__(self, devices: Sequence[Sender], *, each: int, body: Body = packed) -> None:
        self._devices = devices
        self._each = each
        self._body = body
        self._contents = contents()
        self.told = Told()

    @property
    def windows(self) -> int:
        """Acknowledged, to all devices."""
        return sum(one.windows for one in self._devices)

    async def send(self, port: int, *, seconds: float, connections: int) -> None:
        """Send for so long; everything that was begun is acknowledged at the end.

        Raises:
            AssertionError: A request was refused, or nobody answered for a minute.
        """
        end = time.perf_counter() + seconds
        groups = [self._devices[start::connections] for start in range(min(connections, len(self._devices)))]
        await asyncio.gather(*(self._one_connection(port, group, end) for group in groups))

    async def greet(self, port: int) -> None:
        """One request of each device: the first one brings the consent, and makes the gateway look for the key."""
        line = _Line(port)
        for device in self._devices:
            await self._until_acknowledged(line, device)
        line.close()
        self.told = Told()

    async def _one_connection(self, port: int, devices: Sequence[Sender], end: float) -> None:
        line = _Line(port)
        number = 0
        while time.perf_counter() < end:
            await self._until_acknowledged(line, devices[number % len(devices)])
            number += 1
        line.close()

    async def _until_acknowledged(self, line: _Line, device: Sender) -> None:
        body = self._body(device.records(self._each, self._contents))
        give_up = time.perf_counter() + _PATIENCE_S
        while time.perf_counter() < give_up:
            began = time.perf_counter()
            try:
                status, answer = await line.ask(_signed(device.keys, body))
            except (OSError, asyncio.IncompleteReadError):
                self.told.broken += 1
                line.close()
                await asyncio.sleep(_AGAIN_S)
                continue
            if status == 200:
                device.through = msgspec.json.decode(answer, type=Acknowledgement).through
                self.told.latencies_s.append(time.perf_counter() - began)
                return
            assert status == 503, (status, answer)
            self.told.busy += 1
            await asyncio.sleep(_AGAIN_S)
        raise AssertionError("nobody answered for a minute")


class _Line:
    """A connection that comes back."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return int(head[9:12]), await reader.readexactly(int(length[1]) if length else 0)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _signed(keys: DeviceKeys, body: bytes) -> bytes:
    """A request as bytes of HTTP/1.1; another nonce each time."""
    headers = sign(Request("POST", _PATH, body), keys, now_s=time.time())
    lines = [f"POST {_PATH} HTTP/1.1", "Host: gateway", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
