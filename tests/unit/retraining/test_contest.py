"""The comparison of two models, and what follows from it."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinymlops.errors import UsageError
from tinymlops.retraining.contest import HELD_OUT, RECENT, Rules, compare, decide
from tinymlops.retraining.values import Comparison

Floats = NDArray[np.float64]
RULES = Rules(harm=0.02)
FINITE = st.floats(-100, 100, allow_nan=False, width=32)


@st.composite
def contests(draw: st.DrawFn) -> tuple[Floats, Floats, NDArray[np.int64], int]:
    rows = draw(st.integers(1, 40))
    losses = draw(st.lists(st.tuples(FINITE, FINITE), min_size=rows, max_size=rows))
    blocks = draw(st.lists(st.integers(0, 12), min_size=rows, max_size=rows))
    one, other = np.array(losses, np.float64).T
    return one, other, np.array(blocks), draw(st.integers(0, 3))


def close(one: Comparison, other: Comparison) -> None:
    for name in ("champion", "challenger", "gain", "low", "high"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6, abs=1e-6)


@given(contests())
def test_the_interval_holds_the_gain_within_the_differences_of_single_rows(
    drawn: tuple[Floats, Floats, NDArray[np.int64], int],
) -> None:
    one, other, blocks, seed = drawn
    found = compare("x", one, other, blocks, seed=seed)
    assert found.gain == pytest.approx(found.champion - found.challenger, abs=1e-6)
    slack = 1e-6
    assert (one - other).min() - slack <= found.low <= found.high + slack <= (one - other).max() + 2 * slack
    assert found == compare("x", one, other, blocks, seed=seed)


@given(contests())
def test_models_that_change_places_change_the_sign_of_everything(
    drawn: tuple[Floats, Floats, NDArray[np.int64], int],
) -> None:
    one, other, blocks, seed = drawn
    found, mirrored = (compare("x", *pair, blocks, seed=seed) for pair in ((one, other), (other, one)))
    assert (found.gain, found.low, found.high) == pytest.approx(
        (-mirrored.gain, -mirrored.high, -mirrored.low), rel=1e-6, abs=1e-6
    )


@given(contests())
def test_scores_and_losses_say_the_same(drawn: tuple[Floats, Floats, NDArray[np.int64], int]) -> None:
    one, other, blocks, seed = drawn
    losses = compare("x", one, other, blocks, seed=seed)
    scores = compare("x", -one, -other, blocks, seed=seed, higher_is_better=True)
    assert (losses.gain, losses.low, losses.high) == (scores.gain, scores.low, scores.high)


@given(contests(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_the_names_of_blocks_do_not_matter(
    drawn: tuple[Floats, Floats, NDArray[np.int64], int], random: object
) -> None:
    one, other, blocks, seed = drawn
    order = np.random.default_rng(int(random.random() * 2**32)).permutation(len(one))  # type: ignore[attr-defined]
    named = np.array([f"device {block:02}" for block in blocks])
    close(
        compare("x", one, other, blocks, seed=seed),
        compare("x", one[order], other[order], named[order], seed=seed),
    )


@given(contests())
def test_the_same_row_told_twice_by_a_device_proves_nothing_more(
    drawn: tuple[Floats, Floats, NDArray[np.int64], int],
) -> None:
    one, other, blocks, seed = drawn
    twice = compare("x", np.repeat(one, 2), np.repeat(other, 2), np.repeat(blocks, 2), seed=seed)
    close(compare("x", one, other, blocks, seed=seed), twice)


def drawn_losses(rng: np.random.Generator, blocks: int, *, gain: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Rows of devices that each have their own way of being hard, with skewed errors."""
    sizes = rng.integers(5, 60, blocks)
    block = np.repeat(np.arange(blocks), sizes)
    own = (rng.exponential(1.0, blocks) - 1.0)[block]
    champion = rng.exponential(1.0, len(block)) + 5
    return champion, champion - own - gain + rng.normal(0, 1, len(block)), block.astype(np.float64)


@pytest.mark.parametrize("blocks", [12, 40])
def test_a_model_that_is_no_better_is_rarely_called_better(blocks: int) -> None:
    rng, draws = np.random.default_rng(blocks), 200
    wrong = [0, 0]
    for seed in range(draws):
        found = compare("x", *drawn_losses(rng, blocks), seed=seed)
        wrong[0] += found.low > 0
        wrong[1] += found.high < 0
    # 2.5 % each side is meant; 6 % on the side of the long tail is what 12 blocks of an exponential give
    assert wrong[0] <= 0.05 * draws
    assert wrong[1] <= 0.08 * draws


def test_rows_of_one_device_are_not_independent_and_single_rows_would_be_fooled_by_it() -> None:
    rng, draws = np.random.default_rng(5), 25
    by_row = 0
    for seed in range(draws):
        one, other, _ = drawn_losses(rng, 12)
        by_row += compare("x", one, other, np.arange(len(one)), seed=seed).low > 0
    assert by_row > 0.1 * draws


def test_many_blocks_cost_no_more_and_the_interval_stays() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(1, 1, 60_000)
    other = one - 0.01 + rng.normal(0, 1, 60_000)
    found = compare("x", one, other, np.arange(60_000), seed=1)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 / np.sqrt(60_000), rel=0.1)
    assert found.blocks == 60_000


@pytest.mark.parametrize(
    "bad", [([], [], []), ([1.0], [1.0, 2.0], [0]), ([1.0], [1.0], [0, 1]), ([np.nan], [1.0], [0])]
)
def test_rows_that_do_not_fit_are_refused(bad: tuple[list[float], list[float], list[int]]) -> None:
    with pytest.raises(UsageError):
        compare("x", *bad, seed=0)


def shown(rows: str, gain: float, half: float, **changes: int) -> Comparison:
    one = Comparison(
        rows=rows, count=500, blocks=20, champion=1.0, challenger=1.0 - gain, gain=gain,
        low=gain - half, high=gain + half,
    )  # fmt: skip
    return msgspec.structs.replace(one, **changes)


GOOD = (shown(HELD_OUT, 0.1, 0.05), shown(RECENT, 0.2, 0.05))


def test_a_certain_gain_on_both_is_promoted() -> None:
    decision = decide([*GOOD, shown("region=north", -0.01, 0.005)], RULES)
    assert decision.promote
    assert "0.1 (0.05 to 0.15) on held out rows" in decision.reason


@pytest.mark.parametrize(
    ("comparisons", "why"),
    [
        (GOOD[:1], "no recent rows"),
        ((GOOD[0], shown(RECENT, 0.2, 0.21)), "on recent rows the gain of 0.2 (-0.01 to 0.41) is not certain"),
        ((GOOD[0], shown(RECENT, 0.0, 0.0)), "not certain"),
        ((shown(HELD_OUT, -0.3, 0.1), GOOD[1]), "not certain"),
        ((GOOD[0], shown(RECENT, 0.2, 0.05, count=99)), "too few"),
        ((GOOD[0], shown(RECENT, 0.2, 0.05, blocks=7)), "too few"),
        ((*GOOD, shown("region=north", -0.1, 0.05)), "on region=north rows the challenger loses 0.1 (0.05 to 0.15)"),
    ],
)
def test_anything_less_is_not_promoted_and_says_why(comparisons: tuple[Comparison, ...], why: str) -> None:
    decision = decide(comparisons, RULES)
    assert not decision.promote
    assert why in decision.reason


def test_a_loss_that_may_be_chance_or_is_small_is_no_veto() -> None:
    assert decide([*GOOD, shown("profile=a", -0.1, 0.2), shown("profile=b", -0.019, 0.01)], RULES).promote


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), min_size=2, max_size=6), st.floats(0, 0.5))
@settings(max_examples=60)
def test_a_stricter_bound_or_one_group_more_never_turns_no_into_yes(
    gains: list[tuple[float, float]], harm: float
) -> None:
    names = [HELD_OUT, RECENT, *(f"tag={number}" for number in range(len(gains)))]
    comparisons = [shown(name, *gain) for name, gain in zip(names, gains, strict=False)]
    verdicts = [decide(comparisons[:many], Rules(harm=harm)).promote for many in range(2, len(comparisons) + 1)]
    assert all(earlier or not later for earlier, later in pairwise(verdicts))
    assert not decide(comparisons, Rules(harm=harm / 2)).promote or verdicts[-1]
