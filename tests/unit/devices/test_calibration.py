"""Rates from published boards: what is fitted, and how honestly its error is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.devices.calibration import calibrate, energy_rate, fit, latency_rate, rate
from tinymlops.devices.catalogue import load_profile, profiles
from tinymlops.measurement import Provenance

CALIBRATED = [profile for profile in profiles() if profile.calibration is not None]
counts = st.floats(1, 1e9)


@given(st.lists(counts, min_size=3, max_size=8), st.floats(1e-6, 1e3))
def test_a_board_that_takes_the_same_for_every_instruction_is_predicted_without_error(
    instructions: list[float], each: float
) -> None:
    found = rate([(count, each * count) for count in instructions])
    assert found.per_instruction == pytest.approx(each)
    assert found.band == pytest.approx(0, abs=1e-9)


@given(st.lists(st.tuples(counts, counts), min_size=3, max_size=6))
def test_no_other_rate_has_a_smaller_sum_of_squared_relative_errors(pairs: list[tuple[float, float]]) -> None:
    def badness(k: float) -> float:
        return sum((k * x / y - 1) ** 2 for x, y in pairs)

    best = fit(pairs)
    assert badness(best) <= badness(best * 1.001) + 1e-9
    assert badness(best) <= badness(best * 0.999) + 1e-9


def test_each_task_is_predicted_from_the_others_alone() -> None:
    found = rate([(100, 200), (100, 200), (100, 400)])
    assert found.errors[2] == pytest.approx(2 * 100 / 400 - 1)
    assert found.errors[0] > 0
    assert found.band == max(abs(error) for error in found.errors)


def test_the_boards_with_results_of_the_same_kernels_are_calibrated_and_no_other() -> None:
    assert [profile.name for profile in CALIBRATED] == ["nrf5340", "nucleo-l4r5zi"]


@pytest.mark.parametrize("profile", CALIBRATED, ids=lambda p: p.name)
def test_leaving_a_task_out_predicts_it_within_a_fifth(profile: object) -> None:
    board = load_profile(getattr(profile, "name", ""))
    assert board.calibration is not None
    errors = latency_rate(board.calibration).errors
    by_task = dict(zip((point.task for point in board.calibration.points), errors, strict=True))
    assert set(by_task) == {"kws", "ad", "ic", "vww"}
    assert all(abs(by_task[task]) < 0.10 for task in ("kws", "ic", "vww")), by_task
    assert -0.20 < by_task["ad"] < 0, "the autoencoder waits for its flash, which counts can't show"


def test_a_calibrated_figure_names_its_source_its_rate_and_its_error() -> None:
    latency, energy = calibrate(load_profile("nucleo-l4r5zi"), 1_000_000)
    assert latency is not None
    assert latency.provenance is Provenance.CALIBRATED
    assert latency.unit == "us"
    assert latency.value == pytest.approx(12_900, rel=0.02)  # 1.55 cycles of 120 MHz
    assert latency.relative_error is not None
    assert 0.15 < latency.relative_error < 0.20
    assert "MLPerf Tiny v1.0, OctoML" in latency.note
    assert "cycles an instruction" in latency.note
    assert "each task predicted from the others: -17% to +8%" in latency.note
    assert energy is not None
    assert energy.value / latency.value == pytest.approx(0.052, rel=0.02)  # 52 mW


def test_where_energy_was_not_published_there_is_none_and_where_nothing_was_there_is_no_time() -> None:
    nordic = load_profile("nrf5340")
    assert nordic.calibration is not None
    assert energy_rate(nordic.calibration) is None
    assert calibrate(nordic, 1e6)[1] is None
    for name in ("nucleo-h7a3", "corstone-300", "raspberry-pi-pico", "esp32-c3", "riscv-sbc"):
        assert calibrate(load_profile(name), 1e6) == (None, None)
