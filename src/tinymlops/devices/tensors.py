"""Between real numbers and the raw bytes of a model's tensors: quantize on the way in, dequantize on the way out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.devices.backend import TensorLayout
from tinymlops.errors import UsageError
from tinymlops.model_file import ModelFile, TensorSpec

Array = np.ndarray[Any, Any]


def encode(inputs: Array, model: ModelFile) -> bytes:
    """Rows of real numbers as raw input tensors, row behind row.

    Args:
        inputs: Shape ``(rows, ...)``; a row's values, flattened, are those of the model's inputs one behind the other.
        model: The model that they are for.

    Raises:
        UsageError: There are no rows, a row has another number of values, or a value is no number.
    """
    wanted = sum(spec.size for spec in model.inputs)
    rows = np.asarray(inputs).reshape(len(inputs), -1) if np.ndim(inputs) and len(inputs) else np.zeros((0, 0))
    if not len(rows):
        raise UsageError("there are no inputs to measure on", "give at least one row")
    if rows.shape[1] != wanted:
        raise UsageError(
            f"a row has {rows.shape[1]} values, and {model.source} takes {wanted}", "give rows of the model's shape"
        )
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise UsageError("the inputs hold NaN or infinity", "clean the data first")
    edges = np.cumsum([spec.size for spec in model.inputs])[:-1]
    parts = [quantize(part, spec) for part, spec in zip(np.split(rows, edges, axis=1), model.inputs, strict=True)]
    if len(parts) == 1:
        return parts[0].tobytes()
    return b"".join(values.tobytes() for row in zip(*parts, strict=True) for values in row)


def quantize(values: Array, spec: TensorSpec) -> Array:
    """Real numbers in the type of ``spec``: rounded to the nearest step, clipped to what the type holds."""
    kind = np.dtype(spec.dtype)
    if kind.kind in "fb":
        return np.ascontiguousarray(values, kind)
    steps = np.rint(values / np.float32(spec.scale)) + spec.zero_point if spec.scale else np.rint(values)
    limits = np.iinfo(kind)
    clipped: Array = np.clip(steps, limits.min, limits.max).astype(kind)
    return clipped


def decode(raw: bytes, layout: tuple[TensorLayout, ...], model: ModelFile, rows: int) -> Array:
    """Raw output tensors as real numbers, float32, shape ``(rows, values of all outputs)``.

    Raises:
        ValueError: The bytes are not ``rows`` rows of ``layout``.
    """
    row = np.dtype([(str(i), np.dtype(one.dtype), (int(np.prod(one.shape)),)) for i, one in enumerate(layout)])
    table = np.frombuffer(raw, row)
    if len(table) != rows:
        raise ValueError(f"{len(table)} rows of outputs for {rows} of inputs")
    pairs = zip(table.dtype.names or (), model.outputs, strict=True)
    return np.concatenate([dequantize(table[name], spec) for name, spec in pairs], axis=1)


def dequantize(values: Array, spec: TensorSpec) -> Array:
    """Raw values of ``spec`` as float32."""
    if spec.scale and values.dtype.kind in "iu":
        return (values.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)
    return values.astype(np.float32)
