"""Functions of one value as tables of 256 entries, and SOFTMAX with its table of exponentials."""

from __future__ import annotations

from collections.abc import Callable

from tinymlops.codegen import quantization
from tinymlops.codegen.layer import Constant, Layer, Lowered, place
from tinymlops.codegen.operators.ranges import scaled

_MAX_CLASSES = 4095
"""Exponentials are summed with 12 integer bits."""


def _lookup(layer: Layer, table: Callable[[], quantization.Table]) -> Lowered:
    layer.count_inputs(1)
    source, target = layer.activation(0), layer.result()
    layer.require(source.size == target.size, f"makes {target.shape} of {source.shape}")
    return Lowered(
        kernel="tinymlops_lookup_s8",
        code=(f"tinymlops_lookup_s8(@:table@, {target.size}, {place(source)}, {place(target)});",),
        constants=(Constant("table", "int8_t", scaled(layer, table), "outputs for inputs -128 to 127"),),
        sources=frozenset({"tinymlops_lookup.c"}),
        in_place=(source.index,),
    )


def _scales(layer: Layer) -> tuple[tuple[float, float], tuple[int, int]]:
    source, target = layer.activation(0), layer.result()
    return (source.scales[0], target.scales[0]), (source.zero_points[0], target.zero_points[0])


def quantize(layer: Layer) -> Lowered:
    """QUANTIZE between int8 scales.

    Raises:
        DoesNotRunError: Other types, or scales without a multiplier.
    """
    return _lookup(layer, lambda: quantization.requantize_table(*_scales(layer)))


def relu(layer: Layer) -> Lowered:
    """RELU.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    return _lookup(layer, lambda: quantization.relu_table(*_scales(layer)))


def relu6(layer: Layer) -> Lowered:
    """RELU6, which the reference computes on the input's scale.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    source = layer.activation(0)
    return _lookup(layer, lambda: quantization.relu6_table(source.scales[0], source.zero_points[0]))


def hard_swish(layer: Layer) -> Lowered:
    """HARD_SWISH.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    return _lookup(layer, lambda: quantization.hard_swish_table(*_scales(layer)))


def logistic(layer: Layer) -> Lowered:
    """LOGISTIC.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    source = layer.activation(0)
    layer.require(layer.result().zero_points == (-128,), "has an output whose zero point is not -128")
    return _lookup(layer, lambda: quantization.logistic_table(source.scales[0], source.zero_points[0]))


def softmax(layer: Layer) -> Lowered:
    """SOFTMAX over the last axis.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    layer.count_inputs(1)
    source, target = layer.activation(0), layer.result()
    layer.require(source.shape and source.size == target.size, f"makes {target.shape} of {source.shape}")
    layer.require(
        target.scales == (1 / 256,) and target.zero_points == (-128,),
        "has an output whose scale is not 1/256 with zero point -128",
    )
    columns = source.shape[-1]
    layer.require(columns <= _MAX_CLASSES, f"has {columns:,} classes, more than {_MAX_CLASSES:,}")
    table = scaled(
        layer, lambda: quantization.softmax_exponentials(float(layer.node.options["Beta"]), source.scales[0])
    )
    return Lowered(
        kernel="tinymlops_softmax_s8",
        code=(
            (
                f"tinymlops_softmax_s8(@:exponential@, {source.size // columns}, {columns}, "
                f"{place(source)}, {place(target)});"
            ),
        ),
        constants=(Constant("exponential", "int32_t", table, "by distance from the largest, 31 fractional bits"),),
        sources=frozenset({"tinymlops_softmax.c"}),
        in_place=(source.index,),
    )
