from __future__ import annotations

from pathlib import Path

import pytest

from tinymlops.drift import FLEET, FeatureFinding, Level, MonitorReport, Verdict
from tinymlops.errors import FormatError
from tinymlops.monitoring.records import MonitorRecords
from tinymlops.store import DirectoryStore

DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def report(ended_s: float, *, workload: str = "activity", table_version: int = 3) -> MonitorReport:
    finding = FeatureFinding(feature="channel 0 mean", kind="input", p_value=0.5, adjusted=1.0, effect=0.0)
    verdict = Verdict(
        workload=workload,
        release=1,
        group=FLEET,
        began_s=ended_s - DAY_S,
        ended_s=ended_s,
        level=Level.NONE,
        why="nothing moved",
        devices=20,
        features=(finding,),
    )
    return MonitorReport(
        workload=workload,
        began_s=ended_s - DAY_S,
        ended_s=ended_s,
        made_s=ended_s + 60.0,
        table_version=table_version,
        verdicts=(verdict,),
    )


def test_before_the_first_look_there_is_nothing(store: DirectoryStore) -> None:
    records = MonitorRecords(store)

    assert records.newest("activity") is None
    assert records.history("activity") == ()
    assert records.workloads() == ()


def test_reports_come_back_as_they_were_oldest_first(store: DirectoryStore) -> None:
    records = MonitorRecords(store)
    kept = [report(1_800_000_000.0 + day * DAY_S) for day in range(4)]
    for one in (kept[2], kept[0], kept[3], kept[1]):
        records.keep(one)

    assert records.history("activity") == tuple(kept)
    assert records.history("activity", most=2) == tuple(kept[2:])
    assert records.newest("activity") == kept[3]


def test_a_second_look_at_the_same_span_takes_the_place_of_the_first(store: DirectoryStore) -> None:
    records = MonitorRecords(store)
    records.keep(report(1_800_000_000.0))
    again = report(1_800_000_000.0, table_version=4)
    records.keep(again)

    assert records.history("activity") == (again,)


def test_workloads_are_kept_apart(store: DirectoryStore) -> None:
    records = MonitorRecords(store)
    records.keep(report(1_800_000_000.0))
    records.keep(report(1_900_000_000.0, workload="activity-2"))

    assert records.newest("activity") == report(1_800_000_000.0)
    assert records.workloads() == ("activity", "activity-2")


def test_other_things_in_the_store_are_no_reports(store: DirectoryStore) -> None:
    records = MonitorRecords(store)
    records.keep(report(1_800_000_000.0))
    store.put("monitoring/activity/001800000000.html", b"<html></html>")
    store.put("retraining/footfall/001800000000-k.json", b"{}")

    assert len(records.history("activity")) == 1
    assert records.workloads() == ("activity",)


def test_a_damaged_report_is_named(store: DirectoryStore) -> None:
    store.put("monitoring/activity/001800000000.json", b'{"v": 1')

    with pytest.raises(FormatError, match=r"monitoring/activity/001800000000\.json"):
        MonitorRecords(store).newest("activity")
