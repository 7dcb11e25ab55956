"""What a device can't have seen is doubted; what noise can make of counts is not."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tests.support.observations import HOUR_S, NOW_S, sample, window
from tinymlops.telemetry.plausibility import LONGEST_S, OLDEST_S, doubt_sample, doubt_window

DAY_S = 24 * HOUR_S


def test_an_ordinary_window_and_sample_are_believed() -> None:
    assert doubt_window(window(), received_s=NOW_S) == doubt_sample(sample(), received_s=NOW_S) == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"began_s": NOW_S, "ended_s": NOW_S + DAY_S}, "clock ahead"),
        ({"began_s": 0.0, "ended_s": 3600.0}, "too old"),
        ({"began_s": NOW_S - OLDEST_S - 7200, "ended_s": NOW_S - OLDEST_S - 3600}, "too old"),
        ({"began_s": NOW_S - LONGEST_S - 1}, "too long"),
        ({"queries": 2**52, "latencies": ()}, "too many queries"),
        ({"errors": 2**52}, "too many queries"),
        ({"labelled": 2**52}, "too many queries"),
        ({"latencies": (101,)}, "counts contradict each other"),
        ({"epsilon": 0.0}, "no noise"),
        ({"epsilon": 1e-300}, "more noise than can be of use"),
        ({"histograms": ((40, 1060),)}, "histogram contradicts the number of queries"),
        ({"histograms": ((-5000, 60),)}, "histogram contradicts the number of queries"),
        ({"histograms": ((2**40, -(2**40)),)}, "histogram contradicts the number of queries"),
        ({"histograms": ((2**40, 0),), "epsilon": 0.001}, "histogram contradicts the number of queries"),
    ],
)
def test_what_can_not_be_is_doubted(changes: dict[str, Any], why: str) -> None:
    assert doubt_window(window(**changes), received_s=NOW_S) == why


def test_truths_of_earlier_queries_are_believed() -> None:
    told = window(queries=2, latencies=(), labelled=300, histograms=((1, 1), (290, 10)))
    assert doubt_window(told, received_s=NOW_S) == ""


def test_a_window_without_histograms_needs_no_noise() -> None:
    assert doubt_window(window(histograms=(), epsilon=0.0), received_s=NOW_S) == ""


def test_histograms_that_are_not_full_are_believed() -> None:
    # of errors, those alone whose truth is known; of an input, those alone that were finite
    assert doubt_window(window(histograms=((3, 4), (0, 0, 0))), received_s=NOW_S) == ""


@pytest.mark.parametrize("epsilon", [0.02, 0.25, 1.0, 4.0])
def test_noise_alone_never_makes_a_window_doubtful(epsilon: float) -> None:
    random, p = np.random.default_rng(7), np.exp(-epsilon / 2)
    shape = (2000, 8, 16)
    noise = random.geometric(1 - p, shape) - random.geometric(1 - p, shape)
    counts = random.multinomial(500, np.full(16, 1 / 16), shape[:2]) + noise
    for one in counts[:, :, :].tolist():
        told = window(queries=500, latencies=(), epsilon=epsilon, histograms=tuple(map(tuple, one)))
        assert doubt_window(told, received_s=NOW_S) == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"at_s": NOW_S + DAY_S}, "clock ahead"),
        ({"at_s": 0.0}, "too old"),
        ({"inputs": b"123"}, "inputs are no float32"),
        ({"output": (float("nan"),)}, "not finite"),
        ({"truth": (float("inf"),)}, "not finite"),
    ],
)
def test_samples_that_can_not_be_are_doubted(changes: dict[str, Any], why: str) -> None:
    assert doubt_sample(msgspec.structs.replace(sample(), **changes), received_s=NOW_S) == why
