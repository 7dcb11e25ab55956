"""AVERAGE_POOL_2D and MAX_POOL_2D."""

from __future__ import annotations

from tinymlops.codegen import cmsis_nn
from tinymlops.codegen.layer import Layer, Lowered, place
from tinymlops.codegen.operators.ranges import clamp_of
from tinymlops.codegen.operators.windows import window_of
from tinymlops.codegen.values import KernelSet


def average_pool(layer: Layer) -> Lowered:
    """AVERAGE_POOL_2D.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    return _pool(layer, "average")


def max_pool(layer: Layer) -> Lowered:
    """MAX_POOL_2D.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    return _pool(layer, "max")


def _pool(layer: Layer, kind: str) -> Lowered:
    layer.count_inputs(1)
    window = window_of(layer, (layer.option("FilterHeight"), layer.option("FilterWidth")), (1, 1))
    layer.require(window.channels == window.output_channels, "changes the number of channels")
    layer.same_scale(layer.activation(0))
    low, high = clamp_of(layer)
    if layer.kernels is KernelSet.CMSIS_NN and cmsis_nn.covers(window):
        return cmsis_nn.pool(layer, window, kind, (low, high))
    kernel = f"tinymlops_{kind}_pool_2d_s8"
    return Lowered(
        kernel=kernel,
        code=(
            window.code(layer.activation(0).zero_points[0]),
            f"{kernel}(&window, {low}, {high}, {place(layer.input(0))}, {place(layer.output)});",
        ),
        sources=frozenset({"tinymlops_pool_2d.c"}),
    )
