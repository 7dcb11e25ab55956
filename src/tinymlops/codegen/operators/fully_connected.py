"""FULLY_CONNECTED."""

from __future__ import annotations

from tinymlops.codegen import cmsis_nn
from tinymlops.codegen.layer import Constant, Layer, Lowered, place
from tinymlops.codegen.operators.weights import filter_of, folded_bias, requantization
from tinymlops.codegen.values import KernelSet

_MAX_SUMMANDS = 2**31 // (128 * 255) - 1
"""Products of an int8 and a centred int8 whose sum can't leave int32."""
_MAX_BIAS_ERROR = 0.02
"""How far the bias' scale may lie from input × weights, in output steps, before the reference refuses."""


def fully_connected(layer: Layer) -> Lowered:
    """FULLY_CONNECTED; weights of shape (outputs, inputs), with one scale or one an output.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    layer.count_inputs(2, 3)
    shape = layer.constant(1, "int8", "weights").shape
    layer.require(len(shape) == 2 and layer.option("WeightsFormat") == 0, f"has shuffled weights of shape {shape}")
    rows, columns = shape
    source, target = layer.activation(0), layer.result()
    batches = source.size // columns
    layer.require(
        batches * columns == source.size and target.size == batches * rows and target.shape[-1:] == (rows,),
        f"makes {target.shape} of {source.shape} with weights of shape {shape}",
    )
    layer.require(columns <= _MAX_SUMMANDS, f"sums {columns:,} products, more than 32 bits hold")
    per_tensor = len(layer.input(1).scales) == 1
    found = filter_of(layer, rows, 0, product_in_float32=per_tensor)
    _check_bias_scale(layer, per_tensor=per_tensor)
    macs = batches * rows * columns
    if layer.kernels is KernelSet.CMSIS_NN and per_tensor:
        return cmsis_nn.fully_connected(layer, (batches, rows, columns), found, macs)
    to, tables = requantization(layer, found)
    return Lowered(
        kernel="tinymlops_fully_connected_s8",
        code=(
            to,
            (
                f"tinymlops_fully_connected_s8(&to, {place(layer.input(0))}, @:weights@, @:bias@, "
                f"{batches}, {columns}, {rows}, {place(layer.output)});"
            ),
        ),
        constants=(
            Constant("weights", "int8_t", found.weights, "output, input"),
            Constant(
                "bias", "int32_t", folded_bias(found, source.zero_points[0], 0), "with the input's zero point folded in"
            ),
            *tables,
        ),
        macs=macs,
        sources=frozenset({"tinymlops_fully_connected.c", "tinymlops_matrix_vector.c"}),
    )


def _check_bias_scale(layer: Layer, *, per_tensor: bool) -> None:
    inputs = layer.node.inputs
    if not per_tensor or len(inputs) < 3 or inputs[2] < 0:
        return
    bias = layer.input(2).scales[:1] or (0.0,)
    error = abs(layer.input(0).scales[0] * layer.input(1).scales[0] - bias[0]) / layer.result().scales[0]
    layer.require(error <= _MAX_BIAS_ERROR, "has biases of another scale than input times weights")
