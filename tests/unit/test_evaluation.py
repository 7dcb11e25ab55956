"""How many rows a device is asked to run."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.devices.flatbuffer_models import dense
from tinymlops.devices.catalogue import load_profile
from tinymlops.evaluation import DEVICE_ROWS, EMULATED_MACS, FEWEST_ROWS, draw, rows_for
from tinymlops.workloads.values import Samples

PICO = load_profile("raspberry-pi-pico")


@pytest.mark.parametrize(
    ("features", "classes", "rows"),
    [(16, 4, DEVICE_ROWS), (2048, 1024, EMULATED_MACS // (2048 * 1024)), (4096, 2048, FEWEST_ROWS)],
)
def test_a_large_model_is_emulated_for_fewer_rows(features: int, classes: int, rows: int) -> None:
    assert rows_for(dense(features, classes), PICO) == rows


def test_an_interpreter_gets_all_rows_and_so_does_what_will_be_refused() -> None:
    assert rows_for(dense(4096, 2048), load_profile("x86-gateway")) == DEVICE_ROWS
    assert rows_for(dense(dtype="float32", version=1), PICO) == DEVICE_ROWS


def test_fewer_rows_are_some_of_the_more_rows() -> None:
    everything = Samples(np.zeros((5000, 1), np.float32), np.zeros(5000, np.int64), np.arange(5000))
    few, more = (set(draw(everything, rows, seed=7).groups.tolist()) for rows in (200, 1500))
    assert few < more
