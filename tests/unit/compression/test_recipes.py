"""Twelve recipes, found by name, and promises that are looked for in the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.compression.promises import breaks_two_of_four, check_promise, most_clusters, overall_sparsity, sparsity
from tinymlops.compression.recipes import RECIPES, find_recipes
from tinymlops.errors import CompressionError, NotApplicableError, UnknownNameError
from tinymlops.model_file import WeightTensor


class FakeModel:
    """Stands for a model file with these kernels."""

    def __init__(self, *kernels: np.ndarray[Any, Any], operator: str = "CONV_2D") -> None:
        self._kernels = tuple(WeightTensor(f"kernel {i}", operator, k, 0) for i, k in enumerate(kernels))

    def weight_tensors(self) -> tuple[WeightTensor, ...]:
        return self._kernels


def check(recipe: str, *kernels: np.ndarray[Any, Any], operator: str = "CONV_2D") -> tuple[str, ...]:
    return check_promise(RECIPES[recipe], FakeModel(*kernels, operator=operator))  # type: ignore[arg-type]


def test_there_are_twelve() -> None:
    assert len(find_recipes()) == 12


def test_chosen_recipes_come_once_and_in_their_own_order() -> None:
    assert [recipe.name for recipe in find_recipes(["qat", "int8", "qat"])] == ["int8", "qat"]


def test_a_misspelt_recipe_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'pruned-int8'"):
        find_recipes(["prune-int8"])


HALF = np.tile(np.array([0, 0, 3, 4], np.int8), (8, 1, 1, 2))
DENSE = np.arange(1, 65, dtype=np.int8).reshape(8, 1, 1, 8)


def test_kept_sparsity_is_said_in_words() -> None:
    assert check("pruned-int8", HALF) == ("50% zeros in each kernel",)


@pytest.mark.parametrize("recipe", ["pruned-int8", "pqat", "pcqat"])
def test_lost_sparsity_is_an_error_that_names_the_kernel(recipe: str) -> None:
    with pytest.raises(CompressionError, match=r"50% zeros, but 1 of 2 kernels lost them \(first 'kernel 1'\)"):
        check(recipe, HALF, DENSE)


def test_lost_structure_is_an_error() -> None:
    check("structured-int8", HALF)
    with pytest.raises(CompressionError, match="2:4 sparsity"):
        check("structured-int8", DENSE)


def test_a_kernel_whose_channels_do_not_divide_by_four_is_left_out() -> None:
    assert "1 kernels" in check("structured-int8", HALF, np.ones((8, 1, 1, 6), np.int8))[0]


@pytest.mark.parametrize("recipe", ["clustered-int8", "cqat"])
def test_lost_clusters_are_an_error(recipe: str) -> None:
    check(recipe, HALF)
    with pytest.raises(CompressionError, match="16 clusters"):
        check(recipe, np.arange(64, dtype=np.int8).reshape(2, 1, 1, 32))


@pytest.mark.parametrize("recipe", ["pruned-int8", "structured-int8", "clustered-int8"])
def test_a_network_without_such_kernels_can_not_have_the_recipe(recipe: str) -> None:
    with pytest.raises(NotApplicableError, match="has no kernel"):
        check(recipe, HALF, operator="DEPTHWISE_CONV_2D")


def test_a_recipe_without_a_promise_keeps_nothing() -> None:
    assert check("int8", DENSE) == ()


@given(st.lists(st.integers(-3, 3), min_size=4, max_size=40).map(lambda v: np.array(v[: len(v) // 4 * 4], np.int8)))
def test_structure_is_broken_exactly_when_a_block_has_three_weights(row: np.ndarray[Any, Any]) -> None:
    crowded = any(np.count_nonzero(row[i : i + 4]) > 2 for i in range(0, len(row), 4))
    assert breaks_two_of_four(row[None]) == crowded


def test_clusters_are_counted_for_each_output_channel() -> None:
    assert most_clusters(np.array([[1, 1, 2], [3, 4, 5]])) == 3


def test_overall_sparsity_weighs_kernels_by_size() -> None:
    model: Any = FakeModel(np.zeros((1, 1, 1, 6)), np.ones((1, 1, 1, 2)))
    assert overall_sparsity(model) == pytest.approx(0.75)
    assert overall_sparsity(FakeModel()) is None  # type: ignore[arg-type]


def test_sparsity_is_the_fraction_of_zeros() -> None:
    assert sparsity(HALF) == 0.5
