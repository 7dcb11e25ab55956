"""Look into the ``.tflite`` for what the recipe promised.

Batch normalisation is folded into kernels on conversion, which scales each output channel. Zeros survive
that, and so do clusters within an output channel: so clusters are counted for each channel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tinymlops.compression.recipes import Recipe
from tinymlops.errors import CompressionError, NotApplicableError
from tinymlops.model_file import ModelFile, WeightTensor

_REACHED = ("CONV_2D", "FULLY_CONNECTED")
"""Operators whose kernels pruning and clustering reach; depthwise ones they leave alone."""
_BLOCK, _ZEROS = 4, 2

Array = NDArray[np.generic]


def sparsity(values: Array) -> float:
    """Fraction of zeros."""
    return float(np.mean(values == 0))


def breaks_two_of_four(kernel: Array) -> bool:
    """True if some block of four consecutive input channels (last axis) has fewer than two zeros."""
    zeros = (kernel.reshape(-1, _BLOCK) == 0).sum(axis=1)
    return bool((zeros < _ZEROS).any())


def most_clusters(kernel: Array) -> int:
    """The most different values that one output channel (first axis) has."""
    return max(len(np.unique(channel)) for channel in kernel.reshape(len(kernel), -1))


def check_promise(recipe: Recipe, model: ModelFile) -> tuple[str, ...]:
    """What the recipe promised and the file keeps, in words.

    Raises:
        CompressionError: A kernel lost what a technique had given it.
        NotApplicableError: There is no kernel to keep it.
    """
    promise = recipe.promise
    kernels = [tensor for tensor in model.weight_tensors() if tensor.operator in _REACHED]
    kept = []
    if promise.sparsity is not None:
        wanted = promise.sparsity
        # tfmot rounds the number of zeros of a kernel to the nearest whole one
        _require(recipe, kernels, f"{wanted:.0%} zeros", lambda kernel: sparsity(kernel) + 0.5 / kernel.size >= wanted)
        kept.append(f"{wanted:.0%} zeros in each kernel")
    if promise.two_of_four:
        blocks = [tensor for tensor in kernels if tensor.values.shape[-1] % _BLOCK == 0]
        _require(recipe, blocks, "2:4 sparsity", lambda kernel: not breaks_two_of_four(kernel))
        kept.append(f"2 zeros in every 4 input channels of {len(blocks)} kernels")
    if promise.clusters is not None:
        most = promise.clusters
        _require(recipe, kernels, f"{most} clusters", lambda kernel: most_clusters(kernel) <= most)
        kept.append(f"at most {most} weights an output channel")
    return tuple(kept)


def _require(recipe: Recipe, kernels: list[WeightTensor], what: str, holds: Callable[[Array], bool]) -> None:
    if not kernels:
        raise NotApplicableError(
            f"{recipe.name} promises {what}, but the network has no kernel that could have them",
            "leave this recipe out with --recipes",
        )
    broken = [tensor.name for tensor in kernels if not holds(tensor.values)]
    if broken:
        raise CompressionError(
            f"{recipe.name} promises {what}, but {len(broken)} of {len(kernels)} kernels lost them"
            f" (first {broken[0]!r})",
            "use layers in the order convolution, batch normalisation, ReLU, or leave this recipe out",
        )


def overall_sparsity(model: ModelFile) -> float | None:
    """Fraction of zeros over all kernels that pruning reaches, or None if there are none."""
    kernels = [tensor.values.reshape(-1) for tensor in model.weight_tensors() if tensor.operator in _REACHED]
    return sparsity(np.concatenate(kernels)) if kernels else None
