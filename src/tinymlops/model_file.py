"""What is inside a .tflite: tensors, operators, weights. Whatever the bytes are, the answer is a value or one sentence.

Nothing here runs a model: a file that parses can still crash an interpreter, so models run in their own process.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from tinymlops.errors import ModelFileError

_IDENTIFIER = b"TFL3"
_MAX_RANK = 16
_MAX_NAME_BYTES = 4096
_DTYPES = {
    "FLOAT32": "float32", "FLOAT16": "float16", "FLOAT64": "float64", "BFLOAT16": "bfloat16",
    "INT4": "int4", "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "BOOL": "bool", "STRING": "string", "COMPLEX64": "complex64", "COMPLEX128": "complex128",
}  # fmt: skip
_T = TypeVar("_T")
_NOT_INTEGER = frozenset({"float32", "float16", "float64", "bfloat16", "complex64", "complex128", "string"})
_OUTPUT_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
# What pure Python raises when an offset, a length or a text in the file is nonsense
_NONSENSE = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, MemoryError, KeyError)


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as the file declares it.

    Attributes:
        name: As the converter called it.
        shape: Sides; a dynamic side is -1.
        dtype: NumPy's name, or ``"int4"``, ``"bfloat16"``, ``"string"``.
        scale: Real value of one step; 0 where the tensor is not quantized.
        zero_point: Integer that stands for 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def one_row(self) -> tuple[int, ...]:
        """The shape of a single inference: dynamic sides are 1."""
        return tuple(max(side, 1) for side in self.shape)

    @property
    def size(self) -> int:
        """Values in one inference."""
        return math.prod(self.one_row)


@dataclass(frozen=True)
class Operator:
    """An operator of the model.

    Attributes:
        name: Built-in name such as ``"CONV_2D"``, or the custom code.
        version: As the file asks for it.
        count: How often it is used.
        custom: True where the runtime must bring a kernel that is not built in.
    """

    name: str
    version: int
    count: int
    custom: bool = False


@dataclass(frozen=True)
class WeightTensor:
    """Constant kernel of a convolution or dense layer.

    Attributes:
        name: Name of the tensor.
        operator: ``CONV_2D``, ``DEPTHWISE_CONV_2D`` or ``FULLY_CONNECTED``.
        values: As stored: integers where quantized, halves where the recipe is float16.
        output_channel_axis: Axis of ``values`` that counts output channels.
    """

    name: str
    operator: str
    values: np.ndarray[Any, Any]
    output_channel_axis: int


@dataclass(frozen=True)
class ModelFile:
    """A readable .tflite.

    Attributes:
        source: Name for messages.
        inputs: Of the first subgraph, in order.
        outputs: Likewise.
        operators: Sorted by name and version, over all subgraphs.
        dtypes: Of every tensor in the file.
        content: The file itself.
    """

    source: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[Operator, ...]
    dtypes: frozenset[str]
    content: bytes

    @property
    def fully_integer(self) -> bool:
        """True where inputs, outputs, weights and everything between them are integers."""
        return not self.dtypes & _NOT_INTEGER

    def weight_tensors(self) -> tuple[WeightTensor, ...]:
        """Constant kernels of convolution and dense layers, each once, in the order of the layers.

        Raises:
            ModelFileError: A kernel's bytes do not fit its shape.
        """
        return guarded(self.source, lambda: tuple(Walk(self.content).weights()))


def read_model(content: bytes, source: str) -> ModelFile:
    """Read a .tflite from memory.

    Args:
        content: The file.
        source: Name for messages, for example its path.

    Raises:
        ModelFileError: The bytes are not a whole TensorFlow Lite model.
    """
    if content[4:8] != _IDENTIFIER:
        raise ModelFileError(
            f"{source} is not a TensorFlow Lite model (its bytes 4–7 are not TFL3)"
            if content
            else f"{source} is empty",
            "give the .tflite file that the converter wrote",
        )
    return guarded(source, lambda: _read(Walk(content), source))


def guarded(source: str, read: Callable[[], _T]) -> _T:
    """``read()``, with whatever nonsense in the bytes raises turned into one sentence.

    Raises:
        ModelFileError: The bytes are nonsense.
    """
    try:
        return read()
    except _NONSENSE as error:
        raise ModelFileError(
            f"{source} is corrupt or truncated ({error or type(error).__name__})",
            "convert the model again or copy the file anew",
        ) from error


def _read(walk: Walk, source: str) -> ModelFile:
    graphs = list(walk.graphs())
    first = graphs[0]
    operators = Counter(code for graph in graphs for code in walk.codes_used(graph))
    dtypes = frozenset(walk.dtype(tensor) for graph in graphs for tensor in walk.tensors(graph))
    return ModelFile(
        source=source,
        inputs=tuple(walk.spec(first, i) for i in walk.numbers(first.InputsLength, first.Inputs)),
        outputs=tuple(walk.spec(first, i) for i in walk.numbers(first.OutputsLength, first.Outputs)),
        operators=tuple(
            Operator(name, version, count, custom) for (name, version, custom), count in sorted(operators.items())
        ),
        dtypes=dtypes,
        content=walk.content,
    )


@lru_cache(maxsize=1)
def _names() -> tuple[dict[int, str], dict[int, str]]:
    """Names of built-in operators and of tensor types, by their numbers in the schema."""
    from ai_edge_litert import schema_py_generated as schema

    operators = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    return operators, types


class Walk:
    """Walks the flatbuffer. Every length is checked against the file's size before anything is made of it."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.content = content
        self.model: Any = schema.Model.GetRootAs(content, 0)

    def _bounded(self, length: int, what: str, bytes_each: int = 4) -> range:
        if length * bytes_each > len(self.content):
            raise ValueError(f"{length} {what} do not fit in {len(self.content)} bytes")
        return range(length)

    def _present(self, thing: Any, what: str) -> Any:
        if thing is None:
            raise ValueError(f"a {what} is missing")
        return thing

    def numbers(self, length: Callable[[], int], get: Callable[[int], int]) -> Iterator[int]:
        """A vector of numbers."""
        return (get(i) for i in self._bounded(length(), "numbers"))

    def graphs(self) -> Iterator[Any]:
        """Subgraphs, at least one."""
        for i in self._bounded(max(self.model.SubgraphsLength(), 1), "subgraphs"):
            yield self._present(self.model.Subgraphs(i), "subgraph")

    def tensors(self, graph: Any) -> Iterator[Any]:
        """Tensors of a subgraph."""
        for i in self._bounded(graph.TensorsLength(), "tensors"):
            yield self._present(graph.Tensors(i), "tensor")

    def tensor(self, graph: Any, index: int) -> Any:
        """One tensor by its number."""
        if not 0 <= index < graph.TensorsLength():
            raise ValueError(f"tensor {index} does not exist")
        return self._present(graph.Tensors(index), "tensor")

    def dtype(self, tensor: Any) -> str:
        """Type of a tensor by name; a type newer than this list keeps the schema's name in small letters."""
        name = _names()[1].get(tensor.Type())
        if name is None:
            raise ValueError(f"tensor type {tensor.Type()} does not exist")
        return _DTYPES.get(name, name.lower())

    def shape(self, tensor: Any) -> tuple[int, ...]:
        """Sides of a tensor; a dynamic side is -1."""
        signature = tensor.ShapeSignatureLength() > 0
        length, get = (
            (tensor.ShapeSignatureLength, tensor.ShapeSignature) if signature else (tensor.ShapeLength, tensor.Shape)
        )
        if length() > _MAX_RANK:
            raise ValueError(f"a tensor of rank {length()}")
        shape = tuple(int(side) for side in self.numbers(length, get))
        if any(side < -1 for side in shape):
            raise ValueError(f"a tensor of shape {shape}")
        return shape

    def text(self, raw: bytes | None) -> str:
        """A name, cut to a sane length."""
        return (raw or b"")[:_MAX_NAME_BYTES].decode("utf-8", errors="replace")

    def spec(self, graph: Any, index: int) -> TensorSpec:
        """An input or output."""
        tensor = self.tensor(graph, index)
        quantization = tensor.Quantization()
        scale, zero_point = 0.0, 0
        if quantization is not None and quantization.ScaleLength() == 1:
            scale = float(quantization.Scale(0))
            zero_point = int(quantization.ZeroPoint(0)) if quantization.ZeroPointLength() else 0
        if not (math.isfinite(scale) and scale >= 0):
            raise ValueError(f"a tensor with scale {scale}")
        return TensorSpec(self.text(tensor.Name()), self.shape(tensor), self.dtype(tensor), scale, zero_point)

    def codes(self) -> list[tuple[str, int, bool]]:
        """Operator codes: name, version, custom."""
        return [
            self._code(self.model.OperatorCodes(i)) for i in self._bounded(self.model.OperatorCodesLength(), "codes")
        ]

    def _code(self, code: Any) -> tuple[str, int, bool]:
        # Models older than the 128th operator keep the number in the first field; the larger of both is meant
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = _names()[0].get(number, f"operator {number}")
        custom = name == "CUSTOM"
        return (self.text(code.CustomCode()) if custom else name, code.Version(), custom)

    def operators(self, graph: Any) -> Iterator[Any]:
        """Operators of a subgraph, in the order they run."""
        for i in self._bounded(graph.OperatorsLength(), "operators"):
            yield self._present(graph.Operators(i), "operator")

    def codes_used(self, graph: Any) -> Iterator[tuple[str, int, bool]]:
        """The code of every operator of a subgraph."""
        codes = self.codes()
        return (codes[self.code_index(operator, codes)] for operator in self.operators(graph))

    def code_index(self, operator: Any, codes: list[tuple[str, int, bool]]) -> int:
        """Place of an operator's code in ``codes``."""
        index = int(operator.OpcodeIndex())
        if index >= len(codes):
            raise ValueError(f"operator code {index} does not exist")
        return index

    def weights(self) -> Iterator[WeightTensor]:
        """Constant kernels; a float16 model stores them before a DEQUANTIZE."""
        codes = self.codes()
        for graph in self.graphs():
            stored, seen = {}, set()
            for operator in self.operators(graph):
                name = codes[self.code_index(operator, codes)][0]
                if name == "DEQUANTIZE":
                    stored[operator.Outputs(0)] = operator.Inputs(0)
                if name not in _OUTPUT_CHANNEL_AXIS or operator.InputsLength() < 2:
                    continue
                index = stored.get(operator.Inputs(1), operator.Inputs(1))
                tensor = self.tensor(graph, index)
                values = None if index in seen else self.constant(tensor)
                seen.add(index)
                if values is not None:
                    yield WeightTensor(self.text(tensor.Name()), name, values, _OUTPUT_CHANNEL_AXIS[name])

    def constant(self, tensor: Any) -> np.ndarray[Any, Any] | None:
        """Values of a constant tensor in its stored shape; None where they are computed."""
        if not 0 < tensor.Buffer() < self.model.BuffersLength():
            return None
        buffer = self._present(self.model.Buffers(tensor.Buffer()), "buffer")
        raw = self.content[buffer.Offset() : buffer.Offset() + buffer.Size()] if buffer.Offset() > 1 else b""
        if not raw and buffer.DataLength():
            self._bounded(buffer.DataLength(), "bytes of weights", 1)
            raw = buffer.DataAsNumpy().tobytes()
        if not raw:
            return None
        shape, dtype = self.shape(tensor), self.dtype(tensor)
        values = _unpack_int4(raw) if dtype == "int4" else np.frombuffer(raw, dtype)
        return values[: math.prod(shape)].reshape(shape)


def _unpack_int4(raw: bytes) -> np.ndarray[Any, Any]:
    """Two signed four-bit values a byte, the low half first."""
    packed = np.frombuffer(raw, np.int8)
    return np.stack([np.left_shift(packed, 4) >> 4, packed >> 4], axis=-1).reshape(-1)
