"""What is remembered of retrainings."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tinymlops.errors import StorageError, UsageError
from tinymlops.retraining import Outcome, RetrainingRecord, Trigger
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.store import DirectoryStore

FIRST = RetrainingRecord(
    workload="activity", key="drift-3", trigger=Trigger.DRIFT, why="region=north drifts", began_s=1_000.5,
    ended_s=1_100.0, table_version=17, outcome=Outcome.PROMOTED, reason="it is better", release=4,
)  # fmt: skip


@pytest.fixture
def records(tmp_path: Path) -> RetrainingRecords:
    return RetrainingRecords(DirectoryStore(tmp_path))


def later(key: str, began_s: float) -> RetrainingRecord:
    return msgspec.structs.replace(FIRST, key=key, began_s=began_s)


def test_nothing_is_remembered_at_first(records: RetrainingRecords) -> None:
    assert records.newest("activity") is None
    assert records.find("activity", "drift-3") is None
    assert records.history("activity") == ()
    assert records.workloads() == ()


def test_records_come_back_oldest_first(records: RetrainingRecords) -> None:
    kept = [later(f"k-{number}", 10.0**number) for number in (9, 3, 5)]
    for one in kept:
        records.keep(one)
    assert records.history("activity") == (kept[1], kept[2], kept[0])
    assert records.history("activity", most=2) == (kept[2], kept[0])
    assert records.newest("activity") == kept[0]
    assert records.workloads() == ("activity",)


def test_what_was_kept_of_a_key_stays(records: RetrainingRecords) -> None:
    records.keep(FIRST)
    assert records.keep(later("drift-3", 5_000.0)) == FIRST
    assert records.history("activity") == (FIRST,)


def test_a_key_is_not_found_by_its_end(records: RetrainingRecords) -> None:
    records.keep(later("weekly-drift-3", 7.0))
    assert records.find("activity", "drift-3") is None
    assert records.find("activity", "weekly-drift-3") is not None


@pytest.mark.parametrize("key", ["", "a/b", "../x", "a b", "x" * 129, ".hidden"])
def test_a_key_that_could_climb_out_is_refused(records: RetrainingRecords, key: str) -> None:
    with pytest.raises(UsageError):
        records.keep(later(key, 1.0))


def test_a_record_under_another_name_is_not_believed(records: RetrainingRecords, tmp_path: Path) -> None:
    records.keep(FIRST)
    kept = next((tmp_path / "retraining" / "activity").iterdir())
    kept.rename(kept.with_name("000000001000-other.json"))
    with pytest.raises(StorageError):
        records.newest("activity")
