"""The manifest: what a device has to know of a variant before it runs it, signed by the owner's offline key."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.wire.device_state import VariantCost
from tinymlops.wire.encoding import Versioned
from tinymlops.wire.messages import Count, Fraction, Microseconds, Sha256, Word

MOST_MODEL_BYTES = 256 * 1024 * 1024


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output of a model.

    Attributes:
        shape: With the leading 1.
        dtype: NumPy's name, for example ``"int8"``.
        scale: Real value of one step of a quantized tensor, or None.
        zero_point: Stored value that stands for 0.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0


class SelfTest(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs and what the model made of them when it was measured on this kind of device.

    Attributes:
        rows: How many inputs.
        inputs: Their raw tensors as the model takes them, row behind row.
        outputs: The raw outputs, row behind row.
        tolerance: Largest difference allowed in an output value: in steps for a quantized output, else absolute.
            What this model's outputs were seen to differ by between kernel sets when it was released.
    """

    rows: Count
    inputs: bytes
    outputs: bytes
    tolerance: float


class Statistic(StrEnum):
    """How a window of input becomes one number: over all positions of one channel (the last axis)."""

    MEAN = "mean"
    STANDARD_DEVIATION = "standard deviation"


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """A fixed-bin histogram that the device counts into.

    Attributes:
        name: For example ``"channel 3 mean"``.
        channel: Index on the last axis of the input.
        statistic: What is counted.
        edges: Inner edges, rising: n edges make n + 1 bins, of which the outer two are open.
        reference: Fraction of the training rows in each bin.
    """

    name: str
    channel: Count
    statistic: Statistic
    edges: tuple[float, ...]
    reference: tuple[float, ...]


class HealthBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a device may report before its release counts as broken.

    Attributes:
        error_rate: Most queries that may fail, as a fraction.
        latency_p95_us: Slowest 95th percentile, or None where nothing is known.
    """

    error_rate: Fraction = 0.01
    latency_p95_us: Microseconds | None = None


class Manifest(Versioned, frozen=True, kw_only=True):
    """A variant of a release, for one kind of device.

    Attributes:
        workload: Which task.
        version: Of the release; the next one is higher.
        recipe: How the network was compressed.
        profile: The kind of device that it was measured on.
        sha256: Of the ``.tflite``.
        size: Of the ``.tflite``, bytes.
        runtime: Interpreter, version and kernel set that it was measured with.
        minimum_agent: Oldest agent that can run it, for example ``"0.1.0"``.
        operators: TFLite operators in it, sorted.
        input: Of the model.
        output: Of the model.
        labels: Names of the classes, or of the outputs.
        classifies: Whether outputs are probabilities of classes.
        temperature: Divides the logits so that confidences are honest (Guo et al. 2017, temperature scaling); 1 changes
            nothing.
        histograms: What the device counts of its inputs, once its person agrees.
        confidence_edges: Inner edges of the histogram of the largest probability.
        self_test: Run before the variant is used.
        bounds: What the device's health is judged by.
        cost: What the variant costs against the others of its release, for the choice on the device.
    """

    workload: Word
    version: Count
    recipe: Annotated[str, Meta(min_length=1, max_length=64)]
    profile: Word
    sha256: Sha256
    size: Annotated[int, Meta(gt=0, le=MOST_MODEL_BYTES)]
    runtime: str
    minimum_agent: str
    operators: tuple[str, ...]
    input: Tensor
    output: Tensor
    labels: tuple[str, ...]
    classifies: bool
    self_test: SelfTest
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    histograms: tuple[Histogram, ...] = ()
    confidence_edges: tuple[float, ...] = ()
    bounds: HealthBounds = HealthBounds()
    cost: VariantCost = VariantCost()
