"""Real values in, real values out: what stands around a quantized model."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tinymlops.errors import FormatError, UsageError
from tinymlops.wire.manifest import Manifest, Tensor

Floats = npt.NDArray[np.float32]
_DTYPES = frozenset({"float32", "int8", "uint8", "int16"})


class InputTensor:
    """Turns a window of real values into a model's input: q = round(x / scale) + zero point, clipped.

    Args:
        tensor: Of the manifest.

    Raises:
        FormatError: A type or shape that no model of ours has.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.dtype = _dtype(tensor)
        self.shape = tensor.shape
        self.size = math.prod(self.shape)
        self._quantized = self.dtype.kind != "f"
        self._per_unit = np.float32(1.0 / tensor.scale) if tensor.scale else np.float32(1.0)
        self._zero = np.float32(tensor.zero_point)
        if self._quantized:
            limits = np.iinfo(self.dtype.name)
            self._low, self._high = np.float32(limits.min), np.float32(limits.max)

    def of(self, values: npt.ArrayLike) -> npt.NDArray[np.generic]:
        """The raw tensor for ``values``, which may have the model's shape, with or without the leading 1, or be flat.

        Raises:
            UsageError: Another number of values, or something that is no number.
        """
        return self.raw(self.real(values))

    def raw(self, real: Floats) -> npt.NDArray[np.generic]:
        """The raw tensor for what `real` gave."""
        if not self._quantized:
            return real
        scaled = real * self._per_unit
        scaled += self._zero
        np.rint(scaled, out=scaled)
        # The ufuncs, since np.clip takes three times as long around them
        np.maximum(scaled, self._low, out=scaled)
        np.minimum(scaled, self._high, out=scaled)
        return scaled.astype(self.dtype)

    def raw_rows(self, content: bytes, rows: int) -> npt.NDArray[np.generic]:
        """Rows of raw tensors, one behind the other, as an array of shape rows × the model's shape.

        Raises:
            FormatError: Another length.
        """
        return _rows(content, rows, self.dtype, self.shape)

    def real(self, values: npt.ArrayLike) -> Floats:
        """``values`` in the model's shape, which may still be the caller's own memory; raises as `of` does."""
        try:
            real = np.asarray(values, np.float32)
        except (ValueError, TypeError, OverflowError) as error:
            raise UsageError(f"the input is not an array of numbers ({error})", self._wanted()) from error
        if real.shape != self.shape:
            if real.size != self.size or real.shape not in {self.shape[1:], (self.size,)}:
                raise UsageError(f"the input has the shape {list(real.shape)}", self._wanted())
            real = real.reshape(self.shape)
        if not np.isfinite(real).all():
            raise UsageError("the input holds values that are not finite", self._wanted())
        return real

    def _wanted(self) -> str:
        return f"give {self.size} finite numbers of shape {list(self.shape[1:])}"


class OutputTensor:
    """Turns a model's output into real values: x = (q − zero point) × scale.

    Args:
        tensor: Of the manifest.

    Raises:
        FormatError: A type or shape that no model of ours has.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.dtype = _dtype(tensor)
        self.shape = tensor.shape
        self._scale = np.float32(tensor.scale or 1.0)
        self._zero = np.float32(tensor.zero_point)
        self._quantized = self.dtype.kind != "f"

    def real(self, raw: npt.NDArray[np.generic]) -> Floats:
        """The real values, flat."""
        values = raw.ravel().astype(np.float32)
        if self._quantized:
            values -= self._zero
            values *= self._scale
        return values

    def raw_rows(self, content: bytes, rows: int) -> npt.NDArray[np.generic]:
        """Rows of raw tensors, one behind the other; raises `FormatError` where the length is another."""
        return _rows(content, rows, self.dtype, self.shape)


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities whose logits are divided by ``temperature`` (Guo et al. 2017 §4.2, out of the probabilities)."""
    sharpened = np.power(np.maximum(probabilities, np.float32(1e-12)), np.float32(1.0 / temperature))
    normal: Floats = sharpened / sharpened.sum()
    return normal


def check_tensors(manifest: Manifest) -> None:
    """Raise `FormatError` where a manifest's tensors, labels and self-test do not fit together."""
    check_features(manifest)
    source, target = InputTensor(manifest.input), OutputTensor(manifest.output)
    if len(manifest.labels) != math.prod(target.shape):
        raise FormatError(
            f"the manifest names {len(manifest.labels)} labels for {math.prod(target.shape)} outputs",
            "the owner has to release it anew",
        )
    source.raw_rows(manifest.self_test.inputs, manifest.self_test.rows)
    target.raw_rows(manifest.self_test.outputs, manifest.self_test.rows)


def check_features(manifest: Manifest) -> None:
    """Raise `FormatError` where a manifest counts channels that its input does not have."""
    if any(histogram.channel >= manifest.input.shape[-1] for histogram in manifest.histograms):
        raise FormatError("the manifest counts channels that its input does not have", "the owner has to mend it")


def _dtype(tensor: Tensor) -> np.dtype[np.generic]:
    if tensor.dtype not in _DTYPES or not tensor.shape or min(tensor.shape) < 1 or math.prod(tensor.shape) > 2**26:
        raise FormatError(
            f"a tensor of type {tensor.dtype!r} and shape {list(tensor.shape)} is not known", "update the agent"
        )
    if tensor.dtype != "float32" and not (tensor.scale and math.isfinite(tensor.scale) and tensor.scale > 0):
        raise FormatError("a quantized tensor has no scale", "the owner has to release it anew")
    return np.dtype(tensor.dtype)


def _rows(content: bytes, rows: int, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    if len(content) != rows * math.prod(shape) * dtype.itemsize:
        raise FormatError("the self-test of a manifest has another size than it says", "the owner has to mend it")
    return np.frombuffer(content, dtype).reshape(rows, *shape)
