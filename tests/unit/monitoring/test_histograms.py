from __future__ import annotations

from itertools import chain

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.monitoring.histograms import counts_of

KINDS = (pa.list_(pa.list_(pa.int32())), pa.large_list(pa.large_list(pa.int32())))
NUMBERS = st.integers(-(2**31), 2**31 - 1)
FITTING = st.tuples(st.lists(NUMBERS, min_size=2, max_size=2), st.lists(NUMBERS, min_size=3, max_size=3)).map(list)
WINDOWS = st.lists(st.none() | st.lists(st.lists(NUMBERS, max_size=4), max_size=4) | FITTING, max_size=12)
WIDTHS = (2, 3)


@given(WINDOWS, st.sampled_from(KINDS), st.integers(0, 3))
def test_windows_that_fit_the_layout_become_rows_and_others_are_left_out(
    windows: list[list[list[int]] | None], kind: pa.DataType, skipped: int
) -> None:
    column = pa.array(windows, kind).slice(skipped)  # a slice shares its parent's buffers
    expected = [one is not None and tuple(map(len, one)) == WIDTHS for one in windows[skipped:]]

    counts, fits = counts_of(column, WIDTHS)

    assert fits.tolist() == expected
    rows = [[*chain(*one)] for one, good in zip(windows[skipped:], expected, strict=True) if good and one is not None]
    assert counts.tolist() == rows
    assert counts.dtype == np.int32


def test_no_windows_are_no_rows() -> None:
    counts, fits = counts_of(pa.array([], KINDS[0]), WIDTHS)

    assert counts.shape == (0, 5)
    assert fits.shape == (0,)
