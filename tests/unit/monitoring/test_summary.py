from __future__ import annotations

from tinymlops.drift import FLEET, FeatureFinding, Level, MonitorReport, Rules, SensorFinding, Verdict
from tinymlops.monitoring.pictures import drift_png
from tinymlops.monitoring.publishing import Published
from tinymlops.monitoring.summary import alarm, leading
from tinymlops.monitoring.tables import hidden_words, markdown

DAY_S = 86_400.0
K = 20


def verdict(level: Level, *, release: int = 1, group: str = FLEET, effect: float = 0.0, devices: int = 50) -> Verdict:
    finding = FeatureFinding(feature="channel 0 mean", kind="input", p_value=0.5, adjusted=1.0, effect=effect)
    return Verdict(
        workload="tiny", release=release, group=group, began_s=0.0, ended_s=7 * DAY_S, level=level, why="so | so",
        devices=0 if level is Level.HIDDEN else devices, features=() if level is Level.HIDDEN else (finding,),
        sensors=(SensorFinding(kind="stuck", devices=21, what="21 devices sent the same value again and again"),),
    )  # fmt: skip


def report(*verdicts: Verdict, ended_s: float = 7 * DAY_S) -> MonitorReport:
    return MonitorReport(
        workload="tiny",
        began_s=ended_s - 7 * DAY_S,
        ended_s=ended_s,
        made_s=ended_s,
        table_version=3,
        verdicts=verdicts,
    )


def test_the_newest_release_that_can_be_judged_leads() -> None:
    first_stage = verdict(Level.UNKNOWN, release=3, devices=25)
    hidden = verdict(Level.HIDDEN, release=4)
    look = report(hidden, first_stage, verdict(Level.NONE, release=2), verdict(Level.DRIFT, release=1))

    ahead = leading(look, K)

    assert ahead is not None
    assert ahead.release == 2


def test_drift_of_a_replaced_release_calls_for_nothing() -> None:
    assert alarm(report(verdict(Level.NONE, release=2), verdict(Level.DRIFT, release=1)), K) is None


def test_drift_of_a_release_whose_successor_is_in_its_first_stage_is_an_alarm() -> None:
    found = alarm(report(verdict(Level.UNKNOWN, release=2, devices=25), verdict(Level.DRIFT, release=1)), K)

    assert found is not None
    assert found.release == 1


def test_the_fleet_alarms_before_groups_and_of_groups_the_one_that_moved_furthest() -> None:
    north = verdict(Level.DRIFT, group="region=north", effect=0.2)
    south = verdict(Level.DRIFT, group="region=south", effect=0.3)

    assert alarm(report(verdict(Level.DRIFT, effect=0.1), north, south), K) == verdict(Level.DRIFT, effect=0.1)
    assert alarm(report(verdict(Level.NONE), north, south), K) == south


def test_where_nothing_may_be_shown_nothing_leads_and_nothing_alarms() -> None:
    look = report(verdict(Level.HIDDEN))

    assert leading(look, K) is None
    assert alarm(look, K) is None
    assert "Fewer than 20 devices" in hidden_words(look, K)
    assert "Fewer than 20 devices" in markdown(look, K)
    assert "No device sent a window" in hidden_words(report(), K)


def test_an_old_report_with_a_smaller_k_is_not_shown_now() -> None:
    look = report(verdict(Level.DRIFT), verdict(Level.DRIFT, group="region=north", devices=5, effect=9.0))

    assert "region=north" not in markdown(look, K)
    assert drift_png([look], Rules(k=K)) == drift_png([report(verdict(Level.DRIFT))], Rules(k=K))


def test_a_report_is_a_table_for_people() -> None:
    page = markdown(report(verdict(Level.WATCH, effect=0.07)), K, b"png")

    assert "1970-01-01 00:00 to 1970-01-08 00:00 UTC, table version 3" in page
    assert "| 1 | fleet | **watch** | 50 | - | 0.070 | - |" in page
    assert "- **fleet**, release 1: so | so." in page
    assert "![Drift over time](data:image/png;base64,cG5n)" in page
    assert "| channel 0 mean | 0.070 | 1 |" in page
    assert "- 21 devices sent the same value again and again" in page


def test_drift_over_time_is_drawn_the_same_way_each_time() -> None:
    history = [
        report(
            verdict(Level.DRIFT if day > 3 else Level.NONE, effect=0.04 * day, release=1 + day // 5),
            ended_s=day * DAY_S,
        )
        for day in range(1, 9)
    ]

    picture = drift_png(history, Rules())

    assert picture.startswith(b"\x89PNG")
    assert picture == drift_png(history, Rules())
    assert picture != drift_png(history[:-1], Rules())
    assert drift_png([report()], Rules()).startswith(b"\x89PNG")


def test_a_look_is_linked_where_browsers_find_mlflow() -> None:
    inside = Published(experiment_id="3", run_id="abc", place="looks/x/drift.html", tracking_uri="http://mlflow:5000")
    in_file = Published(experiment_id="3", run_id="abc", place="looks/x/drift.html", tracking_uri="sqlite:///m.db")

    assert inside.url() == "http://mlflow:5000/#/experiments/3/runs/abc/artifacts/looks/x/drift.html"
    assert (
        inside.url("https://ml.example/") == "https://ml.example/#/experiments/3/runs/abc/artifacts/looks/x/drift.html"
    )
    assert in_file.url() is None
