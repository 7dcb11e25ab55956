from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.devices import Crash, Recorder
from tinymlops.edge.spool import Kind, Spool
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition, ignore
from tinymlops.errors import FormatError, StorageError

QUOTAS = {Kind.OBSERVATION: 4000, Kind.RECEIPT: 2000}


def spool_in(folder: Path, observe: Observer = ignore) -> Spool:
    return Spool(Folder(folder, durable=False), QUOTAS, observe)


def test_records_of_both_kinds_come_in_order(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    numbers = [spool.append(Kind.RECEIPT if i % 3 == 0 else Kind.OBSERVATION, "k", bytes([i])) for i in range(9)]
    assert numbers == list(range(1, 10))
    assert [record.sequence for record in spool.waiting(100)] == numbers
    assert len(spool.waiting(4)) == 4
    assert len(spool.waiting(100, most_bytes=3)) == 3


def test_what_is_acknowledged_is_gone_and_its_numbers_are_not_used_again(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for _ in range(5):
        spool.append(Kind.OBSERVATION, "k", b"x")
    spool.acknowledge(3)
    assert [record.sequence for record in spool.waiting(9)] == [4, 5]
    spool.acknowledge(2)
    spool.acknowledge(10**9)
    assert spool.waiting(9) == ()
    assert spool.state.through == 5, "no number above what was sent is believed"
    assert spool_in(tmp_path).append(Kind.OBSERVATION, "k", b"x") == 6


def test_oldest_observations_go_first_and_are_counted(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.append(Kind.RECEIPT, "receipt", b"kept")
    for _ in range(40):
        spool.append(Kind.OBSERVATION, "k", bytes(300))
    waiting = spool.waiting(100)
    assert waiting[0].kind == "receipt"
    assert spool.state.dropped == 41 - len(waiting)
    assert waiting[-1].sequence == 41
    assert spool_in(tmp_path).state.dropped == spool.state.dropped


def test_a_receipt_is_refused_rather_than_dropped(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    kept = [spool.append(Kind.RECEIPT, "receipt", bytes(100)) for _ in range(14)]
    with pytest.raises(StorageError, match="no room for more receipts"):
        spool.append(Kind.RECEIPT, "receipt", bytes(1000))
    assert [record.sequence for record in spool.waiting(100)] == kept
    with pytest.raises(FormatError):
        spool.append(Kind.OBSERVATION, "k", bytes(10**6))


def test_a_crash_between_counting_and_dropping_counts_once(tmp_path: Path) -> None:
    recorder = Recorder(Transition.OBSERVATIONS_DROPPED)
    spool = spool_in(tmp_path, recorder)

    def fill() -> None:
        for _ in range(40):
            spool.append(Kind.OBSERVATION, "k", bytes(300))

    with pytest.raises(Crash):
        fill()
    again = spool_in(tmp_path)
    held, dropped = again.waiting(100), again.state.dropped
    assert held[0].sequence == dropped + 1


@settings(max_examples=40)
@given(cut=st.integers(0, 400), garbage=st.binary(max_size=30))
def test_a_torn_end_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int, garbage: bytes) -> None:
    """Whatever a crash leaves at the end of a segment, all whole records before it are kept, and it can go on."""
    folder = tmp_path_factory.mktemp("spool")
    spool = spool_in(folder)
    for i in range(8):
        spool.append(Kind.RECEIPT, "r", bytes([i]) * 20)
    for path in sorted((folder / "spool/receipts").iterdir())[-1:]:
        content = path.read_bytes()
        path.write_bytes(content[: max(0, len(content) - cut)] + garbage)
    again = spool_in(folder)
    held = [record.sequence for record in again.waiting(99)]
    assert held == list(range(1, len(held) + 1))
    number = again.append(Kind.RECEIPT, "r", b"more")
    assert [record.sequence for record in again.waiting(99)] == [*held, number]


def test_what_is_taken_back_is_gone_from_the_disk_and_its_numbers_are_not_given_out_again(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for place in range(6):
        spool.append(Kind.OBSERVATION, "window" if place % 2 else "sample", bytes([place]) * 100)
    spool.append(Kind.RECEIPT, "window", b"r")
    spool.append(Kind.OBSERVATION, "window", b"last")

    assert spool.purge(lambda record: record.kind == "window") == 4
    assert spool.purge(lambda record: record.kind == "window") == 0

    again = spool_in(tmp_path)
    assert [(one.sequence, one.kind) for one in again.waiting(9)] == [
        (1, "sample"), (3, "sample"), (5, "sample"), (7, "window"),
    ]  # fmt: skip
    assert not any(b"\x01" * 100 in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert again.append(Kind.OBSERVATION, "window", b"new") == 9
    assert again.holds(b"new")
    assert not again.holds(b"last")


def test_an_empty_spool_after_a_purge_goes_on_counting(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.append(Kind.OBSERVATION, "window", b"x")
    spool.purge(lambda _: True)

    assert spool_in(tmp_path).append(Kind.OBSERVATION, "window", b"x") == 2


def test_what_may_not_leave_holds_up_what_is_behind_it(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for kind in (Kind.RECEIPT, Kind.RECEIPT, Kind.OBSERVATION, Kind.RECEIPT):
        spool.append(kind, "k", b"x")

    assert [one.sequence for one in spool.waiting(9, kinds=[Kind.RECEIPT])] == [1, 2]
    spool.purge(lambda _: True)
    assert [one.sequence for one in spool.waiting(9, kinds=[Kind.RECEIPT])] == [1, 2, 4]
