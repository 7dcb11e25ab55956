"""A fake fleet: hundreds of real agents in one process, against a real gateway, over a link that does what links do.

Time is simulated and everything is drawn from one seed, so that weeks of a fleet with bad luck take seconds and happen
again the same way. What is real: agents, their folders, signatures, seals, the gateway's app and its database. What is
not: sockets, processes and the passing of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tinymlops.edge.agent import Agent
from tinymlops.edge.enrolment import KEY_FILE
from tinymlops.edge.prediction import Prediction
from tinymlops.edge.seams import Answer, Call
from tinymlops.edge.settings import AgentSettings
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition
from tinymlops.errors import NoModelError, TinyMLOpsError, UnreachableError
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.observations import Purpose

App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[MutableMapping[str, Any]], Awaitable[None]]],
    Awaitable[None],
]
"""An ASGI application."""

_MOST_TRANSITIONS_A_ROUND = 20
_RETRY_ENROLMENT_S = 30.0
_DAY_S = 86_400.0


class Crash(BaseException):
    """The power went, at a named transition."""


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong, as probabilities. The first five are for each request, the others for each round of a device.

    Attributes:
        lost_request: It never arrives.
        lost_answer: It arrives, and the device does not hear of it.
        cut_answer: The answer's body breaks off somewhere.
        duplicated: It arrives twice.
        delayed: The device gives up on it, and it arrives later, after others.
        delay_s: How much later at most.
        crash: The device loses power at some transition and starts again.
        restart_s: How long starting again takes.
        full_disk: The device's disk is full for this round.
        skew_s: How far a device's clock may be off, either way.
        reset_clock: Fraction of the devices whose clock says 1970.
    """

    lost_request: float = 0.0
    lost_answer: float = 0.0
    cut_answer: float = 0.0
    duplicated: float = 0.0
    delayed: float = 0.0
    delay_s: float = 60.0
    crash: float = 0.0
    restart_s: float = 5.0
    full_disk: float = 0.0
    skew_s: float = 0.0
    reset_clock: float = 0.0


NO_FAULTS = Faults()


class SimulatedTime:
    """The time of a simulation; calling it gives seconds since 1970.

    Args:
        start_s: When it begins.
    """

    def __init__(self, start_s: float) -> None:
        self.now_s = start_s

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.now_s


class _DeviceClock:
    """A device's clock: off by some seconds."""

    def __init__(self, time: SimulatedTime, offset_s: float) -> None:
        self._time, self._offset_s, self._start_s = time, offset_s, time.now_s

    def now(self) -> float:
        """Seconds since 1970, as this device believes."""
        return max(self._time.now_s + self._offset_s, 0.0)

    def monotonic(self) -> float:
        """Seconds since the device was switched on."""
        return self._time.now_s - self._start_s


class _Link:
    """A device's way to the gateway, which loses, cuts, doubles and delays."""

    def __init__(self, fleet: FakeFleet, rng: random.Random) -> None:
        self._fleet, self._rng = fleet, rng

    def send(self, call: Call) -> Answer:
        """The gateway's answer, if luck will have it."""
        faults, rng = self._fleet.faults, self._rng
        if rng.random() < faults.lost_request:
            raise _gone("request")
        if rng.random() < faults.delayed:
            self._fleet.later(rng.uniform(0.0, faults.delay_s), lambda: self._fleet.ask(call))
            raise _gone("request")
        answer = self._fleet.ask(call)
        if rng.random() < faults.duplicated:
            self._fleet.ask(call)
        if rng.random() < faults.lost_answer:
            raise _gone("answer")
        if rng.random() < faults.cut_answer:
            return Answer(answer.status, answer.headers, _cut(b"".join(answer.chunks), rng))
        return answer


def _gone(what: str) -> UnreachableError:
    return UnreachableError(f"the {what} was lost", "try again")


def _cut(body: bytes, rng: random.Random) -> Iterator[bytes]:
    yield body[: rng.randrange(len(body) + 1)]
    raise UnreachableError("the connection broke", "try again")


def _seeded_keys(rng: random.Random) -> DeviceKeys:
    signing, sealing = rng.randbytes(32), rng.randbytes(32)
    return DeviceKeys(Ed25519PrivateKey.from_private_bytes(signing), X25519PrivateKey.from_private_bytes(sealing))


class FakeDevice:
    """A device of the fake fleet: an agent, and the bad luck that it has.

    Args:
        fleet: That it belongs to.
        number: In the fleet; seeds its luck.
        profile: Its kind.
        code: To get in with.
    """

    def __init__(self, fleet: FakeFleet, number: int, profile: str, code: EnrolmentCode) -> None:
        self.number, self.profile = number, profile
        self.crashes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._fleet, self._code = fleet, code
        self._rng = random.Random(f"{fleet.seed}/{number}")  # noqa: S311 - luck, not secrets
        faults, start = fleet.faults, fleet.time.now_s
        skew_s = self._rng.uniform(-faults.skew_s, faults.skew_s)
        self._clock = _DeviceClock(fleet.time, -start if self._rng.random() < faults.reset_clock else skew_s)
        self._root = fleet.folder / f"{number:05}"
        self._power_cut = 0
        # Keys are drawn as well: who is a canary follows from them, and must be the same in every run of a seed.
        Folder(self._root, durable=False).write(KEY_FILE, _seeded_keys(self._rng).to_bytes())
        self._is_open = False
        self._full = False
        self.agent = self._started(quota_bytes=None)

    def round(self) -> float:
        """One round of the agent, or what a crash leaves of it; seconds until the next."""
        faults = self._fleet.faults
        self._power_cut = self._rng.randint(1, _MOST_TRANSITIONS_A_ROUND) if self._rng.random() < faults.crash else 0
        if self._rng.random() < faults.full_disk:
            self._restart(quota_bytes=self._used())
        try:
            return self._live()
        except Crash as crash:
            self.crashes[str(crash)] += 1
            self._restart()
            return faults.restart_s
        finally:
            self._power_cut = 0

    def switch_off_and_on(self) -> None:
        """Start the agent anew from its folder, without any network."""
        self._restart()
        self.agent.open()
        self._is_open = True

    def agree(self, *purposes: Purpose, days: float = 365.0) -> None:
        """The person at this device agrees to ``purposes`` alone; to none of them: withdraws all."""
        until_s = self.agent.clock.now() + days * _DAY_S
        self.agent.consents.give(purposes, subject=f"person-{self.number}", until_s=until_s)

    def ask(self, workload: str, values: npt.ArrayLike, truth: object = None) -> Prediction | None:
        """The model's answer, or None before it has one.

        Args:
            workload: Which task.
            values: The input, real values.
            truth: What is really right, where the device learns that; counted if it was agreed to.
        """
        try:
            model = self.agent.models[workload]
            answer = model.predict(values)
        except NoModelError:
            return None
        if truth is not None:
            model.feedback(answer.id, truth)
        return answer

    def _live(self) -> float:
        try:
            if not self._is_open:
                self.agent.enrol(self._code, "memory", self.profile)
                self.agent.open()
                self._is_open = True
        except TinyMLOpsError as error:
            self.errors[type(error).__name__] += 1
            self._restart()
            return _RETRY_ENROLMENT_S
        cycle = self.agent.cycle()
        if cycle.error is not None:
            self.errors[type(cycle.error).__name__] += 1
        if self._full:
            self._restart()
        return cycle.delay_s

    def _restart(self, quota_bytes: int | None = None) -> None:
        """Start the agent again from what is in its folder."""
        self._full = quota_bytes is not None
        self._is_open = False
        self.agent = self._started(quota_bytes)

    def _started(self, quota_bytes: int | None) -> Agent:
        return Agent(
            Folder(self._root, quota_bytes=quota_bytes, durable=False),
            _Link(self._fleet, self._rng),
            clock=self._clock,
            rng=self._rng,
            observer=self._observe,
            settings=self._fleet.settings,
            below=self._rng.randrange,
        )

    def _observe(self, transition: Transition, about: str) -> None:
        del about
        if self._power_cut:
            self._power_cut -= 1
            if not self._power_cut:
                raise Crash(transition.value)

    def _used(self) -> int:
        return sum(path.stat().st_size for path in self._root.rglob("*") if path.is_file())


class FakeFleet:
    """Agents, a gateway and the time: a discrete-event simulation. Use it as a context.

    Args:
        app: The gateway, an ASGI application that tells the time by ``time``.
        time: Shared with the gateway.
        folder: For the agents' state; in memory (``/dev/shm``) it is quickest.
        seed: Of all luck.
        faults: What goes wrong.
        settings: Of every agent.
    """

    def __init__(
        self,
        app: App,
        time: SimulatedTime,
        folder: Path,
        *,
        seed: int = 7,
        faults: Faults = NO_FAULTS,
        settings: AgentSettings | None = None,
    ) -> None:
        self.app, self.time, self.folder, self.seed, self.faults = app, time, folder, seed, faults
        self.settings = settings or AgentSettings()
        self.devices: list[FakeDevice] = []
        self.requests: Counter[tuple[str, int]] = Counter()
        self._loop = asyncio.new_event_loop()
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.close()

    def join(self, profiles: Iterable[str], codes: Iterable[EnrolmentCode], *, within_s: float = 60.0) -> None:
        """Switch devices on, one for each profile, at moments spread over ``within_s``."""
        rng = random.Random(f"{self.seed}/joining")  # noqa: S311
        for profile, code in zip(profiles, codes, strict=True):
            device = FakeDevice(self, len(self.devices), profile, code)
            self.devices.append(device)
            self._again(rng.uniform(0.0, within_s), device.round)

    def every(self, seconds: float, work: Callable[[], object]) -> None:
        """Do ``work`` again and again, as a flow would."""

        def round_() -> float:
            work()
            return seconds

        self._again(seconds, round_)

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Do ``work`` once, ``seconds`` from now."""
        heapq.heappush(self._queue, (self.time.now_s + seconds, next(self._numbers), work))

    def run(self, *, until: Callable[[], bool], most_s: float) -> bool:
        """Let time pass until ``until`` holds, which is asked after every event; False if ``most_s`` went by first.

        Args:
            until: Says whether it is enough.
            most_s: Simulated seconds.
        """
        end_s = self.time.now_s + most_s
        while not until():
            if not self._queue or self._queue[0][0] > end_s:
                return False
            self.time.now_s, _, work = heapq.heappop(self._queue)
            work()
        return True

    def ask(self, call: Call) -> Answer:
        """The gateway's answer to one request."""
        status, headers, body = self._loop.run_until_complete(_answer_of(self.app, call))
        self.requests[call.target.partition("?")[0].split("/")[2], status] += 1
        return Answer(status, headers, [body])

    def _again(self, seconds: float, round_: Callable[[], float]) -> None:
        self.later(seconds, lambda: self._again(round_(), round_))


async def _answer_of(app: App, call: Call) -> tuple[int, Mapping[str, str], bytes]:
    """One request through an ASGI application."""
    path, _, query = call.target.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in call.headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("memory", 80),
    }
    sent: list[MutableMapping[str, Any]] = []
    waiting = [{"type": "http.request", "body": call.body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()  # nobody hangs up
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    with contextlib.suppress(asyncio.CancelledError):
        await app(scope, receive, send)
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return int(sent[0]["status"]), headers, body
