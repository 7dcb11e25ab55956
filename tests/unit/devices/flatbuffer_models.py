"""Tiny .tflite files built by hand: no TensorFlow, and milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_KINDS = {"float32": 0, "int8": 9, "int32": 2, "string": 5, "float16": 1}


def tensor(
    name: str, shape: Sequence[int], dtype: str, buffer: int = 0, scale: float = 0.0, zero_point: int = 0
) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), _KINDS[dtype], buffer
    if scale:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
    return made


def code(number: int, version: int = 1, custom: str | None = None) -> Any:
    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = number, min(number, 127), version
    made.customCode = custom
    return made


def operator(index: int, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, kind: int = 0) -> Any:
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = index, list(inputs), list(outputs)
    made.builtinOptions, made.builtinOptionsType = options, kind
    return made


def pack(
    codes: list[Any], tensors: list[Any], operators: list[Any], constants: Sequence[Any], ends: tuple[int, int]
) -> bytes:
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, operators, [ends[0]], [ends[1]]
    buffers = [schema.BufferT()]
    for values in constants:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        buffers.append(buffer)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, codes, [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def dense(
    features: int = 16, classes: int = 4, dtype: str = "int8", version: int = 4, lost: int = 0, seed: int = 3
) -> bytes:
    """One FULLY_CONNECTED layer, int8 (scales 0.5 in, 0.25 weights, 1.0 out) or float32, with seeded weights.

    The last ``lost`` weights are missing: the file reads, and an interpreter refuses it.
    """
    rng = np.random.default_rng(seed)
    whole = dtype == "int8"
    weights = rng.integers(-9, 10, (classes, features)).astype(np.int8 if whole else np.float32)
    bias = np.zeros(classes, np.int32 if whole else np.float32)
    scales = (0.5, 0.25, 0.125, 1.0) if whole else (0.0,) * 4
    tensors = [
        tensor("input", (1, features), dtype, 0, scales[0]),
        tensor("weights", (classes, features), dtype, 1, scales[1]),
        tensor("bias", (classes,), "int32" if whole else "float32", 2, scales[2]),
        tensor("output", (1, classes), dtype, 0, scales[3], 3 if whole else 0),
    ]
    options = schema.FullyConnectedOptionsT()
    layer = operator(0, (0, 1, 2), (3,), options, schema.BuiltinOptions.FullyConnectedOptions)
    return pack(
        [code(schema.BuiltinOperator.FULLY_CONNECTED, version)],
        tensors,
        [layer],
        [weights.ravel()[: weights.size - lost], bias],
        (0, 3),
    )


def hungry(mebibytes: int) -> bytes:
    """TILE that blows one number up to so many MiB of float32: a small file with a large arena."""
    count = mebibytes << 18
    tensors = [
        tensor("input", (1, 1), "float32"),
        tensor("multiples", (2,), "int32", 1),
        tensor("large", (1, count), "float32"),
        tensor("axis", (1,), "int32", 2),
        tensor("output", (1,), "float32"),
    ]
    options = schema.ReducerOptionsT()
    steps = [
        operator(0, (0, 1), (2,)),
        operator(1, (2, 3), (4,), options, schema.BuiltinOptions.ReducerOptions),
    ]
    codes = [code(schema.BuiltinOperator.TILE), code(schema.BuiltinOperator.SUM)]
    return pack(codes, tensors, steps, [np.array([1, count], np.int32), np.array([1], np.int32)], (0, 4))


def with_operator(number: int, version: int = 1, custom: str | None = None, dtype: str = "float32") -> bytes:
    """One operator from one input to one output; never run."""
    scale = 1.0 if dtype == "int8" else 0.0
    tensors = [tensor(name, (1, 2), dtype, scale=scale) for name in ("input", "output")]
    return pack([code(number, version, custom)], tensors, [operator(0, (0,), (1,))], [], (0, 1))
