"""Calls of Arm's CMSIS-NN."""

from __future__ import annotations

import numpy as np

from tinymlops.codegen.layer import SCRATCH, Constant, Layer, Lowered, place, struct
from tinymlops.codegen.operators.weights import Filter
from tinymlops.codegen.operators.windows import Window
from tinymlops.codegen.values import Helium

_MAX_SIDE = 2**15 - 1
"""Some kernels keep sides and positions in 16 bits."""
_CHANNELS_AT_ONCE = 124
"""Channels that the Helium depthwise kernel gathers at a time (CH_IN_BLOCK_MVE)."""


def covers(window: Window) -> bool:
    """True where CMSIS-NN's 16-bit positions suffice."""
    furthest = [
        (places - 1) * stride + (kernel - 1) * dilation + 1
        for places, stride, kernel, dilation in zip(
            window.output, window.stride, window.kernel, window.dilation, strict=True
        )
    ]
    return max(*window.input, window.channels, window.output_channels, *window.dilation, *furthest) <= _MAX_SIDE


def _scratch(layer: Layer, *, plain: int, helium: int) -> int:
    """Working memory for the cores that the code is planned for; ``get_buffer_size`` of the kernels in numbers."""
    return {Helium.WITH: helium, Helium.WITHOUT: plain, Helium.ANY: max(plain, helium)}[layer.helium]


def _dims(name: str, sides: tuple[int, int, int, int]) -> str:
    return struct("cmsis_nn_dims", name, dict(zip("nhwc", sides, strict=True)))


def _tile(pair: tuple[int, int]) -> str:
    return f"{{.w = {pair[1]}, .h = {pair[0]}}}"


def _context(scratch: int) -> str:
    return struct("cmsis_nn_context", "context", {"buf": SCRATCH if scratch else "0", "size": scratch})


def _constants(found: Filter, order: str) -> tuple[Constant, ...]:
    return (
        Constant("weights", "int8_t", found.weights, order),
        Constant("bias", "int32_t", np.asarray(found.bias), "one an output channel"),
    )


def _per_channel(found: Filter) -> tuple[Constant, ...]:
    return (
        Constant("multiplier", "int32_t", found.multipliers, "one an output channel"),
        Constant("shift", "int32_t", found.shifts, "likewise"),
    )


# CMSIS-NN declares the tables it only reads as pointers to values that may change
_TO = struct(
    "cmsis_nn_per_channel_quant_params",
    "to",
    {"multiplier": "(int32_t *)@:multiplier@", "shift": "(int32_t *)@:shift@"},
)


def _parameters(layer: Layer, window: Window, found: Filter, extra: dict[str, str | int]) -> dict[str, str | int]:
    return {
        "input_offset": -layer.activation(0).zero_points[0],
        "output_offset": layer.result().zero_points[0],
        **extra,
        "stride": _tile(window.stride),
        "padding": _tile(window.pad),
        "dilation": _tile(window.dilation),
        "activation": f"{{.min = {found.low}, .max = {found.high}}}",
    }


def convolution(layer: Layer, window: Window, found: Filter, macs: int) -> Lowered:
    """CONV_2D by ``arm_convolve_wrapper_s8``, which chooses among its kernels by the layer's geometry."""
    columns = window.taps * window.channels
    pointwise = window.taps == 1 and window.pad == (0, 0) and window.dilation == (1, 1)
    rowwise = window.input[0] == 1 and window.kernel[0] == 1 and window.dilation[1] == 1 and window.output[1] % 4 == 0
    # two columns of int16, or four of int8 in whole vectors
    scratch = 0 if pointwise else _scratch(layer, plain=4 * columns, helium=0 if rowwise else 4 * 8 * -(-columns // 8))
    how = _parameters(layer, window, found, {})
    return Lowered(
        kernel="arm_convolve_wrapper_s8",
        code=(
            struct("cmsis_nn_conv_params", "how", how),
            _TO,
            _dims("in", (1, *window.input, window.channels)),
            _dims("filter", (window.output_channels, *window.kernel, window.channels)),
            _dims("biases", (1, 1, 1, window.output_channels)),
            _dims("out", (1, *window.output, window.output_channels)),
            _context(scratch),
            (
                f"(void)arm_convolve_wrapper_s8(&context, &how, &to, &in, {place(layer.input(0))}, &filter, "
                f"@:weights@, &biases, @:bias@, &out, {place(layer.output)});"
            ),
        ),
        constants=(*_constants(found, "output channel, row, column, input channel"), *_per_channel(found)),
        macs=macs,
        scratch_bytes=scratch,
    )


def depthwise_convolution(layer: Layer, window: Window, found: Filter, macs: int) -> Lowered:
    """DEPTHWISE_CONV_2D by ``arm_depthwise_conv_wrapper_s8``."""
    multiplier = window.output_channels // window.channels
    optimized = multiplier == 1 and window.dilation == (1, 1)
    small = window.kernel == (3, 3) and max(window.pad) <= 1
    # a window of int16 unless it is 3x3, or four windows of int8 for a block of channels
    scratch = (
        _scratch(
            layer,
            plain=0 if small else 2 * window.channels * window.taps,
            helium=4 * _CHANNELS_AT_ONCE * window.taps,
        )
        if optimized
        else 0
    )
    how = _parameters(layer, window, found, {"ch_mult": multiplier})
    return Lowered(
        kernel="arm_depthwise_conv_wrapper_s8",
        code=(
            struct("cmsis_nn_dw_conv_params", "how", how),
            _TO,
            _dims("in", (1, *window.input, window.channels)),
            _dims("filter", (1, *window.kernel, window.output_channels)),
            _dims("biases", (1, 1, 1, window.output_channels)),
            _dims("out", (1, *window.output, window.output_channels)),
            _context(scratch),
            (
                f"(void)arm_depthwise_conv_wrapper_s8(&context, &how, &to, &in, {place(layer.input(0))}, &filter, "
                f"@:weights@, &biases, @:bias@, &out, {place(layer.output)});"
            ),
        ),
        constants=(*_constants(found, "row, column, output channel"), *_per_channel(found)),
        macs=macs,
        scratch_bytes=scratch,
    )


def fully_connected(layer: Layer, sides: tuple[int, int, int], found: Filter, macs: int) -> Lowered:
    """FULLY_CONNECTED with one scale by ``arm_fully_connected_s8``; sides are batches, rows, columns."""
    batches, rows, columns = sides
    how: dict[str, str | int] = {
        "input_offset": -layer.activation(0).zero_points[0],
        "filter_offset": 0,
        "output_offset": layer.result().zero_points[0],
        "activation": f"{{.min = {found.low}, .max = {found.high}}}",
    }
    to: dict[str, str | int] = {"multiplier": int(found.multipliers[0]), "shift": int(found.shifts[0])}
    return Lowered(
        kernel="arm_fully_connected_s8",
        code=(
            struct("cmsis_nn_fc_params", "how", how),
            struct("cmsis_nn_per_tensor_quant_params", "to", to),
            _dims("in", (batches, 1, 1, columns)),
            _dims("filter", (columns, 1, 1, rows)),
            _dims("biases", (1, 1, 1, rows)),
            _dims("out", (batches, 1, 1, rows)),
            _context(0),
            (
                f"(void)arm_fully_connected_s8(&context, &how, &to, &in, {place(layer.input(0))}, &filter, @:weights@, "
                f"&biases, @:bias@, &out, {place(layer.output)});"
            ),
        ),
        constants=_constants(found, "output, input"),
        macs=macs,
    )


def pool(layer: Layer, window: Window, kind: str, clamp: tuple[int, int]) -> Lowered:
    """AVERAGE_POOL_2D and MAX_POOL_2D; ``kind`` is ``"average"`` or ``"max"``."""
    kernel = "arm_avgpool_s8" if kind == "average" else "arm_max_pool_s8"
    scratch = _scratch(layer, plain=4 * window.channels, helium=0) if kind == "average" else 0
    how: dict[str, str | int] = {
        "stride": _tile(window.stride),
        "padding": _tile(window.pad),
        "activation": f"{{.min = {clamp[0]}, .max = {clamp[1]}}}",
    }
    return Lowered(
        kernel=kernel,
        code=(
            struct("cmsis_nn_pool_params", "how", how),
            _dims("in", (1, *window.input, window.channels)),
            _dims("filter", (1, *window.kernel, 1)),
            _dims("out", (1, *window.output, window.channels)),
            _context(scratch),
            f"(void){kernel}(&context, &how, &in, {place(layer.input(0))}, &filter, &out, {place(layer.output)});",
        ),
        scratch_bytes=scratch,
    )
