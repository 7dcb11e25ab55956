"""The manifest: what a device has to know of a variant before it runs it, signed by the owner's offline key."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from tinymlops.errors import FormatError
from tinymlops.wire.device_state import VariantCost
from tinymlops.wire.encoding import Versioned
from tinymlops.wire.fields import MOST_MODEL_BYTES, Count, Fraction, Line, Microseconds, Sha256, Word
from tinymlops.wire.observations import MOST_FEATURES, Feature, FeatureKind, check_bins, layout_of

__all__ = ["MOST_MODEL_BYTES", "HealthBounds", "Histogram", "Manifest", "SelfTest", "Statistic", "Tensor"]

_MOST_TENSOR_BYTES = 64 * 1024 * 1024
_MOST_TEST_BYTES = 4 * 1024 * 1024
_OF_CLASSES = frozenset({FeatureKind.CONFIDENCE, FeatureKind.CLASS, FeatureKind.ERROR})
_OF_VALUES = frozenset({FeatureKind.OUTPUT, FeatureKind.ERROR})


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output of a model.

    Attributes:
        shape: With the leading 1.
        dtype: NumPy's name, for example ``"int8"``.
        scale: Real value of one step of a quantized tensor, or None.
        zero_point: Stored value that stands for 0.

    Raises:
        FormatError: It would take more than 64 MiB.
    """

    shape: Annotated[tuple[Annotated[int, Meta(ge=1, lt=2**31)], ...], Meta(max_length=8)]
    dtype: Annotated[str, Meta(pattern=r"^(bool|float(16|32|64)|u?int(8|16|32|64))$(?!\n)")]
    scale: Annotated[float, Meta(gt=0)] | None = None
    zero_point: Annotated[int, Meta(ge=-(2**31), lt=2**31)] = 0

    def __post_init__(self) -> None:
        if self.bytes > _MOST_TENSOR_BYTES:
            raise FormatError(f"a tensor of shape {self.shape} is larger than 64 MiB", "release a smaller model")

    @property
    def bytes(self) -> int:
        """What one such tensor takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


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
    inputs: Annotated[bytes, Meta(max_length=_MOST_TEST_BYTES)]
    outputs: Annotated[bytes, Meta(max_length=_MOST_TEST_BYTES)]
    tolerance: Annotated[float, Meta(ge=0)]


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
        rows: How many training rows those were; 0 where nobody knows.

    Raises:
        FormatError: The edges do not rise, or the reference has not one more entry than there are edges.
    """

    name: Line
    channel: Count
    statistic: Statistic
    edges: Annotated[tuple[float, ...], Meta(max_length=1024)]
    reference: Annotated[tuple[Fraction, ...], Meta(max_length=1025)]
    rows: Count = 0

    def __post_init__(self) -> None:
        check_bins(self.name, self.edges, self.reference)

    @property
    def feature(self) -> Feature:
        """What is counted, as a window tells it."""
        return Feature(
            name=self.name, kind=FeatureKind.INPUT, edges=self.edges, reference=self.reference, rows=self.rows,
            index=self.channel,
        )  # fmt: skip


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
        output_features: What it counts of the model's answers, and of their errors where it learns the truth.
        self_test: Run before the variant is used.
        bounds: What the device's health is judged by.
        cost: What the variant costs against the others of its release, for the choice on the device.
        metered: Whether every query has to be paid for with a voucher.
        energy_uj: Of one query on this kind of device, measured or calibrated; None where nobody knows.

    Raises:
        FormatError: The self-test's bytes are not its number of rows, or features are too many, of one name, or about
            outputs that the model does not have.
    """

    workload: Word
    version: Count
    recipe: Word
    profile: Word
    sha256: Sha256
    size: Annotated[int, Meta(gt=0, le=MOST_MODEL_BYTES)]
    runtime: Line
    minimum_agent: Word
    operators: Annotated[tuple[Line, ...], Meta(max_length=256)]
    input: Tensor
    output: Tensor
    labels: Annotated[tuple[Line, ...], Meta(max_length=10_000)]
    classifies: bool
    self_test: SelfTest
    temperature: Annotated[float, Meta(gt=0)] = 1.0
    histograms: Annotated[tuple[Histogram, ...], Meta(max_length=256)] = ()
    output_features: Annotated[tuple[Feature, ...], Meta(max_length=MOST_FEATURES)] = ()
    bounds: HealthBounds = HealthBounds()
    cost: VariantCost = VariantCost()
    metered: bool = False
    energy_uj: Annotated[float, Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        test = self.self_test
        for tensor, rows, name in ((self.input, test.inputs, "inputs"), (self.output, test.outputs, "outputs")):
            if len(rows) != test.rows * tensor.bytes:
                raise FormatError(
                    f"the self-test's {name} have {len(rows)} bytes and not {test.rows} × {tensor.bytes}",
                    "make the manifest again",
                )
        self._check_features()

    @property
    def features(self) -> tuple[Feature, ...]:
        """Everything that is counted, in the order of a window's histograms: inputs, then answers."""
        return tuple(histogram.feature for histogram in self.histograms) + self.output_features

    @property
    def layout(self) -> str:
        """Names what the bins of this manifest's windows mean; see `layout_of`."""
        return layout_of(self.features)

    def _check_features(self) -> None:
        names = [one.name for one in self.features]
        kinds, places = (_OF_CLASSES, 1) if self.classifies else (_OF_VALUES, len(self.labels))
        fit = all(one.kind in kinds and one.index < places for one in self.output_features)
        if not fit or len(set(names)) < len(names) or len(names) > MOST_FEATURES:
            raise FormatError("the features to be counted do not fit the model", "make the manifest again")
