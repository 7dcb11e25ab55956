"""What a released histogram gives away, by 200,000 draws: no more than ε, and more as soon as the noise is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

import pytest

from tests.support.noise import chi_square_p, privacy_loss
from tinymlops.edge.noise import MICRO, Below, discrete_laplace, noisy
from tinymlops.wire.observations import SENSITIVITY

DRAWS = 200_000
Release = Callable[[tuple[int, int], Below], tuple[int, ...]]


def as_built(epsilon: Fraction) -> Release:
    return lambda counts, below: noisy(counts, int(epsilon * MICRO), below)


def loss_of(release: Release, draws: int = DRAWS) -> tuple[float, float]:
    """The worst log-ratio over pairs of bins, where one query is in the first bin or in the second."""
    below = random.Random(7).randrange  # noqa: S311 - the same draw in every run
    first, second = ([hash_of(release(counts, below)) for _ in range(draws)] for counts in ((1, 0), (0, 1)))
    return privacy_loss(first, second)


def hash_of(bins: tuple[int, ...]) -> int:
    """One number for both bins; bins far out share one, which can only hide a loss and not make one."""
    one, other = (max(-15, min(15, count)) for count in bins)
    return one * 100 + other


@pytest.mark.parametrize("epsilon", [Fraction(1), Fraction(1, 4), Fraction(2)])
def test_one_query_in_another_bin_changes_no_outcome_by_more_than_epsilon(epsilon: Fraction) -> None:
    ratio, half_width = loss_of(as_built(epsilon))

    assert ratio <= float(epsilon) + half_width
    assert ratio + half_width > float(epsilon) / 2, "the check is too weak to see any loss"


def too_little(counts: tuple[int, int], below: Below) -> tuple[int, ...]:
    """Noise for a sensitivity of 1, though a query leaves one bin and enters another."""
    return tuple(count + discrete_laplace(Fraction(1), below) for count in counts)


def only_upwards(counts: tuple[int, int], below: Below) -> tuple[int, ...]:
    return tuple(count + abs(discrete_laplace(Fraction(1, SENSITIVITY), below)) for count in counts)


def shared(counts: tuple[int, int], below: Below) -> tuple[int, ...]:
    """One draw for both bins: their difference is given away whole."""
    noise = discrete_laplace(Fraction(1, SENSITIVITY), below)
    return tuple(count + noise for count in counts)


@pytest.mark.parametrize("broken", [too_little, only_upwards, shared])
def test_the_check_sees_noise_that_is_wrong(broken: Release) -> None:
    ratio, half_width = loss_of(broken, draws=50_000)

    assert ratio - half_width > 1.0


@pytest.mark.parametrize("epsilon", [Fraction(1), Fraction(1, 11)])
def test_a_hundred_thousand_draws_fit_the_exact_distribution(epsilon: Fraction) -> None:
    below = random.Random(11).randrange  # noqa: S311 - the same draw in every run
    rate = Fraction(int(epsilon * MICRO), MICRO * SENSITIVITY)
    draws = [discrete_laplace(rate, below) for _ in range(100_000)]

    assert chi_square_p(draws, rate) > 1e-3
    assert chi_square_p(draws, rate * Fraction(21, 20)) < 1e-9, "an ε that is 5 % off would not be seen"
