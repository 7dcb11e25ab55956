"""The noise is what it is said to be: in a small draw here, in a large one in tests/integration/edge."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from tests.support.noise import chi_square_p, pmf
from tinymlops.edge.noise import MICRO, discrete_laplace, happens, noisy
from tinymlops.errors import UsageError
from tinymlops.wire.observations import noise_variance


def below_of(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same draw in every run


@pytest.mark.parametrize("rate", [Fraction(1, 2), Fraction(3, 1), Fraction(1, 44)])
def test_noise_follows_the_discrete_laplace_distribution(rate: Fraction) -> None:
    below = below_of(5).randrange
    draws = [discrete_laplace(rate, below) for _ in range(5000)]

    assert chi_square_p(draws, rate) > 1e-3


def test_exactly_as_often_as_the_exponential_says() -> None:
    below = below_of(1).randrange
    seen = sum(happens(1, 1, below) for _ in range(20_000)) / 20_000

    assert seen == pytest.approx(0.36788, abs=0.012)
    assert happens(0, 7, below)


def test_the_variance_is_the_one_that_a_reader_reckons_with() -> None:
    below = below_of(2).randrange
    noise = noisy([0] * 20_000, MICRO // 4, below)

    assert sum(one * one for one in noise) / len(noise) == pytest.approx(noise_variance(0.25), rel=0.06)


def test_the_probabilities_of_the_yardstick_add_up() -> None:
    assert sum(pmf(k, Fraction(1, 2)) for k in range(-200, 201)) == pytest.approx(1.0)


def test_each_bin_gets_its_own_noise_from_the_system_unless_a_simulation_draws_it() -> None:
    first, second = noisy([100] * 64, 1000), noisy([100] * 64, 1000)

    assert first != second
    assert len(set(first)) > 16
    assert noisy([100] * 64, 1000, below_of(3).randrange) == noisy([100] * 64, 1000, below_of(3).randrange)


def test_without_epsilon_there_is_no_noise_to_draw() -> None:
    with pytest.raises(UsageError, match="hides everything"):
        noisy([1], 0)
