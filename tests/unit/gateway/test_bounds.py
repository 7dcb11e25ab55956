"""Bounds: bodies, rates, what waits, and what is said when the gateway itself fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fleet_contract import enrolled, heard
from tests.unit.gateway.rig import Clock, FakeDevice, Rig, health, problem
from tinymlops.errors import SetupError, StorageError, UsageError
from tinymlops.fleet import Admission, Fleet, Heard, Verdict, open_fleet
from tinymlops.gateway import RateLimits, admissions
from tinymlops.gateway.admissions import Admissions
from tinymlops.gateway.problems import Refusal
from tinymlops.gateway.rate_limits import BoundedMemory, RateLimiter, _site
from tinymlops.wire.encoding import encode


def settle(rig: Rig, **changes: object) -> None:
    rig.settings = msgspec.structs.replace(rig.settings, **changes)
    rig.restart()


def stream(rig: Rig, device: FakeDevice, parts: AsyncIterator[bytes], target: str = "/v1/health") -> object:
    request = rig.client.post(target, content=parts, headers=device.signed("POST", target))
    return rig.loop.run_until_complete(request)


def test_a_body_that_is_announced_too_large_is_not_read(rig: Rig) -> None:
    device = rig.device()
    answer = device.ask("POST", "/v1/health", bytes(rig.settings.small_body_bytes + 1))
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    problem(answer)


def test_a_body_without_an_announced_length_is_cut_off_where_it_grows_too_large(rig: Rig) -> None:
    device, sent = rig.device(), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 4096
            yield bytes(4096)

    answer = stream(rig, device, endless())
    assert answer.status_code == 413  # type: ignore[attr-defined]
    assert sent <= rig.settings.small_body_bytes + 3 * 4096


def test_a_get_with_a_body_is_refused(rig: Rig) -> None:
    assert rig.device().ask("GET", "/v1/metadata/1.root.json", b"x").status_code == 413


def test_a_body_that_comes_too_slowly_is_given_up(rig: Rig) -> None:
    settle(rig, body_timeout_s=0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    answer = stream(rig, rig.device(), slow())
    assert answer.status_code == 408  # type: ignore[attr-defined]


def test_bodies_together_have_a_bound_that_is_given_back(rig: Rig) -> None:
    settle(rig, bodies_bytes=5000)
    device = rig.device()
    for _ in range(5):
        answer = device.ask("POST", "/v1/health", b" " * 6000)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert device.ask("POST", "/v1/health", b" " * 3000).status_code == 400
    assert device.report(health(1)).status_code == 200


def test_a_device_that_asks_too_often_waits_and_others_do_not(rig: Rig) -> None:
    settle(rig, rates=RateLimits(device="3/minute"))
    device, other = rig.device(), rig.device()
    answers = [device.ask("GET", "/v1/metadata/1.root.json") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    problem(answers[-1])
    assert other.ask("GET", "/v1/metadata/1.root.json").status_code == 200
    rig.clock.now_s += 61
    assert device.ask("GET", "/v1/metadata/1.root.json").status_code == 200


def test_nobody_else_can_use_up_a_devices_requests(rig: Rig) -> None:
    settle(rig, rates=RateLimits(device="2/minute"))
    device = rig.device()
    for _ in range(5):
        headers = {**FakeDevice(rig).signed("GET", "/v1/metadata/1.root.json")}
        headers["Signature-Input"] = device.signed("GET", "/v1/metadata/1.root.json")["Signature-Input"]
        assert rig.call("GET", "/v1/metadata/1.root.json", headers=headers).status_code == 401
    assert device.ask("GET", "/v1/metadata/1.root.json").status_code == 200


def test_an_address_may_ask_and_enrol_so_often(rig: Rig) -> None:
    settle(rig, rates=RateLimits(address="5/minute", enrolment="2/minute"))
    codes = [rig.code() for _ in range(3)]
    assert [FakeDevice(rig).enrol(code).status_code for code in codes] == [200, 200, 429]
    assert [rig.call("POST", "/v1/health").status_code for _ in range(3)] == [401, 401, 429]


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    clock = Clock(10_000.0)
    rates = RateLimiter(RateLimits(device="1/minute"), clock)
    rates.count_device("a")
    clock.now_s = 100.0
    rates.count_device("a")
    with pytest.raises(Refusal) as raised:
        rates.count_device("a")
    assert raised.value.headers["Retry-After"] == "60"


@given(st.lists(st.text(max_size=2)))
def test_counts_are_bounded_whoever_calls(names: list[str]) -> None:
    memory = BoundedMemory(Clock(), most_keys=3)
    for name in names:
        assert memory.incr(name, 60) >= 1
        assert memory.get(name) >= 1
    assert memory.reset() <= 3
    assert memory.check()


def test_a_count_can_be_cleared() -> None:
    clock = Clock()
    memory = BoundedMemory(clock)
    assert memory.get_expiry("a") == clock()
    memory.incr("a", 60, amount=5)
    assert (memory.get("a"), memory.get_expiry("a")) == (5, clock() + 60)
    memory.clear("a")
    assert memory.get("a") == 0


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        (None, "unknown"),
        ("testclient", "unknown"),
    ],
)
def test_an_address_stands_for_its_site(address: str | None, site: str) -> None:
    assert _site(address) == site


@pytest.mark.parametrize("rates", [RateLimits(device="often"), RateLimits(address=""), RateLimits(enrolment="1/eon")])
def test_a_rate_that_is_none_is_refused(rates: RateLimits) -> None:
    with pytest.raises(UsageError, match="not a rate limit"):
        RateLimiter(rates, Clock())


@pytest.mark.parametrize("storage", ["nothing://", "async+memory://"])
def test_a_storage_of_rates_that_is_none_is_refused(storage: str) -> None:
    with pytest.raises(SetupError, match="storage of rate limits"):
        RateLimiter(RateLimits(storage=storage), Clock())


def test_a_storage_of_the_package_can_be_used() -> None:
    rates = RateLimiter(RateLimits(storage="memory://", device="1/hour"), Clock())
    rates.count_device("a")
    with pytest.raises(Refusal):
        rates.count_device("a")


# Admissions


class Slow(Fleet):
    """Commits when it is told to, and remembers how many requests shared a commit."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet._database)
        self.go = threading.Event()
        self.sizes: list[int] = []
        self.fails = False

    def admit(self, batch: Sequence[Heard]) -> tuple[Admission, ...]:
        assert self.go.wait(timeout=30)
        self.sizes.append(len(batch))
        if self.fails:
            raise StorageError("the disk is full", "free some space")
        return super().admit(batch)


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    return Slow(open_fleet(f"sqlite:///{tmp_path / 'fleet.sqlite'}"))


def test_requests_that_come_during_a_commit_share_the_next_one(slow: Slow) -> None:
    device_id = enrolled(slow)

    async def crowd() -> list[Admission]:
        parts = Admissions(slow, Clock(), most_in_a_commit=5)
        asked = [asyncio.ensure_future(parts.admit(heard(device_id)))]
        await asyncio.sleep(0.05)
        asked += [asyncio.ensure_future(parts.admit(heard(device_id))) for _ in range(9)]
        await asyncio.sleep(0.05)
        slow.go.set()
        await parts.drain()
        assert all(one.done() for one in asked)
        parts.close()
        return [one.result() for one in asked]

    assert {one.verdict for one in asyncio.run(crowd())} == {Verdict.ACCEPTED}
    assert slow.sizes == [1, 5, 4]


def test_a_commit_that_fails_fails_for_all_that_share_it_and_the_next_one_works(slow: Slow) -> None:
    device_id = enrolled(slow)
    slow.go.set()

    async def crowd() -> None:
        parts = Admissions(slow, Clock(), most_in_a_commit=5)
        slow.fails = True
        ended = await asyncio.gather(*(parts.admit(heard(device_id)) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(one, StorageError) for one in ended)
        slow.fails = False
        assert (await parts.admit(heard(device_id))).verdict == Verdict.ACCEPTED
        parts.close()

    asyncio.run(crowd())


def test_a_client_that_goes_takes_nobody_along(slow: Slow) -> None:
    device_id = enrolled(slow)

    async def crowd() -> None:
        parts = Admissions(slow, Clock(), most_in_a_commit=5)
        gone, stays = (asyncio.ensure_future(parts.admit(heard(device_id))) for _ in range(2))
        await asyncio.sleep(0.05)
        gone.cancel()
        slow.go.set()
        assert (await stays).verdict == Verdict.ACCEPTED
        parts.close()

    asyncio.run(crowd())


def test_only_so_many_can_wait(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admissions, "_MOST_WAITING", 2)
    device_id = enrolled(slow)

    async def crowd() -> None:
        parts = Admissions(slow, Clock(), most_in_a_commit=1)
        waiting = [asyncio.ensure_future(parts.admit(heard(device_id)))]
        await asyncio.sleep(0.05)  # it is being committed, and waits no more
        waiting += [asyncio.ensure_future(parts.admit(heard(device_id))) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(Refusal) as raised:
            await parts.admit(heard(device_id))
        assert raised.value.status == 503
        slow.go.set()
        await asyncio.gather(*waiting)
        parts.close()

    asyncio.run(crowd())


def test_nonces_are_pruned_as_time_goes_by_and_a_failure_of_that_stops_nobody(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    device_id, clock, slow_go = enrolled(slow), Clock(), slow.go
    slow_go.set()
    pruned: list[float] = []

    def prune(*, now_s: float) -> int:
        pruned.append(now_s)
        raise StorageError("busy", "wait")

    monkeypatch.setattr(slow, "prune_nonces", prune)

    async def crowd() -> None:
        parts = Admissions(slow, clock, most_in_a_commit=5)
        for _ in range(4):
            clock.now_s += 3
            assert (await parts.admit(heard(device_id))).verdict == Verdict.ACCEPTED
        parts.close()

    asyncio.run(crowd())
    assert len(pruned) == 2


# The gateway itself


def test_a_failure_of_the_gateway_is_a_problem_and_a_line_in_the_log(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    import structlog.testing

    def broken(_: Sequence[Heard]) -> tuple[Admission, ...]:
        raise ZeroDivisionError

    monkeypatch.setattr(rig.fleet, "admit", broken)
    with structlog.testing.capture_logs() as lines:
        stranger = FakeDevice(rig)
        answer = stranger.enrol(rig.code())
    assert answer.status_code == 500
    assert "Zero" not in answer.text
    problem(answer)
    failed = [line for line in lines if line["event"] == "failed"]
    assert [line["request"] for line in failed] == [answer.headers["x-request-id"]]


def test_the_database_being_gone_is_said_as_such(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    device = rig.device()

    def broken(_: Sequence[Heard]) -> tuple[Admission, ...]:
        raise StorageError("postgresql://10.0.0.1 is gone", "look there")

    monkeypatch.setattr(rig.fleet, "admit", broken)
    answer = device.ask("POST", "/v1/health", encode(health(1)))
    assert answer.status_code == 503
    assert "10.0.0.1" not in answer.text
    assert answer.headers["retry-after"]
