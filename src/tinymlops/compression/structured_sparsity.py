"""2:4 structured sparsity: two of every four consecutive input channels become zero.

Mishra et al. 2021, *Accelerating Sparse Deep Neural Networks* (arXiv 2104.08378). Kernels whose input channels do not
divide by four, and depthwise ones, stay dense.
"""

from __future__ import annotations

from typing import Any

import tensorflow_model_optimization as tfmot
import tf_keras as keras

from tinymlops.compression.fine_tuning import FineTuning

ZEROS, BLOCK = 2, 4


def sparsify_two_of_four(model: Any, fine_tuning: FineTuning) -> Any:
    """A new model with at least two zeros in each block of four, in every kernel that ``can_be_sparsified``."""
    schedule = tfmot.sparsity.keras.ConstantSparsity(ZEROS / BLOCK, begin_step=0, frequency=1)

    def wrap(layer: Any) -> Any:
        if not can_be_sparsified(layer):
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, schedule, sparsity_m_by_n=(ZEROS, BLOCK))

    source = fine_tuning.copy(model)
    sparse = keras.models.clone_model(source, clone_function=wrap)
    fine_tuning.fit(sparse, "2:4 sparsity", callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(sparse)


def can_be_sparsified(layer: Any) -> bool:
    """True for dense and (not depthwise) convolution layers whose input channels divide by four."""
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    if not isinstance(layer, kinds) or isinstance(layer, keras.layers.DepthwiseConv2D):
        return False
    return int(layer.kernel.shape[-2]) % BLOCK == 0
