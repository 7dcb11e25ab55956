"""The first subgraph of a ``.tflite`` as plain values: what the generator needs of tensors, operators and options.

Everything that the flatbuffer says is checked here once, so that nothing after it meets a number that can't be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymlops.errors import DoesNotRunError, ModelFileError
from tinymlops.model_file import Walk, guarded, read_model

_MAX_BYTES = 2**31 - 1
"""A tensor in the 32-bit address space; C's int32_t counts its values."""
_MAX_OPERATORS = 2000
_MAX_INPUTS = 100
_MAX_SHARING = 16
"""Constants may share bytes of the file, but not so often that they fill the memory of this machine."""
Options = dict[str, int | float]
# Options' class in the schema → fields that lowering reads
_OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CONV_2D": (
        "Conv2DOptions",
        ("Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor", "FusedActivationFunction"),
    ),
    "DEPTHWISE_CONV_2D": (
        "DepthwiseConv2DOptions",
        ("Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor", "FusedActivationFunction"),
    ),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("FusedActivationFunction", "WeightsFormat")),
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "SUB": ("SubOptions", ("FusedActivationFunction",)),
    "MUL": ("MulOptions", ("FusedActivationFunction",)),
    "AVERAGE_POOL_2D": (
        "Pool2DOptions",
        ("Padding", "StrideH", "StrideW", "FilterHeight", "FilterWidth", "FusedActivationFunction"),
    ),
    "MAX_POOL_2D": (
        "Pool2DOptions",
        ("Padding", "StrideH", "StrideW", "FilterHeight", "FilterWidth", "FusedActivationFunction"),
    ),
    "CONCATENATION": ("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "STRIDED_SLICE": (
        "StridedSliceOptions",
        ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset"),
    ),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", ("AlignCorners", "HalfPixelCenters")),
}


@dataclass(frozen=True)
class Tensor:
    """A tensor.

    Attributes:
        index: Its number in the subgraph.
        name: As the converter called it.
        shape: Sides, all known.
        dtype: NumPy's name.
        scales: Real value of one step: one, or one a channel; none where not quantized. float32 values.
        zero_points: Integers that stand for 0, as many.
        axis: That ``scales`` runs along.
        values: Of a constant, in its shape; None where it is computed.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    values: np.ndarray[Any, Any] | None

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """An operator where it stands in the model.

    Attributes:
        index: Place in the order of running.
        operator: Built-in name such as ``"CONV_2D"``, or the custom code.
        inputs: Numbers of tensors; -1 where an optional one is left out.
        outputs: Likewise.
        options: Fields of the operator's options by their names in the schema.
    """

    index: int
    operator: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options


@dataclass(frozen=True)
class Graph:
    """A model's only subgraph.

    Attributes:
        tensors: By number.
        nodes: In the order they run.
        inputs: Numbers of the model's input tensors.
        outputs: Likewise.
    """

    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(content: bytes, source: str) -> Graph:
    """Read the one subgraph of a model.

    Args:
        content: The ``.tflite``.
        source: Name for messages.

    Raises:
        ModelFileError: The bytes are not a whole model, or operators use what does not exist yet.
        DoesNotRunError: Several subgraphs, or sides that are known only when running.
    """
    read_model(content, source)
    graph = guarded(source, lambda: _read(Walk(content), source))
    _check_order(graph, source)
    return graph


def _read(walk: Walk, source: str) -> Graph:
    graphs = list(walk.graphs())
    if len(graphs) > 1:
        raise DoesNotRunError(
            f"{source} has {len(graphs)} subgraphs, and control flow has no generated form",
            "unroll the loop or the branch and convert again",
        )
    graph, codes = graphs[0], walk.codes()
    if graph.OperatorsLength() > _MAX_OPERATORS or graph.InputsLength() > _MAX_INPUTS:
        raise DoesNotRunError(
            f"{source} has {graph.OperatorsLength():,} operators and {graph.InputsLength():,} inputs, and the most are "
            f"{_MAX_OPERATORS:,} and {_MAX_INPUTS}",
            "make the network smaller",
        )
    tensors = _tensors(walk, graph, source)
    return Graph(
        tensors=tensors,
        nodes=tuple(
            _node(walk, index, operator, codes[walk.code_index(operator, codes)][0], len(tensors))
            for index, operator in enumerate(walk.operators(graph))
        ),
        inputs=tuple(walk.numbers(graph.InputsLength, graph.Inputs)),
        outputs=tuple(walk.numbers(graph.OutputsLength, graph.Outputs)),
    )


def _tensors(walk: Walk, graph: Any, source: str) -> tuple[Tensor, ...]:
    tensors, constant_bytes = [], 0
    for index, _ in enumerate(walk.tensors(graph)):
        tensor = _tensor(walk, graph, index, source)
        constant_bytes += 0 if tensor.values is None else tensor.values.nbytes
        if constant_bytes > _MAX_SHARING * len(walk.content):
            raise ValueError("more constants than its bytes can hold")
        tensors.append(tensor)
    return tuple(tensors)


def _tensor(walk: Walk, graph: Any, index: int, source: str) -> Tensor:
    tensor = walk.tensor(graph, index)
    name = walk.text(tensor.Name())
    scales, zero_points, axis = _quantization(walk, tensor)
    return Tensor(
        index=index,
        name=name,
        shape=_static_shape(walk, tensor, f"{source} has a tensor {name!r}"),
        dtype=walk.dtype(tensor),
        scales=scales,
        zero_points=zero_points,
        axis=axis,
        values=_values(walk, tensor),
    )


def _static_shape(walk: Walk, tensor: Any, what: str) -> tuple[int, ...]:
    """The shape, where only the number of rows may have been left open: a device runs one row."""
    signature = walk.shape(tensor)
    shape = tuple(int(side) for side in walk.numbers(tensor.ShapeLength, tensor.Shape))
    if any(side < 0 for side in (*signature[1:], *shape)) or (signature[:1] == (-1,) and shape[:1] != (1,)):
        raise DoesNotRunError(f"{what} of shape {signature}, known only when running", "convert with a fixed shape")
    if math.prod(shape) > _MAX_BYTES:
        raise DoesNotRunError(
            f"{what} of {math.prod(shape):,} values, more than a 32-bit processor can address",
            "make the layers before it smaller",
        )
    if 0 in shape:
        raise DoesNotRunError(f"{what} without values (shape {shape})", "convert with a fixed shape")
    return shape


def _quantization(walk: Walk, tensor: Any) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    found = tensor.Quantization()
    if found is None or found.ScaleLength() == 0:
        return (), (), 0
    scales = tuple(float(scale) for scale in walk.numbers(found.ScaleLength, found.Scale))
    zero_points = tuple(int(point) for point in walk.numbers(found.ZeroPointLength, found.ZeroPoint))
    zero_points = zero_points or (0,) * len(scales)
    if len(zero_points) != len(scales):
        raise ValueError(f"{len(scales)} scales and {len(zero_points)} zero points")
    if not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise ValueError("a scale that is not a positive number")
    return scales, zero_points, int(found.QuantizedDimension())


def _values(walk: Walk, tensor: Any) -> np.ndarray[Any, Any] | None:
    if walk.dtype(tensor) == "string":
        return None
    values = walk.constant(tensor)
    if values is not None:
        values = values.reshape(tuple(tensor.Shape(i) for i in range(tensor.ShapeLength())))
        values.flags.writeable = False
    return values


def _node(walk: Walk, index: int, operator: Any, name: str, tensors: int) -> Node:
    inputs = tuple(walk.numbers(operator.InputsLength, operator.Inputs))
    outputs = tuple(walk.numbers(operator.OutputsLength, operator.Outputs))
    if any(not -1 <= i < tensors for i in inputs) or any(not 0 <= i < tensors for i in outputs):
        raise ValueError(f"operator {index} uses a tensor that does not exist")
    return Node(index, name, inputs, outputs, _options(operator, name))


def _options(operator: Any, name: str) -> Options:
    from ai_edge_litert import schema_py_generated as schema

    if name not in _OPTIONS:
        return {}
    class_name, fields = _OPTIONS[name]
    table = operator.BuiltinOptions()
    if table is None or operator.BuiltinOptionsType() != getattr(schema.BuiltinOptions, class_name):
        raise ValueError(f"{name} without its options")
    options = getattr(schema, class_name)()
    options.Init(table.Bytes, table.Pos)
    return {field: _number(getattr(options, field)) for field in fields}


def _number(get: Callable[[], Any]) -> int | float:
    value = get()
    return float(value) if isinstance(value, float) else int(value)


def _check_order(graph: Graph, source: str) -> None:
    """Every tensor is made once, before it is used."""
    tensors = range(len(graph.tensors))
    known = {tensor.index for tensor in graph.tensors if tensor.values is not None} | {-1}
    made = set(known)
    for index in graph.inputs:
        if index not in tensors or index in made:
            raise _corrupt(source, f"input {index} does not exist, or twice")
        made.add(index)
    for node in graph.nodes:
        if not made.issuperset(node.inputs) or not made.isdisjoint(node.outputs):
            raise _corrupt(source, f"operator {node.index} ({node.operator}) uses a tensor before it is made")
        made.update(node.outputs)
    if not graph.inputs or not graph.outputs or not made.issuperset(graph.outputs) or -1 in graph.outputs:
        raise _corrupt(source, "an output that nothing computes")


def _corrupt(source: str, reason: str) -> ModelFileError:
    return ModelFileError(f"{source} is corrupt or truncated ({reason})", "convert the model again")
