"""CONV_2D and DEPTHWISE_CONV_2D."""

from __future__ import annotations

import numpy as np

from tinymlops.codegen import cmsis_nn
from tinymlops.codegen.layer import Constant, Layer, Lowered, place
from tinymlops.codegen.operators.weights import Filter, filter_of, folded_bias, requantization
from tinymlops.codegen.operators.windows import Window, window_of
from tinymlops.codegen.values import KernelSet

_MAX_SUMMANDS = 2**31 // (128 * 128) - 1
"""Products of two int8 whose sum can't leave int32."""
_MAX_CENTRED_SUMMANDS = 2**31 // (128 * 255) - 1
"""Likewise where the input's zero point has been subtracted."""


def convolution(layer: Layer) -> Lowered:
    """CONV_2D; weights of shape (output channels, height, width, input channels).

    Raises:
        DoesNotRunError: A form without generated code.
    """
    layer.count_inputs(2, 3)
    shape = layer.constant(1, "int8", "weights").shape
    layer.require(len(shape) == 4, f"has weights of shape {shape}")
    window = window_of(layer, (shape[1], shape[2]), _dilation(layer))
    layer.require(
        shape[3] == window.channels, f"is a grouped convolution ({shape[3]} of {window.channels} input channels)"
    )
    layer.require(shape[0] == window.output_channels, f"has weights for {shape[0]} output channels")
    summands = window.taps * window.channels
    layer.require(summands <= _MAX_SUMMANDS, f"sums {summands:,} products, more than 32 bits hold")
    found = filter_of(layer, shape[0], 0)
    macs = window.places * window.output_channels * summands
    if layer.kernels is KernelSet.CMSIS_NN and cmsis_nn.covers(window):
        return cmsis_nn.convolution(layer, window, found, macs)
    return _portable(layer, window, found, macs)


def _portable(layer: Layer, window: Window, found: Filter, macs: int) -> Lowered:
    zero_point = layer.activation(0).zero_points[0]
    to, tables = requantization(layer, found)
    return Lowered(
        kernel="tinymlops_conv_2d_s8",
        code=(
            window.code(zero_point),
            to,
            f"tinymlops_conv_2d_s8(&window, &to, {place(layer.input(0))}, @:weights@, @:bias@, {place(layer.output)});",
        ),
        constants=(
            Constant("weights", "int8_t", found.weights, "output channel, row, column, input channel"),
            Constant("bias", "int32_t", folded_bias(found, zero_point, 0), "with the input's zero point folded in"),
            *tables,
        ),
        macs=macs,
        sources=frozenset({"tinymlops_conv_2d.c", "tinymlops_matrix_vector.c"}),
    )


def depthwise_convolution(layer: Layer) -> Lowered:
    """DEPTHWISE_CONV_2D; weights of shape (1, height, width, output channels).

    Raises:
        DoesNotRunError: A form without generated code.
    """
    layer.count_inputs(2, 3)
    shape = layer.constant(1, "int8", "weights").shape
    layer.require(len(shape) == 4 and shape[0] == 1, f"has weights of shape {shape}")
    window = window_of(layer, (shape[1], shape[2]), _dilation(layer))
    layer.require(
        shape[3] == window.output_channels and window.output_channels % window.channels == 0,
        f"makes {window.output_channels} channels of {window.channels} with weights of shape {shape}",
    )
    layer.require(window.taps <= _MAX_CENTRED_SUMMANDS, f"sums {window.taps:,} products, more than 32 bits hold")
    found = filter_of(layer, window.output_channels, 3)
    macs = window.places * window.output_channels * window.taps
    if layer.kernels is KernelSet.CMSIS_NN and cmsis_nn.covers(window):
        return cmsis_nn.depthwise_convolution(layer, window, found, macs)
    to, tables = requantization(layer, found)
    return Lowered(
        kernel="tinymlops_depthwise_conv_2d_s8",
        code=(
            window.code(layer.activation(0).zero_points[0]),
            to,
            (
                f"tinymlops_depthwise_conv_2d_s8(&window, &to, {place(layer.input(0))}, @:weights@, @:bias@, "
                f"{place(layer.output)});"
            ),
        ),
        constants=(
            Constant("weights", "int8_t", found.weights, "row, column, output channel"),
            Constant("bias", "int32_t", np.asarray(found.bias), "one an output channel"),
            *tables,
        ),
        macs=macs,
        sources=frozenset({"tinymlops_depthwise_conv_2d.c"}),
    )


def _dilation(layer: Layer) -> tuple[int, int]:
    return layer.option("DilationHFactor"), layer.option("DilationWFactor")
