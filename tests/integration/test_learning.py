"""Training and compressing with the real TensorFlow, on tasks of every shape."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tinymlops.compression.recipes import RECIPES
from tinymlops.compression.variants import Variant, compress
from tinymlops.errors import CompressionError, NotApplicableError, WorkloadError
from tinymlops.model_file import read_model
from tinymlops.training import TrainedNetwork, fit_reference, train

FILE = Path(__file__).with_name("workloads") / "shapes.py"
SEED = 3


@cache
def trained(name: str) -> TrainedNetwork:
    return train(f"{FILE}:{name}", SEED)


def variant(name: str, recipe: str) -> Variant:
    return compress(f"{FILE}:{name}", SEED, trained(name), RECIPES[recipe])


@pytest.mark.parametrize("name", ["Table", "Letters", "Series", "ManyPictures"])
def test_a_task_of_any_shape_is_learned_and_quantized(name: str) -> None:
    assert trained(name).scores.test > 0.8
    model = read_model(variant(name, "int8").tflite, name)
    assert model.fully_integer
    assert model.inputs[0].dtype == model.outputs[0].dtype == "int8"


def test_a_regression_is_learned_quantized_and_compared() -> None:
    assert trained("Regression").scores.test < 0.15
    assert variant("Regression", "int8").facts.vetoed == ""
    reference = fit_reference(f"{FILE}:Regression", SEED)
    assert 0 < reference.scores.test < 1


def test_training_twice_gives_the_same_bytes() -> None:
    again = train(f"{FILE}:Table", SEED)
    assert again.weights == trained("Table").weights
    assert again.history == trained("Table").history


def test_another_seed_gives_another_network() -> None:
    assert train(f"{FILE}:Table", SEED + 1).weights != trained("Table").weights


def test_compressing_twice_gives_the_same_file() -> None:
    first, second = variant("Table", "pqat"), variant("Table", "pqat")
    assert first.tflite == second.tflite
    assert first.facts.promises == ("50% zeros in each kernel",)


KEPT = {
    "float16": (),
    "dynamic-range": (),
    "int16x8": (),
    "structured-int8": ("2 zeros in every 4 input channels of 2 kernels",),
    "clustered-int8": ("at most 16 weights an output channel",),
    "cqat": ("at most 16 weights an output channel",),
    "pcqat": ("50% zeros in each kernel", "at most 16 weights an output channel"),
}


@pytest.mark.parametrize("recipe", KEPT)
def test_every_other_recipe_keeps_what_it_promises(recipe: str) -> None:
    made = variant("FewPictures", recipe)
    assert made.facts.promises == KEPT[recipe]
    assert made.facts.float_score == trained("FewPictures").scores.validation
    dtypes = read_model(made.tflite, recipe).dtypes
    assert ("int16" in dtypes) == (recipe == "int16x8")
    assert ("float16" in dtypes) == (recipe == "float16")


@pytest.mark.parametrize("recipe", ["qat", "pqat"])
def test_a_layer_that_quantization_aware_training_does_not_know_is_nobodys_mistake(recipe: str) -> None:
    with pytest.raises(NotApplicableError, match="does not know a layer of this network"):
        variant("Series", recipe)


def test_silently_lost_sparsity_fails_loudly() -> None:
    with pytest.raises(CompressionError, match=r"pqat promises 50% zeros, but \d of 3 kernels lost them") as caught:
        variant("LosesItsZeros", "pqat")
    assert not isinstance(caught.value, NotApplicableError)


def test_a_network_that_does_not_fit_its_data_is_one_sentence() -> None:
    with pytest.raises(WorkloadError, match=r"takes shape \(10,\), its data and labels need \(11,\)"):
        trained("SquareNetwork")


def test_a_loss_that_becomes_nan_is_one_sentence() -> None:
    with pytest.raises(WorkloadError, match="the loss of explodes became NaN: lower learning_rate"):
        trained("Explodes")
