"""Samples out of the table: what can be learnt from, in one order, whatever files the table is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tinymlops.retraining import field as field_room
from tinymlops.retraining.field import FieldData, take_samples
from tinymlops.retraining.steps import lacking
from tinymlops.telemetry.tables import Tables
from tinymlops.workloads import MEAN_ABSOLUTE_ERROR, Samples, Split, Task, Workload
from tinymlops.workloads.snapshots import MARK, read_snapshot


class Three(Workload):
    name = "three"
    labels: tuple[str, ...] = ("a", "b", "c")

    def split(self, seed: int) -> Split:
        rows = Samples(np.zeros((3, 2), np.float32), np.arange(3), np.arange(3))
        return Split(rows, rows, rows)

    def network(self) -> Any:
        raise NotImplementedError


class Two(Three):
    name = "three"
    task = Task.REGRESSION
    metric = MEAN_ABSOLUTE_ERROR
    labels = ("x", "y")


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tables:
    monkeypatch.setenv("TINYMLOPS_STATE", str(tmp_path / "state"))
    return Tables(str(tmp_path / "telemetry"))


def put(tables: Tables, *rows: tuple[str, int, float, list[float], list[float] | None]) -> int:
    devices, sequences, moments, inputs, truths = (list(column) for column in zip(*rows, strict=True))
    count = len(rows)
    content = {
        "device_id": devices, "sequence": sequences, "date": ["2026-11-24"] * count, "received_s": moments,
        "workload": ["three"] * count, "release": [1] * count, "recipe": ["int8"] * count,
        "profile": ["p"] * count, "at_s": moments, "consent": [1] * count,
        "inputs": inputs, "output": [[1.0]] * count, "truth": truths,
    }  # fmt: skip
    tables.append_samples(pa.table(content))
    return tables.version("samples")


def taken(tables: Tables, version: int, workload: Workload | None = None) -> FieldData:
    return take_samples(tables, workload or Three(), "x.py:Three", version=version, values=2, since_s=15.0)


def test_only_labelled_samples_that_fit_are_taken(tables: Tables) -> None:
    nan = float("nan")
    version = put(
        tables,
        ("d1", 1, 10.0, [0.0, 1.0], [2.0]),
        ("d2", 1, 20.0, [2.0, 3.0], [0.0]),
        ("d1", 2, 30.0, [0.0, 1.0], None),
        ("d1", 3, 30.0, [0.0, 1.0], []),
        ("d1", 4, 30.0, [0.0], [1.0]),
        ("d1", 5, 30.0, [nan, 1.0], [1.0]),
        ("d1", 6, 30.0, [0.0, 1.0], [3.0]),
        ("d1", 7, 30.0, [0.0, 1.0], [0.5]),
        ("d1", 8, 30.0, [0.0, 1.0], [-1.0]),
        ("d1", 9, 30.0, [0.0, 1.0], [nan]),
        ("d1", 10, 30.0, [0.0, 1.0], [1.0, 1.0]),
    )
    data = taken(tables, version)
    assert (data.rows, data.fresh, data.devices, data.unlabelled, data.unusable) == (2, 1, 2, 2, 7)
    assert "2 have no truth" in lacking(data, 2)
    assert "7 do not fit" in lacking(data, 2)
    assert not lacking(data, 1)


def test_a_version_gives_the_same_file_after_more_came_and_files_were_joined(tables: Tables) -> None:
    put(tables, ("d2", 5, 20.0, [0.0, 1.0], [1.0]))
    version = put(tables, ("d1", 9, 20.0, [2.0, 1.0], [0.0]), ("d3", 1, 5.0, [3.0, 1.0], [2.0]))
    before = taken(tables, version)
    put(tables, ("d4", 1, 1.0, [9.0, 9.0], [1.0]))
    tables.compact()
    assert taken(tables, version) == before
    field = read_snapshot("three", before.reference.partition(MARK)[2])
    assert field.devices.tolist() == ["d3", "d1", "d2"]
    assert field.inputs.tolist() == [[3.0, 1.0], [2.0, 1.0], [0.0, 1.0]]
    assert field.targets.tolist() == [2, 0, 1]
    assert field.regions.tolist() == ["", "", ""]


def test_targets_of_a_regression_are_rows_of_numbers(tables: Tables) -> None:
    version = put(tables, ("d1", 1, 1.0, [0.0, 1.0], [0.5, -1.0]), ("d1", 2, 1.0, [0.0, 1.0], [0.5]))
    data = taken(tables, version, Two())
    assert (data.rows, data.unusable) == (1, 1)
    assert read_snapshot("three", data.reference.partition(MARK)[2]).targets.tolist() == [[0.5, -1.0]]


def test_no_device_teaches_more_than_its_share(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_room, "MOST_ROWS_OF_A_DEVICE", 3)
    loud = [("loud", number, float(number), [0.0, 1.0], [1.0]) for number in range(50)]
    version = put(tables, *loud, ("shy", 1, 0.0, [0.0, 1.0], [2.0]))
    field = read_snapshot("three", taken(tables, version).reference.partition(MARK)[2])
    assert field.devices.tolist() == ["shy", "loud", "loud", "loud"]
    assert field.at_s.tolist() == [0.0, 47.0, 48.0, 49.0]


def test_an_empty_table_is_no_data(tables: Tables) -> None:
    data = taken(tables, tables.version("samples"))
    assert (data.rows, data.reference) == (0, "x.py:Three")
    assert "0 labelled samples" in lacking(data, 1)
