from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.devices import Recorder, SteppingClock
from tinymlops.edge.counters import Counters, ReleaseCount
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition, ignore
from tinymlops.errors import FormatError, StorageError


def counters_in(folder: Path, clock: SteppingClock | None = None) -> Counters:
    return Counters(Folder(folder, durable=False), (clock or SteppingClock(0)).monotonic, ignore)


def test_a_clean_stop_keeps_exact_counts(tmp_path: Path) -> None:
    counters = counters_in(tmp_path)
    counters.begin("a@1")
    for _ in range(100):
        counters.query("a@1")
    counters.error("a@1")
    counters.save()
    assert counters_in(tmp_path).of("a@1") == ReleaseCount(100, 1)


@settings(max_examples=30)
@given(lives=st.lists(st.tuples(st.integers(0, 300), st.floats(0, 3)), min_size=1, max_size=5))
def test_no_count_goes_back_over_crashes(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[int, float]]
) -> None:
    """Each life ends without a word; the next one begins at or above, and not far above."""
    folder, clock, true = tmp_path_factory.mktemp("counters"), SteppingClock(0), 0
    least = health = 0
    for queries, pause in lives:
        counters = counters_in(folder, clock)
        counters.begin("a@1")
        assert least <= counters.of("a@1").queries
        for _ in range(queries):
            clock.pass_time(pause)
            counters.query("a@1")
        true += queries
        number = counters.next_health()
        assert number > health
        health, least = number, counters.of("a@1").queries
        assert true <= least


def test_batches_grow_under_load_and_shrink_again(tmp_path: Path) -> None:
    recorder, clock = Recorder(), SteppingClock(0)
    counters = Counters(Folder(tmp_path, durable=False), clock.monotonic, recorder)
    counters.begin("a@1")
    for _ in range(20_000):
        counters.query("a@1")
    quick = recorder.seen.count(Transition.COUNTERS_RESERVED)
    assert quick < 12
    for _ in range(1000):
        clock.pass_time(60)
        counters.query("a@1")
    assert recorder.seen.count(Transition.COUNTERS_RESERVED) - quick < 12


def test_a_full_disk_stops_no_query_and_no_report_leaves(tmp_path: Path) -> None:
    folder = Folder(tmp_path, quota_bytes=300, durable=False)
    counters = Counters(folder, SteppingClock(0).monotonic, ignore)
    counters.begin("a@1")
    folder.write("filler", bytes(300 - folder.used()))
    for _ in range(200):
        counters.query("a@1")
    counters.error("a@1")
    assert counters.of("a@1") == ReleaseCount(200, 1)
    with pytest.raises(StorageError):
        counters.next_health()


def test_counts_of_releases_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    counters = counters_in(tmp_path)
    for key in ("a@1", "a@2", "b@1"):
        counters.begin(key)
    assert counters.known("a@") == ["a@1", "a@2"]
    counters.begin("a@2", ["a@1"])
    assert counters_in(tmp_path).known("a@") == ["a@2"]
    assert counters.of("a@1") == ReleaseCount()


def test_damaged_counts_are_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "counters.json").write_bytes(b"{")
    with pytest.raises(FormatError):
        counters_in(tmp_path)
