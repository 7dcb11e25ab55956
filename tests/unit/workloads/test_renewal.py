"""Samples from the field as training data: what is judged is not trained on, the same samples are the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinymlops.errors import WorkloadError
from tinymlops.workloads import ACCURACY, MEAN_ABSOLUTE_ERROR, Metric, Samples, Split
from tinymlops.workloads.catalogue import find_workload, load_workload
from tinymlops.workloads.footfall import Footfall
from tinymlops.workloads.renewal import HELD_OUT, OWN, RECENT, FieldSamples, renew_by_device
from tinymlops.workloads.snapshots import MARK, keep_snapshot, read_snapshot

SHAPES = f"{Path(__file__).parents[2] / 'integration' / 'workloads' / 'shapes.py'}:Table"


def field(devices: int, rows: int, seed: int = 0, values: int = 10) -> FieldSamples:
    """Rows that can be told apart by their first value, of three classes."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, values)).astype(np.float32)
    inputs[:, 0] = 1000 + np.arange(rows)
    return FieldSamples(
        inputs=inputs,
        targets=rng.integers(0, 3, rows),
        devices=np.array([f"device-{one:03}" for one in rng.integers(0, devices, rows)]),
        at_s=1.7e9 + np.sort(rng.uniform(0, 1e6, rows)),
        profiles=np.full(rows, "x86-gateway"),
        regions=np.full(rows, ""),
    )


def own(rows: int = 30) -> Split:
    def part(first: int) -> Samples:
        numbers = first + np.arange(rows)
        return Samples(np.zeros((rows, 10), np.float32), numbers % 3, numbers)

    return Split(part(0), part(100), part(200))


def told_apart(samples: Samples) -> set[float]:
    return {float(one) for one in samples.inputs[:, 0] if one >= 1000}


@given(st.integers(1, 60), st.integers(1, 300), st.integers(0, 5))
def test_what_is_judged_is_never_trained_or_validated_on(devices: int, rows: int, seed: int) -> None:
    found = renew_by_device(own(), field(devices, rows), seed)
    learnt = told_apart(found.split.train) | told_apart(found.split.validation)
    judged = [told_apart(found.judged[name].samples) for name in (HELD_OUT, RECENT) if name in found.judged]
    assert not learnt & set().union(*judged)
    assert len(learnt) + sum(map(len, judged)) == rows
    if HELD_OUT in found.judged:
        assert not set(found.judged[HELD_OUT].devices) & set(found.split.train.groups)
        assert told_apart(found.split.test) == judged[0]


@given(st.integers(16, 60), st.integers(0, 3))
def test_recent_rows_are_later_than_all_that_was_learnt_from(devices: int, seed: int) -> None:
    rows = field(devices, 400)
    found = renew_by_device(own(), rows, seed)
    later = told_apart(found.judged[RECENT].samples)
    assert min(later) > max(told_apart(found.split.train))
    assert len(later) == pytest.approx(80, abs=1)
    assert len(set(found.judged[HELD_OUT].devices)) >= 8


def test_a_device_that_is_held_out_stays_so_when_others_join() -> None:
    def held(devices: int) -> set[str]:
        rows = field(1, devices)
        named = FieldSamples(**{**vars(rows), "devices": np.array([f"{one:03}" for one in range(devices)])})
        found = renew_by_device(own(), named, 7).judged[HELD_OUT]
        return set(found.devices.tolist())

    few, many = held(100), held(200)
    assert len(few & many) >= 0.6 * len(few)


def test_own_rows_still_teach_and_are_still_tested_on() -> None:
    found = renew_by_device(own(), field(20, 200), 7)
    assert len(found.split.train) - len(told_apart(found.split.train)) == 30
    assert len(found.judged[OWN].samples) == 30
    assert set(found.judged[OWN].devices) == {""}


def counts_of(days: int, sensors: int = 3) -> FieldSamples:
    hours = np.repeat(np.arange(days * 24), sensors)
    rows = len(hours)
    inputs = np.zeros((rows, 52), np.float32)
    inputs[:, 0] = np.arange(rows)
    return FieldSamples(
        inputs=inputs,
        targets=np.ones((rows, 1), np.float32),
        devices=np.tile([f"s{one}" for one in range(sensors)], days * 24),
        at_s=np.asarray(19_675 * 86_400 + hours * 3600.0, np.float64),
        profiles=np.full(rows, "x86-gateway"),
        regions=np.full(rows, ""),
    )


def test_footfall_is_renewed_by_day_from_the_last_weeks() -> None:
    found = Footfall().renewed(counts_of(100), 7)
    parts = [set(part.groups.tolist()) for part in (found.split.train, found.split.validation, found.split.test)]
    parts.append(set(found.judged[RECENT].samples.groups.tolist()))
    assert [len(part) for part in parts] == [28, 9, 9, 10]
    assert len(set().union(*parts)) == 56
    assert min(parts[3]) > max(parts[0] | parts[1] | parts[2])
    weekdays = [np.unique(np.array(sorted(part), "datetime64[D]").astype(int) % 7) for part in parts]
    assert all(len(found) == 7 for found in weekdays)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYMLOPS_STATE", str(tmp_path))
    return tmp_path


def test_a_renewed_workload_is_built_like_any_other(state: Path) -> None:
    reference = SHAPES + keep_snapshot("table-of-three", 17, field(20, 200))
    loaded, plain = load_workload(reference, 7), load_workload(SHAPES, 7)
    assert loaded.workload.name == "table-of-three"
    assert loaded.workload.fit == plain.workload.fit
    assert told_apart(loaded.split.train)
    assert loaded.digest != plain.digest
    assert loaded.digest == load_workload(reference, 7).digest


def test_the_same_samples_are_the_same_bytes_and_others_are_not(state: Path) -> None:
    marks = {keep_snapshot("x", 17, field(20, 200, seed)) for seed in (0, 0, 1)}
    assert len(marks) == 2
    assert len(list(state.rglob("*.npz"))) == 2
    back = read_snapshot("x", keep_snapshot("x", 17, field(20, 200)).removeprefix(MARK))
    for name, column in vars(field(20, 200)).items():
        assert np.array_equal(getattr(back, name), column)


def test_samples_that_are_gone_or_changed_say_how_to_get_them_back(state: Path) -> None:
    mark = keep_snapshot("table-of-three", 17, field(20, 200))
    file = next(state.rglob("*.npz"))
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WorkloadError, match="were changed"):
        find_workload(SHAPES + mark)
    file.unlink()
    with pytest.raises(WorkloadError, match="retrain table-of-three --table-version 17"):
        find_workload(SHAPES + mark)
    with pytest.raises(WorkloadError, match="names no samples"):
        find_workload(f"{SHAPES}{MARK}../../secret")


@pytest.mark.parametrize("metric", [ACCURACY, MEAN_ABSOLUTE_ERROR])
def test_a_metric_of_rows_has_the_metric_as_its_mean(metric: Metric) -> None:
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(50, 3)).astype(np.float32)
    targets: NDArray[Any] = rng.integers(0, 3, 50) if metric.higher_is_better else rng.normal(size=(50, 3))
    assert metric.of_rows is not None
    assert metric.of_rows(targets, outputs).mean() == pytest.approx(metric.compute(targets, outputs))
