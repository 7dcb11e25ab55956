"""Quantization-aware training: the network learns with the rounding it will meet.

Jacob et al. 2018, *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*
(arXiv 1712.05877). The preserving schemes keep the zeros and centroids that came before.
"""

from __future__ import annotations

from typing import Any

import tensorflow_model_optimization as tfmot

from tinymlops.compression.fine_tuning import FineTuning
from tinymlops.compression.recipes import Promise
from tinymlops.errors import NotApplicableError

_combine = tfmot.experimental.combine
_quantization = tfmot.quantization.keras


def train_quantized(model: Any, promise: Promise, fine_tuning: FineTuning) -> Any:
    """A new model with fake quantization, fitted so that ``promise`` is still kept.

    Raises:
        NotApplicableError: Quantization-aware training does not know one of the layers.
    """
    copy = fine_tuning.copy(model)
    try:
        annotated = _quantization.quantize_annotate_model(copy)
        quantized = _quantization.quantize_apply(annotated, *_preserving_scheme(promise))
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise NotApplicableError(
            f"quantization-aware training does not know a layer of this network ({reason})",
            "use Conv2D, DepthwiseConv2D and Dense layers, or the recipes that quantize after training",
        ) from error
    fine_tuning.fit(quantized, "quantization-aware training")
    return quantized


def _preserving_scheme(promise: Promise) -> tuple[Any, ...]:
    """The scheme that keeps what came before; nothing for tfmot's default."""
    if promise.clusters is not None:
        preserve_sparsity = promise.sparsity is not None
        return (_combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=preserve_sparsity),)
    if promise.sparsity is not None:
        return (_combine.Default8BitPrunePreserveQuantizeScheme(),)
    return ()
