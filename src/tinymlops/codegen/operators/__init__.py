"""How each operator becomes C: one file a family, one function an operator."""

from collections.abc import Callable

from tinymlops.codegen.layer import Layer, Lowered
from tinymlops.codegen.operators import convolution, elementwise, fully_connected, mean, movement, pooling, tables

LOWERINGS: dict[str, Callable[[Layer], Lowered]] = {
    "ADD": elementwise.add,
    "AVERAGE_POOL_2D": pooling.average_pool,
    "CONCATENATION": movement.concatenation,
    "CONV_2D": convolution.convolution,
    "DEPTHWISE_CONV_2D": convolution.depthwise_convolution,
    "EXPAND_DIMS": movement.reshape,
    "FULLY_CONNECTED": fully_connected.fully_connected,
    "HARD_SWISH": tables.hard_swish,
    "LOGISTIC": tables.logistic,
    "MAX_POOL_2D": pooling.max_pool,
    "MEAN": mean.mean,
    "MUL": elementwise.multiply,
    "PAD": movement.pad,
    "PADV2": movement.pad,
    "QUANTIZE": tables.quantize,
    "RELU": tables.relu,
    "RELU6": tables.relu6,
    "RESHAPE": movement.reshape,
    "RESIZE_NEAREST_NEIGHBOR": movement.resize_nearest,
    "SOFTMAX": tables.softmax,
    "SQUEEZE": movement.reshape,
    "STRIDED_SLICE": movement.strided_slice,
    "SUB": elementwise.subtract,
}
"""TFLite's name → what turns a layer into C; raises DoesNotRunError for a form that has none."""
