"""A variant that is ready to answer: real values in, labels and confidences out."""

from __future__ import annotations

import threading
import time

import msgspec
import numpy as np
import numpy.typing as npt

from tinymlops.edge.seams import Interpreter
from tinymlops.edge.tensors import Floats, InputTensor, OutputTensor, tempered
from tinymlops.errors import DoesNotRunError
from tinymlops.wire.manifest import Manifest

_REMEMBERED = 1024


class Prediction(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        label: The most probable class; empty for a model that does not classify.
        confidences: One for each label: probabilities of classes, or the output values of a model that does not
            classify.
        latency_us: From the values to this answer.
        version: Of the release.
        recipe: Of the variant that answered.
        id: To tell the truth by, once it is known (`Model.feedback`).
    """

    label: str
    confidences: tuple[float, ...]
    latency_us: float
    version: int
    recipe: str
    id: int = 0


class Latencies:
    """The last 1,024 latencies, in microseconds."""

    def __init__(self) -> None:
        self._ring = [0.0] * _REMEMBERED
        self._count = 0

    def add(self, latency_us: float) -> None:
        """Remember one."""
        self._ring[self._count % _REMEMBERED] = latency_us
        self._count += 1

    def percentiles(self) -> tuple[float, float] | None:
        """Median and 95th percentile, or None before the first query."""
        if not self._count:
            return None
        p50, p95 = np.percentile(self._ring[: min(self._count, _REMEMBERED)], (50, 95))
        return float(p50), float(p95)


class ReadyVariant:
    """A variant with its interpreter; one query at a time.

    Args:
        manifest: Of the variant.
        interpreter: Of its model.
    """

    def __init__(self, manifest: Manifest, interpreter: Interpreter) -> None:
        self.manifest = manifest
        self._interpreter = interpreter
        self._input, self._output = InputTensor(manifest.input), OutputTensor(manifest.output)
        self._tempered = manifest.classifies and manifest.temperature != 1.0
        self._lock = threading.Lock()

    def real(self, values: npt.ArrayLike) -> Floats:
        """Real values in the model's shape, perhaps still the caller's memory; raises `UsageError` where they can't."""
        return self._input.real(values)

    def raw(self, real: Floats) -> npt.NDArray[np.generic]:
        """The model's raw input for what `real` gave."""
        return self._input.raw(real)

    def quantized(self, values: npt.ArrayLike) -> npt.NDArray[np.generic]:
        """Both at once."""
        return self._input.of(values)

    def answer(self, raw: npt.NDArray[np.generic], begun_ns: int, number: int = 0) -> Prediction:
        """The answer to a raw input.

        Args:
            raw: As `raw` gives it.
            begun_ns: When the query came, by the performance counter.
            number: The answer's ``id``.

        Raises:
            DoesNotRunError: The model failed, or gave values that are not finite.
        """
        with self._lock:
            output = self._interpreter.invoke(raw)
        real = self._output.real(output)
        if self._tempered:
            real = tempered(real, self.manifest.temperature)
        values = tuple(real.tolist())
        best = max(values)
        # NaN anywhere makes the sum NaN; infinities do, or show in it
        if not abs(sum(values)) < float("inf"):
            raise DoesNotRunError("the model gave values that are not finite", "the error is counted and reported")
        label = self.manifest.labels[values.index(best)] if self.manifest.classifies else ""
        latency_us = (time.perf_counter_ns() - begun_ns) / 1000.0
        return Prediction(label, values, latency_us, self.manifest.version, self.manifest.recipe, number)
