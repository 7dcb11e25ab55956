"""The data sets that come along: their shapes, their splits, and what is checked before they are read."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import SetupError, WorkloadError
from tinymlops.workloads import activity, packaged
from tinymlops.workloads.activity import rotate_sensor
from tinymlops.workloads.catalogue import load_workload
from tinymlops.workloads.fashion import Fashion, read_idx


def test_activity_is_split_by_person() -> None:
    split = load_workload("activity", 1).split
    assert set(split.test.groups) == {8, 9, 10}
    assert not set(split.test.groups) & (set(split.train.groups) | set(split.validation.groups))
    assert split.test.inputs.shape == (1484, 100, 1, 6)
    assert len(split.train) + len(split.validation) == 3193


def test_footfall_is_split_by_date_and_leaves_gaps_and_the_year_out() -> None:
    split = load_workload("footfall", 1).split
    days = [set(part.groups.tolist()) for part in (split.train, split.validation, split.test)]
    assert max(days[0]) < min(days[1]) <= max(days[1]) < min(days[2])
    assert split.train.inputs.shape[1:] == (24 + 7 + 21,)
    assert np.array_equal(split.train.inputs.sum(axis=1), np.full(len(split.train), 3.0))
    assert 0 < np.expm1(split.train.targets).mean() < 2000


@given(st.integers(0, 2**32 - 1))
def test_turning_a_sensor_keeps_shape_and_about_the_length_of_acceleration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(3, 100, 1, 6)).astype(np.float32)
    turned = rotate_sensor(inputs, rng)
    assert turned.shape == inputs.shape
    assert turned.dtype == np.float32
    before, after = (np.linalg.norm(each[:, :, 0, :3], axis=-1).mean(axis=1) for each in (inputs, turned))
    assert np.all(np.abs(after / before - 1) < 0.2)


def test_a_file_with_another_digest_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "_SHA256", "0" * 64)
    with pytest.raises(WorkloadError, match="so it is not read"):
        activity.Activity().split(1)


def test_a_missing_package_says_what_to_run() -> None:
    with pytest.raises(SetupError, match="no-such-package is not installed: run `make install`"):
        packaged.packaged_file("no-such-package", "x", "")


def test_fashion_without_its_folder_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    with pytest.raises(SetupError, match="install Debian's dataset-fashion-mnist"):
        Fashion().split(1)


def idx(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def test_an_idx_file_is_read_back() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(read_idx(idx(array)), array)


@given(st.binary(max_size=64))
def test_any_bytes_are_an_array_or_one_sentence(content: bytes) -> None:
    try:
        array = read_idx(content)
    except WorkloadError:
        return
    assert idx(array) == content


@given(st.integers(0, 31))
def test_a_truncated_idx_file_is_refused(length: int) -> None:
    with pytest.raises(WorkloadError):
        read_idx(idx(np.zeros((4, 5), np.uint8))[:length])
