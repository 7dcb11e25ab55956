"""Which techniques are combined, in which order, and what the result must still have of each.

A later step can undo an earlier one without a word (quantization-aware training of a pruned network fills
its zeros again unless a preserving scheme is used), so a recipe declares what it promises, and the
``.tflite`` itself is checked for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tinymlops.errors import UnknownNameError

SPARSITY = 0.5
"""Fraction of zero weights in each kernel after magnitude pruning."""
CLUSTERS = 16
"""Different weights in each kernel after clustering."""


class Precision(StrEnum):
    """Number types in the ``.tflite``."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    """Weights stored in 16 bits, computed in 32."""
    DYNAMIC_RANGE = "dynamic-range"
    """Weights in 8 bits, activations quantized while running."""
    INT8 = "int8"
    """Weights and activations in 8 bits, after training."""
    INT16X8 = "int16x8"
    """Activations in 16 bits, weights in 8, after training."""
    QAT = "qat"
    """As INT8, with ranges learned by quantization-aware training."""


@dataclass(frozen=True)
class Promise:
    """What must be true of every kernel that the techniques reach.

    Attributes:
        sparsity: At least this fraction of zeros, in each convolution and dense kernel.
        two_of_four: At least two zeros in every four consecutive input channels.
        clusters: At most this many different weights, for each output channel of a quantized kernel.
    """

    sparsity: float | None = None
    two_of_four: bool = False
    clusters: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How a trained network is compressed.

    Attributes:
        name: What users type.
        precision: Number types of the result.
        promise: What is pruned or clustered first, and must survive.
    """

    name: str
    precision: Precision
    promise: Promise = Promise()


_PRUNED = Promise(sparsity=SPARSITY)
_CLUSTERED = Promise(clusters=CLUSTERS)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("float32", Precision.FLOAT32),
        Recipe("float16", Precision.FLOAT16),
        Recipe("dynamic-range", Precision.DYNAMIC_RANGE),
        Recipe("int8", Precision.INT8),
        Recipe("int16x8", Precision.INT16X8),
        Recipe("pruned-int8", Precision.INT8, _PRUNED),
        Recipe("structured-int8", Precision.INT8, Promise(two_of_four=True)),
        Recipe("clustered-int8", Precision.INT8, _CLUSTERED),
        Recipe("qat", Precision.QAT),
        Recipe("pqat", Precision.QAT, _PRUNED),
        Recipe("cqat", Precision.QAT, _CLUSTERED),
        Recipe("pcqat", Precision.QAT, Promise(sparsity=SPARSITY, clusters=CLUSTERS)),
    )
}


def find_recipes(names: Iterable[str] | None = None) -> tuple[Recipe, ...]:
    """The recipes called ``names``, in their own order; all of them for None.

    Raises:
        UnknownNameError: One of the names does not exist.
    """
    if names is None:
        return tuple(RECIPES.values())
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in RECIPES:
            raise UnknownNameError("recipe", name, RECIPES)
    return tuple(recipe for recipe in RECIPES.values() if recipe.name in wanted)
