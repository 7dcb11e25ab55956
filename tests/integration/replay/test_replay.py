"""Parts of the six years; `tinymlops replay footfall` replays them all, and docs/replay.md says what it found."""

from pathlib import Path

import polars as pl
import pytest

from tinymlops.drift import Level
from tinymlops.monitoring.records import MonitorRecords
from tinymlops.replay.loop import RULES, WORKLOAD, Plan, run_replay
from tinymlops.replay.picture import replay_png
from tinymlops.replay.story import Story, as_json
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.store import DirectoryStore
from tinymlops.telemetry.tables import Tables


def replayed(folder: Path, first: str, last: str) -> Story:
    return run_replay(first, last, str(folder), Plan(cool_down_days=56), lambda _done, _total, _text: None)


@pytest.fixture(scope="module")
def lockdown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Story, Path]:
    folder = tmp_path_factory.mktemp("lockdown")
    return replayed(folder, "2020-03-01", "2020-04-04"), folder


@pytest.fixture(scope="module")
def years_later(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The model of 2019 in the city of 2023, with a planted copy of a sensor that gets stuck in October."""
    folder = tmp_path_factory.mktemp("later")
    story = replayed(folder, "2023-08-01", "2023-10-31")
    assert RetrainingRecords(DirectoryStore(folder)).history(WORKLOAD) == story.retrainings
    return story


def test_the_lockdown_is_drift_within_a_week_and_stands_out(lockdown: tuple[Story, Path]) -> None:
    story, _ = lockdown
    before = [look.effect for look in story.looks if look.day < "2020-03-20"]

    assert [look for look in story.looks if look.level is Level.DRIFT and "2020-03-26" <= look.day <= "2020-04-01"]
    assert story.looks[-1].effect > 3 * max(before)
    assert story.error("2020-03-27", "2020-04-04")[0] > 3 * story.error("2020-03-01", "2020-03-15")[0]


def test_a_sensor_that_is_dead_since_spring_2019_is_left_out_and_not_drift(lockdown: tuple[Story, Path]) -> None:
    story, _ = lockdown

    assert story.looks[0].devices == 18  # of 19
    assert "stuck" in story.looks[0].sensors


def test_tables_and_records_are_those_of_any_telemetry_place(lockdown: tuple[Story, Path]) -> None:
    story, folder = lockdown
    windows = Tables(str(folder)).scan("windows").select("epsilon", "queries", "histograms").collect()
    noisy = windows.filter(pl.col("histograms").list.get(0).list.sum() != pl.col("queries"))

    newest = MonitorRecords(DirectoryStore(folder)).newest(WORKLOAD)
    assert newest is not None
    assert newest.verdicts[0].level is story.looks[-1].level
    assert windows["epsilon"].unique().to_list() == [1.0]
    assert len(noisy) > 0.8 * len(windows)
    assert len(windows) == 19 * len(story.days)


def test_a_model_of_another_time_is_replaced_by_one_that_errs_far_less(years_later: Story) -> None:
    stale, served = years_later.error("2023-10-01", "2023-10-31")

    assert len(years_later.promotions) == 1
    assert stale > 0.55
    assert served < 0.6 * stale


def test_a_stuck_copy_is_told_apart_and_is_not_drift(years_later: Story) -> None:
    october = [look for look in years_later.looks if look.day >= "2023-10-09"]

    assert all("stuck" in look.sensors for look in october)
    assert {look.devices for look in october} == {21}  # 22 with the copy
    assert not [look for look in october if look.level is Level.DRIFT]


def test_a_story_is_drawn_alike_every_time(years_later: Story) -> None:
    picture = replay_png(years_later, RULES)

    assert picture.startswith(b"\x89PNG")
    assert picture == replay_png(years_later, RULES)
    assert b'"promoted"' in as_json(years_later)
