"""Weights and biases as the kernels want them, and how their sums become int8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinymlops.codegen import fixed_point as fp
from tinymlops.codegen import quantization
from tinymlops.codegen.graph import Tensor
from tinymlops.codegen.layer import Constant, Layer, struct
from tinymlops.codegen.operators.ranges import clamp_of, scaled


@dataclass(frozen=True)
class Filter:
    """Weights, biases and multipliers of a layer; arrays have one value an output channel.

    Attributes:
        weights: int8 values as stored.
        bias: int32.
        multipliers: int32.
        shifts: -31 to 30, positive to the left.
        low: Smallest output.
        high: Largest.
        per_channel: False where all multipliers are the same.
    """

    weights: np.ndarray[tuple[int, ...], np.dtype[np.int8]]
    bias: np.ndarray[tuple[int], np.dtype[np.int32]]
    multipliers: np.ndarray[tuple[int], np.dtype[np.int32]]
    shifts: np.ndarray[tuple[int], np.dtype[np.int32]]
    low: int
    high: int
    per_channel: bool


def filter_of(layer: Layer, channels: int, axis: int, *, product_in_float32: bool = False) -> Filter:
    """Read weights (input 1) and bias (input 2, may be left out), and turn scales into multipliers.

    Args:
        layer: The layer.
        channels: Output channels.
        axis: Of the weights' shape that counts output channels.
        product_in_float32: Multiply the scales of input and weights in float32, as the reference's
            FULLY_CONNECTED does where the weights have a single scale.

    Raises:
        DoesNotRunError: Weights that are not constant int8 around 0, or scales that no multiplier stands for.
    """
    weights = layer.constant(1, "int8", "weights")
    layer.require(not any(weights.zero_points), "has weights whose zero point is not 0")
    layer.require(len(weights.scales) in {1, channels}, f"has {len(weights.scales)} scales for {channels} channels")
    layer.require(len(weights.scales) == 1 or weights.axis == axis, f"has scales along axis {weights.axis}")
    pairs = [_multiplier(layer, scale, product_in_float32=product_in_float32) for scale in weights.scales]
    low, high = clamp_of(layer)
    values = weights.values
    assert values is not None  # noqa: S101 - constant() checked it
    return Filter(
        weights=values.astype(np.int8),
        bias=_bias(layer, channels),
        multipliers=np.resize(np.array([pair[0] for pair in pairs], np.int32), channels),
        shifts=np.resize(np.array([pair[1] for pair in pairs], np.int32), channels),
        low=low,
        high=high,
        per_channel=len(weights.scales) > 1,
    )


def _multiplier(layer: Layer, scale: float, *, product_in_float32: bool) -> tuple[int, int]:
    source, target = layer.activation(0).scales[0], layer.result().scales[0]
    both = float(quantization.float32(source) * quantization.float32(scale)) if product_in_float32 else source * scale
    return scaled(layer, lambda: quantization.multiplier_of(both / target))


def _bias(layer: Layer, channels: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    inputs = layer.node.inputs
    if len(inputs) < 3 or inputs[2] < 0:
        return np.zeros(channels, np.int32)
    tensor: Tensor = layer.constant(2, "int32", "biases")
    layer.require(tensor.size == channels, f"has {tensor.size} biases for {channels} channels")
    return np.array(tensor.values, np.int32).reshape(channels)


def folded_bias(filter_: Filter, zero_point: int, axis: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Biases that take care of the input's zero point: b - z · Σw, modulo 2^32."""
    others = tuple(i for i in range(filter_.weights.ndim) if i != axis)
    sums = filter_.weights.astype(np.int64).sum(axis=others)
    folded = filter_.bias.astype(np.int64) - zero_point * sums
    return np.array([fp.wrapped(int(value)) for value in folded], np.int32)


def requantization(layer: Layer, filter_: Filter) -> tuple[str, tuple[Constant, ...]]:
    """How sums become int8: the C structure and its tables."""
    step = int(filter_.per_channel)
    count = len(filter_.multipliers) if step else 1
    code = struct(
        "tinymlops_requantization",
        "to",
        {
            "multiplier": "@:multiplier@",
            "shift": "@:shift@",
            "step": step,
            "zero_point": layer.result().zero_points[0],
            "low": filter_.low,
            "high": filter_.high,
        },
    )
    tables = (
        Constant("multiplier", "int32_t", filter_.multipliers[:count], "one an output channel" if step else "for all"),
        Constant("shift", "int8_t", filter_.shifts[:count].astype(np.int8), "likewise"),
    )
    return code, tables
