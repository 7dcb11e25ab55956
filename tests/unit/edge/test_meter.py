"""The meter: whatever happens to a device, what is billed is what its owner was told, and no clone goes unseen."""

from __future__ import annotations

import random
import shutil
import threading
from pathlib import Path

import pytest

from tests.support.metering import GATEWAY_KEY, KEYS, NOW_S, Book, Device, FragileFolder, PowerCut, a_voucher, play
from tinymlops.edge.meter import RESERVATION, Meter
from tinymlops.edge.metering import Metering, left_in
from tinymlops.edge.monotonic import FileCounter, MonotonicCounter
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import ignore
from tinymlops.errors import QuotaError, StorageError, UntrustedError
from tinymlops.wire.metering import Verdict, VoucherList

SCHEDULES = 300


def _luck(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - luck, not secrets


def test_billed_is_acknowledged_use_in_every_schedule(tmp_path: Path) -> None:
    """Loss, duplication, reordering, power cuts at every write, wrong clocks; `bench/metering.py` draws 10,000."""
    crashes = 0
    for seed in range(SCHEDULES):
        end = play(tmp_path / str(seed), seed)
        assert end.incidents == [], seed
        assert end.billed == end.acknowledged, seed
        assert end.answered <= end.billed <= end.answered + end.crashes * RESERVATION, seed
        crashes += end.crashes
    assert crashes > SCHEDULES


@pytest.mark.parametrize("seed", range(60))
def test_a_clone_is_seen_as_soon_as_both_sides_report(tmp_path: Path, seed: int) -> None:
    luck = _luck(seed)
    voucher, message = a_voucher(2000)
    first, book = Device(tmp_path / "first", voucher, message, luck), Book.of(voucher, message)
    _use(first, luck.randint(0, 300), book if luck.random() < 0.5 else None)
    first.meter.close() if luck.random() < 0.5 else None
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    second = Device(tmp_path / "second", voucher, message, luck)
    second.now_s = first.now_s
    same = luck.randint(1, 300)  # equal use in the same hour is the hardest to tell apart
    _use(first, same, book)
    _use(second, same if luck.random() < 0.7 else luck.randint(1, 300), book)
    assert book.incidents == [Verdict.FORK]
    assert first.answered + second.answered - book.billed <= voucher.quota


def _use(device: Device, queries: int, book: Book | None) -> None:
    for _ in range(queries):
        device.meter.charge()
        device.answered += 1
    report = device.report()
    if book is not None and report is not None:
        device.meter.acknowledge(book.settle(report))


def test_a_crash_costs_at_most_a_reservation_and_gives_nothing_away(tmp_path: Path) -> None:
    voucher, message = a_voucher()
    device = Device(tmp_path, voucher, message, _luck(1))
    for _ in range(30):
        device.meter.charge()
    with pytest.raises(PowerCut):
        device.folder.cut()
    assert device.start().served == RESERVATION
    device.meter.close()
    assert device.start().served == RESERVATION


def test_a_clean_stop_costs_nothing(tmp_path: Path) -> None:
    device = Device(tmp_path, *a_voucher(), _luck(1))
    for _ in range(30):
        device.meter.charge()
    device.meter.close()
    assert device.start().served == 30


def test_a_failed_query_is_given_back(tmp_path: Path) -> None:
    device = Device(tmp_path, *a_voucher(), _luck(1))
    device.meter.charge()
    device.meter.give_back()
    device.meter.give_back()
    assert device.meter.served == 0


def test_the_quota_holds_for_many_threads(tmp_path: Path) -> None:
    voucher, message = a_voucher(1000)
    meter = Device(tmp_path, voucher, message, _luck(1)).meter
    answered = [0] * 8

    def ask(number: int) -> None:
        while True:
            try:
                meter.charge()
            except QuotaError:
                return
            answered[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(answered) == 1000


def test_a_voucher_ends_after_its_grace(tmp_path: Path) -> None:
    voucher, message = a_voucher(days=1, grace_s=3600)
    now = [NOW_S]
    folder = Folder(tmp_path, durable=False)
    meter = Meter(folder, voucher, message, lambda: now[0], ignore, monotonic=lambda: now[0] - NOW_S)
    meter.charge()
    now[0] = voucher.expires_s + 3600
    meter.charge()
    now[0] += 1
    with pytest.raises(QuotaError, match="over"):
        meter.charge()  # of the reservation: paid for, and too late
    assert meter.served == 2
    again = Meter(folder, voucher, message, lambda: now[0], ignore)
    assert again.served == 2  # the rest of the reservation was given up and not lost


def test_a_voucher_ends_when_the_time_is_learnt(tmp_path: Path) -> None:
    now = [NOW_S]
    voucher, message = a_voucher(days=1)
    meter = Meter(Folder(tmp_path, durable=False), voucher, message, lambda: now[0], ignore, monotonic=lambda: 5.0)
    meter.charge()
    now[0] = voucher.expires_s + 1.0  # a signed time that leaps ahead of the device's clock
    meter.look_at_clock()
    with pytest.raises(QuotaError, match="over"):
        meter.charge()


def test_without_room_to_count_nothing_is_answered(tmp_path: Path) -> None:
    meter = Meter(Folder(tmp_path, quota_bytes=5, durable=False), *a_voucher(), lambda: NOW_S, ignore)
    with pytest.raises(StorageError):
        meter.charge()
    assert meter.served == 0


def test_ninety_days_offline_stay_small(tmp_path: Path) -> None:
    voucher, message = a_voucher(10**9)
    luck = _luck(1)
    device, book = Device(tmp_path, voucher, message, luck), Book.of(voucher, message)
    device.now_s = NOW_S
    for _ in range(90 * 96):
        for _ in range(luck.randint(1, 5)):
            device.meter.charge()
            device.answered += 1
        device.now_s += 900
    used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert used < 256 * 1024
    parts = 0
    while (report := device.report()) is not None:
        device.meter.acknowledge(book.settle(report))
        parts += 1
    assert (book.billed, book.incidents, parts) == (device.answered, [], 1)
    assert Folder(tmp_path).used() < 8 * 1024


def test_vouchers_are_used_up_in_their_order_and_survive_a_restart(tmp_path: Path) -> None:
    folder = Folder(tmp_path, durable=False)
    (one, first), (two, second) = a_voucher(3, epoch=1), a_voucher(2, epoch=2)
    metering = _metering(folder)
    with pytest.raises(QuotaError, match="no voucher"):
        metering.charge("tiny")
    metering.take(VoucherList(vouchers=(second, first)))
    metering.take(VoucherList(vouchers=(second, first)))
    assert [metering.charge("tiny").voucher.serial for _ in range(4)] == [one.serial] * 3 + [two.serial]
    metering.close()
    metering = _metering(folder)
    metering.charge("tiny")
    with pytest.raises(QuotaError, match="spent"):
        metering.charge("tiny")
    metering.close()
    assert [one.left for one in left_in(folder, NOW_S)] == [0, 0]


def test_another_devices_voucher_is_refused(tmp_path: Path) -> None:
    metering = _metering(Folder(tmp_path, durable=False))
    with pytest.raises(UntrustedError, match="another device"):
        metering.take(VoucherList(vouchers=(a_voucher(device="0" * 32)[1],)))


def test_a_damaged_voucher_is_fetched_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path, durable=False)
    voucher, message = a_voucher(3)
    _metering(folder).take(VoucherList(vouchers=(message,)))
    folder.write(f"meter/{voucher.serial}/voucher", message[:-1] + bytes([message[-1] ^ 1]))
    metering = _metering(folder)
    with pytest.raises(QuotaError):
        metering.charge("tiny")
    metering.take(VoucherList(vouchers=(message,)))
    metering.charge("tiny")


def test_a_folder_that_was_put_back_behind_a_counter_in_hardware_pays_for_nothing(tmp_path: Path) -> None:
    class Chip:
        kind = "chip"
        value = 40

        def read(self) -> int:
            return self.value

        def increment(self) -> int:
            self.value += 1
            return self.value

    chip, folder = Chip(), Folder(tmp_path / "now", durable=False)
    metering = _metering(folder, chip)
    metering.take(VoucherList(vouchers=(a_voucher(500)[1],)))
    meter = metering.charge("tiny")
    assert meter.report(KEYS.sign, metering.counter) is not None
    shutil.copytree(tmp_path / "now", tmp_path / "then")
    metering.charge("tiny")
    meter.report(KEYS.sign, metering.counter)
    meter.charge()
    with pytest.raises(UntrustedError, match="not its newest"):
        _metering(Folder(tmp_path / "then", durable=False), chip).charge("tiny")


def _metering(folder: Folder, counter: MonotonicCounter | None = None) -> Metering:
    return Metering(folder, KEYS, lambda: GATEWAY_KEY, lambda: NOW_S, counter or FileCounter(folder), ignore)


def test_the_fragile_folder_loses_what_was_not_synced(tmp_path: Path) -> None:
    folder = FragileFolder(tmp_path, _luck(3))
    folder.append("records", b"safe")
    folder.append("records", b"x" * 100, durable=False)
    with pytest.raises(PowerCut):
        folder.cut()
    content = folder.read("records") or b""
    assert content.startswith(b"safe")
    assert content != b"safe" + b"x" * 100
