"""What the recipes make of real networks becomes C that gives the interpreter's bits."""

from __future__ import annotations

import pytest

from tests.integration.test_learning import variant
from tests.integration.workloads.untrained import quantized
from tests.unit.codegen.host import assert_bit_equal
from tinymlops.codegen import KernelSet, generate
from tinymlops.errors import DoesNotRunError
from tinymlops.isolation import call_isolated
from tinymlops.workloads.catalogue import BUILT_IN

# One from each converter; all of them run on every core in test_microcontrollers.py
CONVERTERS = ["int8", "pqat"]


@pytest.mark.parametrize("recipe", CONVERTERS)
def test_what_each_converter_makes_of_a_picture_network_is_bit_equal(recipe: str) -> None:
    for kernels in KernelSet:
        assert_bit_equal(variant("FewPictures", recipe).tflite, kernels, rows=10)


@pytest.mark.parametrize("name", ["Series", "Regression"])
def test_int8_networks_of_other_shapes_are_bit_equal(name: str) -> None:
    for kernels in KernelSet:
        assert_bit_equal(variant(name, "int8").tflite, kernels, rows=10)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_network_of_every_built_in_workload_is_bit_equal(name: str) -> None:
    model = call_isolated(quantized, name, timeout_s=300)
    for kernels in KernelSet:
        assert_bit_equal(model, kernels, rows=10)


@pytest.mark.parametrize("recipe", ["dynamic-range", "int16x8"])
def test_a_recipe_that_is_not_int8_is_refused_in_one_sentence(recipe: str) -> None:
    with pytest.raises(DoesNotRunError, match="generated code is int8 only"):
        generate(variant("FewPictures", recipe).tflite, KernelSet.PORTABLE)
