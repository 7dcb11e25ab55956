"""The C arithmetic, with and without a long multiplication, against Python's integers; those against real numbers."""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.codegen.host import SANITIZERS, WARNINGS
from tinymlops.codegen import fixed_point as fp

INT32 = st.integers(-(2**31), 2**31 - 1)
MAIN = """
#include <inttypes.h>
#include <stdio.h>
#include "tinymlops_arithmetic.h"
int main(void)
{
    int32_t value, multiplier, shift;
    while (scanf("%" SCNd32 " %" SCNd32 " %" SCNd32, &value, &multiplier, &shift) == 3) {
        (void)printf("%" PRId32 "\\n", tinymlops_requantize(value, multiplier, shift));
    }
    return 0;
}
"""


@pytest.mark.parametrize("definition", ["-DLONG_MULTIPLY", "-DTINYMLOPS_SHORT_MULTIPLY"])
def test_requantize_in_c_is_requantize_in_python(tmp_path: Path, definition: str) -> None:
    (tmp_path / "main.c").write_text(MAIN)
    include = f"-I{files('tinymlops.codegen') / 'kernels'}"
    program = tmp_path / "program"
    subprocess.run(
        ["gcc", *WARNINGS, *SANITIZERS, definition, include, str(tmp_path / "main.c"), "-o", str(program)], check=True
    )
    rng = np.random.default_rng(1)
    edges = np.array([-(2**31), -(2**31) + 1, -(2**30), -1, 0, 1, 2**16 - 1, 2**16, 2**30, 2**31 - 1])
    values = np.concatenate([np.repeat(edges, 400), rng.integers(-(2**31), 2**31, 20_000)])
    multipliers = np.concatenate(
        [np.resize([0, 2**30, 2**30 + 1, 2**31 - 1], 4000), rng.integers(2**30, 2**31, 20_000)]
    )
    shifts = rng.integers(-31, 31, len(values))
    given_rows = "\n".join(f"{v} {m} {s}" for v, m, s in zip(values, multipliers, shifts, strict=True))
    done = subprocess.run([program], input=given_rows, capture_output=True, text=True, check=True, timeout=60)
    expected = [fp.requantize(int(v), int(m), int(s)) for v, m, s in zip(values, multipliers, shifts, strict=True)]
    assert [int(line) for line in done.stdout.split()] == expected


@given(INT32, st.integers(0, 31))
def test_division_by_a_power_of_two_rounds_halves_away_from_zero(value: int, exponent: int) -> None:
    assert fp.divide_by_power_of_two(value, exponent) == fp.rounded(value / 2**exponent)


@given(INT32, INT32)
def test_high_multiplication_rounds_to_nearest_and_saturates(a: int, b: int) -> None:
    exact = a * b / 2**31
    assert abs(fp.doubling_high_multiply(a, b) - min(exact, 2**31 - 1)) <= 0.5 + 2**-20


@given(st.floats(0, 16))
def test_exponentials_are_near_the_real_ones(x: float) -> None:
    raw = round(x * 2**26)
    assert fp.exp_of_negative(-raw, 5) / 2**31 == pytest.approx(np.exp(-raw / 2**26), abs=3e-7)


@given(st.floats(-15, 15))
def test_the_logistic_function_is_near_the_real_one(x: float) -> None:
    raw = round(x * 2**27)
    assert fp.logistic(raw, 4) / 2**31 == pytest.approx(1 / (1 + np.exp(-raw / 2**27)), abs=3e-7)
