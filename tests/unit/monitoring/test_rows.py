from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.drift import FLEET, FeatureFinding, Level, Verdict
from tinymlops.monitoring.rows import ROWS, joined, rows_of_histograms, rows_of_samples
from tinymlops.monitoring.samples import FieldRows

MEAN = FeatureFinding(
    feature="channel 0 mean", kind="input", p_value=0.0, adjusted=0.0, effect=0.2, edges=(0.0, 1.0, 3.0),
    counts=(-20.0, 520.0, 260.0, 240.0), expected=(250.0, 250.0, 250.0, 250.0),
)  # fmt: skip
CLASS = FeatureFinding(
    feature="class", kind="class", p_value=1.0, adjusted=1.0, effect=0.0, edges=(0.5, 1.5),
    counts=(500.0, 300.0, 200.0), expected=(500.0, 300.0, 200.0),
)  # fmt: skip
ERROR = FeatureFinding(
    feature="error", kind="error", p_value=1.0, adjusted=1.0, effect=0.0, edges=(0.5,), counts=(900.0, 100.0),
    expected=(900.0, 100.0),
)  # fmt: skip
CONFIDENCE = FeatureFinding(
    feature="confidence", kind="confidence", p_value=1.0, adjusted=1.0, effect=0.0, edges=(0.5, 0.9),
    counts=(100.0, 100.0, 800.0), expected=(100.0, 100.0, 800.0),
)  # fmt: skip
VERDICT = Verdict(
    workload="tiny", release=1, group=FLEET, began_s=0.0, ended_s=86_400.0, level=Level.DRIFT, why="it <moved>",
    devices=50, queries=1000, features=(MEAN, CLASS, ERROR, CONFIDENCE),
)  # fmt: skip
LABELS = ("walk", "run", "sit")


def test_rows_have_the_shares_of_the_histograms_without_their_noise() -> None:
    rows = rows_of_histograms(VERDICT, LABELS, seed=7)

    counts = np.histogram(rows.current["channel 0 mean"], bins=[-1.0, 0.0, 1.0, 3.0, 5.0])[0]
    shares = np.array([0.0, 520 - 20 / 3, 260 - 20 / 3, 240 - 20 / 3]) / 1000  # the nearest ones that add up to 1
    assert counts == pytest.approx(shares * ROWS, abs=1)
    assert rows.categories == ("class", "error")
    assert {name: int((rows.current["class"] == name).sum()) for name in LABELS} == {
        "walk": 1000, "run": 600, "sit": 400,
    }  # fmt: skip
    assert int((rows.reference["error"] == "wrong").sum()) == 200
    assert np.asarray(rows.current["confidence"], float).max() <= 1.0


def test_the_same_seed_gives_the_same_rows() -> None:
    first, again = (rows_of_histograms(VERDICT, LABELS, seed=7) for _ in range(2))

    for name, values in first.current.items():
        assert (values == again.current[name]).all()


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), min_size=1, max_size=60),
    st.integers(1, 6),
)
def test_bins_of_samples_are_joined_until_each_has_k_devices(values: list[tuple[int, int]], k: int) -> None:
    bins, devices = (np.array(column, np.int64) for column in zip(*values, strict=True))

    into = joined(bins, devices, 6, k)

    assert (np.diff(into) >= 0).all()
    assert (np.diff(into) <= 1).all()
    if len(set(devices.tolist())) >= k:
        for place in range(int(into[-1]) + 1):
            assert len(set(devices[into[bins] == place].tolist())) >= k


def test_samples_are_shown_in_joined_bins_and_never_as_they_were() -> None:
    count, k = 400, 5
    bins = np.array([0, 1, 1, 2] * 100, np.int64)
    bins[0] = 3  # one device saw something rare
    devices = np.arange(count, dtype=np.int64) % 40
    field = FieldRows(
        bins={("channel 0 mean", MEAN.edges): bins, ("class", CLASS.edges): bins % 2}, devices=devices, count=40
    )

    rows = rows_of_samples(VERDICT, LABELS, field, k, seed=7)

    values = np.asarray(rows.current["channel 0 mean"], float)
    assert set(rows.current) == {"channel 0 mean", "class"}
    assert set(rows.current["class"]) == {"walk", "run, sit"}
    assert values[0] >= 1.0  # its bin and the one below are one
    assert (np.histogram(values, bins=[-1.0, 0.0, 1.0, 5.0])[0] == [99, 200, 101]).all()
    assert "no single value is on this page" in rows.origin
