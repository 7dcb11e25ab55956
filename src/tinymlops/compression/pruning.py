"""Magnitude pruning: the smallest weights become zero while the network is fitted again.

Zhu and Gupta 2017, *To prune, or not to prune* (arXiv 1710.01878): sparsity grows along a cubic polynomial.
"""

from __future__ import annotations

from typing import Any

import tensorflow_model_optimization as tfmot

from tinymlops.compression.fine_tuning import FineTuning

_RAMP = 0.6
"""The target is reached after this fraction of the steps; the rest lets the network recover."""


def prune(model: Any, sparsity: float, fine_tuning: FineTuning) -> Any:
    """A new model whose convolution and dense kernels each have ``sparsity`` of their weights at zero."""
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=sparsity,
        begin_step=0,
        end_step=max(1, int(_RAMP * fine_tuning.steps)),
        frequency=max(1, fine_tuning.steps // 50),
    )
    pruned = tfmot.sparsity.keras.prune_low_magnitude(fine_tuning.copy(model), pruning_schedule=schedule)
    fine_tuning.fit(pruned, "pruning", callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(pruned)
