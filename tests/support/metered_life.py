"""The life of a device that answers for vouchers, in stages that pass every transition of its meter.

It can be taken up after any kill. The owner's side is the simulated gateway with a book for each device.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.agent_scenario import GATEWAY, WINDOW, Control, settings
from tests.support.gateway_simulator import PROFILE, WORKLOAD, World, body, tiny_model
from tests.support.metering import Book
from tinymlops.edge.agent import Agent
from tinymlops.edge.http_transport import HttpTransport
from tinymlops.edge.seams import Answer, Call
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition, ignore
from tinymlops.errors import QuotaError
from tinymlops.wire import cose
from tinymlops.wire.encoding import decode_packed, encode
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.identity import PublicKeys
from tinymlops.wire.metering import (
    ACKNOWLEDGEMENT,
    REVOCATION,
    VOUCHER,
    Revocation,
    UsageAnswer,
    UsageReport,
    Voucher,
    VoucherList,
)

QUOTA, QUERIES = 10_000, 130
LONGEST_S = 60
STAGES = 6
REVOKED_IN = 5


class Shop(World):
    """A world whose one release is metered, with a voucher for everyone who asks."""

    def __init__(self, now_s: float) -> None:
        super().__init__(now_s)
        self.books: dict[str, tuple[Book, bytes]] = {}
        self.revoked: set[str] = set()
        self.release(1, [tiny_model(1, WINDOW.size)], features=WINDOW.size, metered=True)

    def _route(self, call: Call, headers: dict[str, str], device_id: str, keys: PublicKeys) -> Answer:
        if call.target == "/v1/vouchers":
            return body(encode(self._vouchers(device_id)))
        if call.target == "/v1/usage":
            told = self.books[device_id][0].settle(decode_packed(call.body, UsageReport), keys.signing)
            return body(encode(UsageAnswer(acknowledgement=cose.signed(told, ACKNOWLEDGEMENT, self.key.sign))))
        return super()._route(call, headers, device_id, keys)

    def _vouchers(self, device_id: str) -> VoucherList:
        if device_id not in self.books:
            voucher = Voucher(
                serial=os.urandom(16).hex(), device=device_id, workload=WORKLOAD, quota=QUOTA,
                issued_s=int(self.now_s), expires_s=int(self.now_s) + 86_400,
            )  # fmt: skip
            message = cose.signed(voucher, VOUCHER, self.key.sign)
            self.books[device_id] = Book.of(voucher, message), message
        book, message = self.books[device_id]
        if device_id not in self.revoked:
            return VoucherList(vouchers=(message,))
        gone = Revocation(serial=book.voucher.serial, revoked_s=int(self.now_s))
        return VoucherList(revocations=(cose.signed(gone, REVOCATION, self.key.sign),))


@dataclass
class ShopKeeper(Control):
    """Does what a stage asks of the owner."""

    def enter(self, device_id: str, stage: int) -> None:
        assert isinstance(self.world, Shop)
        if stage == 1 and (device_id, stage) not in self.done:
            self.done.add((device_id, stage))
            self.world.assign(device_id, 1)
        if stage == REVOKED_IN:
            self.world.revoked.add(device_id)


@dataclass
class MeteredLife:
    """One device's life.

    Attributes:
        make: Makes an agent as a new process would.
        enter: Tells the owner that a stage begins.
        code: To enrol with.
        folder: Keeps how far the life has come and what was answered, beside the agent's state.
    """

    make: Callable[[], Agent]
    enter: Callable[[str, int], None]
    code: EnrolmentCode
    folder: Path

    def run(self) -> None:
        """From where it was to the end."""
        reached = self.folder / "stage"
        for stage in range(int(reached.read_text()) if reached.exists() else 0, STAGES):
            self._stage(stage)
            (self.folder / "next").write_text(str(stage + 1))
            (self.folder / "next").replace(reached)

    def _stage(self, stage: int) -> None:
        agent = self.make()
        if stage == 0:
            agent.enrol(self.code, GATEWAY, PROFILE)
            return
        self.enter(agent.device_id, stage)
        if stage == 4:
            _damage(self.folder / "state/meter")
        agent.open()
        _round(agent)
        _round(agent)  # the release is there since the first one: now it is asked for vouchers
        if stage == REVOKED_IN:
            _expect_refusal(agent)
        elif stage > 1:
            self._answer(agent)
            _round(agent)
        if stage != 2:  # one stage ends without a clean stop, as a power cut would end it
            agent.close()

    def _answer(self, agent: Agent) -> None:
        """Queries, each counted where a kill can't take it back."""
        path = self.folder / "answered"
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as count:
            for _ in range(QUERIES):
                agent.models[WORKLOAD].predict(WINDOW)
                count[:] = (int.from_bytes(count[:], "big") + 1).to_bytes(8, "big")


def answered(folder: Path) -> int:
    """Queries that a life has answered."""
    return int.from_bytes((folder / "answered").read_bytes(), "big")


def _damage(meters: Path) -> None:
    """What a broken disk does to a voucher; the chain and the reservation beside it stay."""
    for voucher in meters.glob("*/voucher"):
        voucher.write_bytes(b"broken")


def _round(agent: Agent) -> None:
    done = agent.cycle()
    assert done.error is None, done.error


def _expect_refusal(agent: Agent) -> None:
    try:
        agent.models[WORKLOAD].predict(WINDOW)
    except QuotaError:
        return
    raise AssertionError("a revoked voucher paid for a query")


class Killer:
    """Kills this process when a transition is passed for the n-th time."""

    def __init__(self, transition: Transition, occurrence: int) -> None:
        self._transition, self._left = transition, occurrence

    def __call__(self, transition: Transition, about: str) -> None:
        if transition is self._transition:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _forked(folder: Path, gateway: str, code: str, observer: Observer) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(LONGEST_S)
        try:
            _live(folder, gateway, code, observer)
        except BaseException:  # noqa: BLE001 - a child must never return into the parent's loop
            (folder / "error").write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _live(folder: Path, gateway: str, code: str, observer: Observer) -> None:
    def make() -> Agent:
        rng = random.Random(1)  # noqa: S311 - jitter
        state = Folder(folder / "state")
        return Agent(state, HttpTransport(gateway), rng=rng, observer=observer, settings=settings())

    def enter(device_id: str, stage: int) -> None:
        request = urllib.request.Request(f"{gateway}/test/{device_id}/{stage}", data=b"")  # noqa: S310 - our own
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - our own

    MeteredLife(make, enter, EnrolmentCode.parse(code), folder).run()


def main() -> None:
    """Reads lines ``folder code transition occurrence``; answers each with the exit codes of both lives."""
    for line in sys.stdin:
        name, code, transition, occurrence = line.strip().split("\t")
        folder = Path(name)
        folder.mkdir(parents=True)
        killed = _forked(folder, sys.argv[1], code, Killer(Transition(transition), int(occurrence)))
        ended = _forked(folder, sys.argv[1], code, ignore)
        print(killed, ended, flush=True)


if __name__ == "__main__":
    main()
