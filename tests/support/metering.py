"""A metered device with the worst of luck, and an owner's book in memory."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tinymlops.billing.settlement import decide, heads_of
from tinymlops.edge.meter import HOME, Meter
from tinymlops.edge.monotonic import FileCounter, Steady
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition, ignore
from tinymlops.wire import cose
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.metering import (
    VOUCHER,
    Mark,
    UsageAcknowledgement,
    UsageReport,
    Verdict,
    Voucher,
    checked_report,
    first_mark,
)

OF_METERS = {
    Transition.VOUCHER_SAVED, Transition.VOUCHER_DAMAGED, Transition.VOUCHER_STOPPED, Transition.QUOTA_RESERVED,
    Transition.RECORD_CLOSED, Transition.CHECKPOINT_MADE, Transition.USAGE_SENT, Transition.USAGE_ACKNOWLEDGED,
    Transition.RECORDS_PRUNED,
}  # fmt: skip
"""Of metered models alone: `test_metered_kill.py` kills there, and `test_meter.py` cuts the power at each write."""

NOW_S = 1_800_000_000.0
GATEWAY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
GATEWAY_KEY = GATEWAY.public_key().public_bytes_raw()
KEYS = DeviceKeys.generate()


def a_voucher(quota: int = 10_000, *, days: int = 365, epoch: int = 1, **changes: object) -> tuple[Voucher, bytes]:
    """A voucher of `KEYS`, and how it is signed."""
    facts: dict[str, object] = {
        "serial": os.urandom(16).hex(), "device": KEYS.device_id, "workload": "tiny", "quota": quota,
        "issued_s": int(NOW_S), "expires_s": int(NOW_S) + days * 86_400, "epoch": epoch,
    }  # fmt: skip
    voucher = Voucher(**(facts | changes))  # type: ignore[arg-type]
    return voucher, cose.signed(voucher, VOUCHER, GATEWAY.sign)


class PowerCut(BaseException):
    """The power went."""


class FragileFolder(Folder):
    """A folder whose power goes at the n-th write, before, in or after it; what was not synced may be lost.

    Args:
        root: Of the folder.
        luck: Decides how.
    """

    def __init__(self, root: Path, luck: random.Random) -> None:
        super().__init__(root, durable=False)
        self.luck = luck
        self.writes_left = -1
        self._safe: dict[str, int] = {}

    def write(self, name: str, content: bytes | bytearray) -> None:
        self._tick()
        super().write(name, content)
        self._safe[name] = len(content)
        self._tick()

    def append(self, name: str, content: bytes, *, durable: bool = True) -> None:
        before = self.size(name) or 0
        self._safe.setdefault(name, before)
        if self._goes_now():
            super().append(name, content[: self.luck.randrange(len(content) + 1)])
            self.cut()
        super().append(name, content)
        if durable:
            self._safe[name] = before + len(content)
        self._tick()

    def sync(self, name: str) -> None:
        self._tick()
        self._safe[name] = self.size(name) or 0

    def truncate(self, name: str, size: int) -> None:
        super().truncate(name, size)
        self._safe[name] = min(self._safe.get(name, size), size)

    def cut(self) -> None:
        """Lose what no sync has made safe, or a part of it, or let zeros stand in its place."""
        for name, safe in self._safe.items():
            size = self.size(name) or 0
            if size > safe:
                kept = self.luck.randint(safe, size)
                os.truncate(self.path(name), kept)
                if self.luck.random() < 0.3:
                    with self.path(name).open("ab") as file:
                        file.write(bytes(size - kept))
        raise PowerCut

    def _goes_now(self) -> bool:
        self.writes_left -= 1
        return self.writes_left == 0

    def _tick(self) -> None:
        if self._goes_now():
            self.cut()


@dataclass
class Book:
    """The owner's side, in memory: what the database keeps, and the same decisions."""

    voucher: Voucher
    mark: Mark
    heads: dict[int, bytes] = field(default_factory=dict)
    billed: int = 0
    incidents: list[Verdict] = field(default_factory=list)

    @classmethod
    def of(cls, voucher: Voucher, message: bytes) -> Book:
        first = first_mark(message)
        return cls(voucher, first, {0: first.head})

    def settle(self, report: UsageReport, signing_key: bytes = KEYS.public.signing) -> UsageAcknowledgement:
        checkpoint = checked_report(report, signing_key)
        decision = decide(self.mark, self.voucher.quota, checkpoint, report.records, self.heads.get)
        self.heads.update(heads_of(self.mark, decision.records))
        self.mark, self.billed = decision.mark, self.billed + decision.units
        if decision.is_incident:
            self.incidents.append(decision.verdict)
        return UsageAcknowledgement(
            serial=checkpoint.serial, mark=decision.mark, verdict=decision.verdict, at_s=int(NOW_S)
        )


class Device:
    """A meter on a fragile folder, its clock anywhere within a year.

    Args:
        root: Of the folder.
        voucher: That it has.
        message: As it was signed.
        luck: For everything.
    """

    def __init__(self, root: Path, voucher: Voucher, message: bytes, luck: random.Random) -> None:
        self.root, self.voucher, self.message, self.luck = root, voucher, message, luck
        self.now_s = NOW_S + luck.uniform(-180, 180) * 86_400
        self.answered = 0
        self.crashes = 0
        self.folder = FragileFolder(root, luck)
        self.folder.write(f"{HOME}/{voucher.serial}/voucher", message)
        self.meter = self.start()

    def start(self) -> Meter:
        """Open the meter; the power may go again while it does."""
        while True:
            try:
                self.meter = Meter(self.folder, self.voucher, self.message, lambda: self.now_s, ignore)
            except PowerCut:
                self.crashed()
            else:
                return self.meter

    def crashed(self) -> None:
        self.crashes += 1
        self.folder = FragileFolder(self.root, self.luck)
        self.folder.writes_left = self.luck.randint(1, 4) if self.luck.random() < 0.4 else -1

    def report(self) -> UsageReport | None:
        return self.meter.report(KEYS.sign, Steady(self.folder, FileCounter(self.folder)))


@dataclass
class Outcome:
    """How a schedule ended."""

    answered: int
    billed: int
    acknowledged: int
    crashes: int
    incidents: list[Verdict]


def play(root: Path, seed: int, *, rounds: int = 14) -> Outcome:
    """One honest device through one random schedule; at the end everything is delivered."""
    luck = random.Random(seed)  # noqa: S311 - luck, not secrets
    voucher, message = a_voucher(100_000)
    device, book = Device(root, voucher, message, luck), Book.of(voucher, message)
    on_the_way: list[UsageReport] = []
    answers: list[UsageAcknowledgement] = []
    for _ in range(rounds):
        device.folder.writes_left = luck.randint(1, 12) if luck.random() < 0.5 else -1
        try:
            _live(device, book, luck, on_the_way, answers)
        except PowerCut:
            device.crashed()
            device.start()
        device.folder.writes_left = -1
    luck.shuffle(on_the_way)
    for report in on_the_way:
        book.settle(report)
    while (last := device.report()) is not None:
        device.meter.acknowledge(book.settle(last))
    return Outcome(device.answered, book.billed, device.meter.base.used, device.crashes, book.incidents)


def _live(
    device: Device, book: Book, luck: random.Random, on_the_way: list[UsageReport], answers: list[UsageAcknowledgement]
) -> None:
    for _ in range(luck.choice((0, 1, 7, 60, 250))):
        device.meter.charge()
        device.answered += 1
    device.now_s += luck.choice((1.0, 60.0, 1800.0, -3600.0, 86_400.0))
    report = device.report()
    if report is not None:
        on_the_way.append(report)
    answers += [book.settle(one) for one in luck.sample(on_the_way, min(len(on_the_way), luck.randint(0, 4)))]
    if answers and luck.random() < 0.7:
        device.meter.acknowledge(luck.choice(answers))
    if luck.random() < 0.1:
        device.meter.close()
        device.start()
