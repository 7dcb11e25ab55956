"""Scales as a layer states them, turned into integers; what can't be is an error that names the layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tinymlops.codegen import quantization
from tinymlops.codegen.layer import Layer

_T = TypeVar("_T")


def clamp_of(layer: Layer) -> tuple[int, int]:
    """Smallest and largest output that the fused activation leaves.

    Raises:
        DoesNotRunError: An activation without an int8 form.
    """
    target = layer.result()
    activation = layer.option("FusedActivationFunction")
    return scaled(layer, lambda: quantization.activation_range(activation, target.scales[0], target.zero_points[0]))


def scaled(layer: Layer, compute: Callable[[], _T]) -> _T:
    """``compute()``, its ValueError turned into one that names the layer.

    Raises:
        DoesNotRunError: Scales that no integer arithmetic stands for.
    """
    try:
        return compute()
    except ValueError as error:
        raise layer.fault(f"has {error}") from error
