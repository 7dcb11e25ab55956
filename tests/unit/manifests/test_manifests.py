from __future__ import annotations

import numpy as np
import pytest

from tests.unit.reporting.samples import failed, measurement, profile, variant
from tinymlops.errors import ReleaseError
from tinymlops.manifests import variants_for
from tinymlops.manifests.histograms import statistic_of
from tinymlops.manifests.self_test import ROWS, choose_rows
from tinymlops.manifests.temperature import fit_temperature
from tinymlops.measurement import Status
from tinymlops.wire.manifest import Statistic
from tinymlops.workloads.values import Samples


def drawn(temperature: float, rows: int = 4000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure by a factor, and targets drawn from the honest ones."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0.0, 2.0, (rows, classes))
    honest, sure = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (logits, logits * temperature))
    targets = np.array([rng.choice(classes, p=row) for row in honest], np.int64)
    return sure.astype(np.float32), targets


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_confidences_dishonest_is_found(temperature: float) -> None:
    probabilities, targets = drawn(temperature)

    assert fit_temperature(probabilities, targets) == pytest.approx(temperature, rel=0.06)


def test_probabilities_of_exactly_nought_do_not_break_the_fit() -> None:
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]

    assert np.isfinite(fit_temperature(probabilities, np.array([0, 1, 1, 0], np.int64)))


def test_statistics_are_over_all_positions_of_a_channel() -> None:
    inputs = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)

    assert statistic_of(inputs, Statistic.MEAN).tolist() == [[4.5, 5.5, 6.5], [16.5, 17.5, 18.5]]
    assert statistic_of(inputs, Statistic.STANDARD_DEVIATION).shape == (2, 3)


def test_the_self_test_has_a_row_of_every_target_as_far_as_it_goes() -> None:
    targets = np.array([0] * 50 + [1] * 3 + [2], np.int64)
    inputs = np.arange(54, dtype=np.float32)[:, None]

    rows = choose_rows(Samples(inputs, targets, targets))

    assert len(rows) == ROWS
    assert {int(targets[int(row[0])]) for row in rows} == {0, 1, 2}


def test_two_rows_are_all_that_can_be_chosen_of_two() -> None:
    targets = np.array([1, 1], np.int64)

    assert len(choose_rows(Samples(np.zeros((2, 1), np.float32), targets, targets))) == 2


def test_a_device_gets_the_selected_variant_first_and_those_for_other_states() -> None:
    found = [
        measurement("accurate", validation=0.95, instructions=90_000, facts=variant("accurate", gzip_bytes=9000)),
        measurement("balanced", validation=0.93, instructions=20_000, facts=variant("balanced", gzip_bytes=5000)),
        measurement("fast", validation=0.80, instructions=1_000, facts=variant("fast", gzip_bytes=1000)),
    ]

    chosen = variants_for(found, profile(), "balanced")

    assert next(iter(chosen)) == "balanced"
    assert {"accurate", "fast"} <= set(chosen)
    assert chosen["accurate"].points == 0.0
    assert chosen["fast"].time == 0.0


def test_a_selected_variant_that_does_not_run_there_is_refused_with_the_reason() -> None:
    found = [measurement("int8"), failed("float32", Status.CRASHED, "SIGSEGV")]

    with pytest.raises(ReleaseError, match="float32 was selected for .*, but "):
        variants_for(found, profile(), "float32")
