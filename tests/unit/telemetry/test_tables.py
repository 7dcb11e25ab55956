"""Tables: appended to once, read as they are and as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymlops.errors import StorageError
from tinymlops.telemetry.rows import _nested
from tinymlops.telemetry.schemas import SCHEMAS, TableName
from tinymlops.telemetry.tables import Tables, day_of

DAY_S = 86_400.0


def rows(*sequences: int, device: str = "a", day: int = 1, **changes: Any) -> pl.DataFrame:
    at_s = day * DAY_S + 3600
    made = {"device_id": device, "date": day_of(at_s), "ended_s": at_s, "at_s": at_s, "workload": "w", "release": 1}
    return pl.DataFrame([made | changes | {"sequence": sequence} for sequence in sequences])


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(str(tmp_path))


def found(tables: Tables, **chosen: Any) -> list[int]:
    frame = tables.windows("w", **{"began_s": 0.0, "ended_s": 1000 * DAY_S, **chosen})
    return sorted(frame.select("sequence").collect()["sequence"].to_list())


def test_a_row_is_appended_once(tables: Tables) -> None:
    assert tables.append_windows(rows(1, 2, 2)) == 2
    assert tables.append_windows(rows(2, 3)) == 1
    assert tables.append_windows(rows(2, device="b")) == 1
    assert found(tables) == [1, 2, 2, 3]


def test_nothing_new_makes_no_version(tables: Tables) -> None:
    tables.append_windows(rows(1))
    before = tables.version("windows")
    assert tables.append_windows(rows(1)) == tables.append_windows(rows(1).clear()) == 0
    assert tables.version("windows") == before


def test_only_what_was_asked_for_is_read(tables: Tables) -> None:
    for day in range(1, 6):
        tables.append_windows(rows(day, day=day, release=day % 2))
    tables.append_windows(rows(99, workload="other"))
    assert found(tables, began_s=2 * DAY_S, ended_s=4 * DAY_S) == [2, 3]
    assert found(tables, began_s=-5.0, ended_s=float(2**60), release=1) == [1, 3, 5]
    assert found(tables, began_s=2 * DAY_S + 3600, ended_s=3 * DAY_S + 3600) == [3]


def test_samples_are_read_with_or_without_a_span(tables: Tables) -> None:
    tables.append_samples(rows(1, day=1))
    tables.append_samples(rows(2, day=2))
    assert len(tables.samples("w").collect()) == 2
    assert tables.samples("w", began_s=2 * DAY_S).collect()["sequence"].to_list() == [2]
    assert tables.samples("w", ended_s=2 * DAY_S).collect()["sequence"].to_list() == [1]


def test_a_version_stays_what_it_was(tables: Tables) -> None:
    tables.append_windows(rows(1))
    pinned = tables.version("windows")
    tables.append_windows(rows(2))
    assert found(tables, version=pinned) == [1]
    assert found(tables) == [1, 2]


def test_a_version_that_never_was_is_said(tables: Tables) -> None:
    tables.append_windows(rows(1))
    with pytest.raises(StorageError, match="version 77"):
        found(tables, version=77)


def test_pinned_versions_survive_compaction_and_vacuum(tables: Tables) -> None:
    for sequence in range(6):
        tables.append_windows(rows(sequence))
    pinned = tables.version("windows") - 2
    tables.compact()
    assert tables.vacuum(retention_days=0, keep_versions={"windows": [pinned, 10_000]}) > 0
    assert found(tables, version=pinned) == [0, 1, 2, 3]
    assert found(tables) == [0, 1, 2, 3, 4, 5]
    assert tables.vacuum(retention_days=0) > 0  # nobody holds it any more
    with pytest.raises(FileNotFoundError):
        found(tables, version=pinned)
    assert found(tables) == [0, 1, 2, 3, 4, 5]
    assert tables.append_windows(rows(5, 6)) == 1


def test_a_table_from_before_a_column_was_added_reads_with_nulls(tables: Tables, tmp_path: Path) -> None:
    short = pa.schema([field for field in SCHEMAS[TableName.WINDOWS] if field.name not in {"labelled", "stuck"}])
    place = tmp_path / "tables" / "windows"
    DeltaTable.create(str(place), schema=short, partition_by=["date"])
    write_deltalake(str(place), rows(1).to_arrow(), mode="append", schema_mode="merge")
    assert tables.windows("w", began_s=0, ended_s=9 * DAY_S).collect()["labelled"].to_list() == [None]
    tables.append_windows(rows(2, labelled=4))
    frame = tables.windows("w", began_s=0, ended_s=9 * DAY_S).sort("sequence").collect()
    assert frame["labelled"].to_list() == [None, 4]
    assert frame.columns == SCHEMAS[TableName.WINDOWS].names


def test_columns_that_nobody_knows_are_left_out(tables: Tables) -> None:
    tables.append_windows(rows(1, colour="blue"))
    assert "colour" not in tables.scan("windows").collect_schema().names()


def test_a_folder_that_is_no_table_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file")
    with pytest.raises(StorageError, match="can't be used"):
        Tables(str(tmp_path)).append_windows(rows(1))


_counts = st.lists(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4).map(tuple), max_size=3).map(tuple))


@given(_counts)
@settings(max_examples=50)
def test_histograms_become_the_same_lists(histograms: list[tuple[tuple[int, ...], ...]]) -> None:
    assert _nested(histograms).to_pylist() == [[list(bins) for bins in each] for each in histograms]
