"""The values that benchmarking makes and that selection, registry and reporting read."""

from __future__ import annotations

import gzip
from enum import StrEnum

import msgspec

from tinymlops.files import sha256


class Provenance(StrEnum):
    """Where a figure comes from; no figure is shown without it."""

    MEASURED = "measured"
    """Counted or timed in this run: bits, instructions, bytes, scores, out of memory."""
    CALIBRATED = "calibrated"
    """Milliseconds or microjoules from instructions and a published board, with an error band."""
    ESTIMATED = "estimated"
    """A vendor tool's word."""


class Figure(msgspec.Struct, frozen=True):
    """One number with its unit and where it comes from.

    Attributes:
        value: The number, in ``unit``.
        unit: For example ``"B"``, ``"instructions"``, ``"us"``.
        provenance: Whether it was measured, calibrated or estimated.
        note: What a reader must know, for example ``"includes the emulator"``.
        relative_error: Half width of the error band as a fraction of ``value``, if it has one.
    """

    value: float
    unit: str
    provenance: Provenance = Provenance.MEASURED
    note: str = ""
    relative_error: float | None = None


class Status(StrEnum):
    """How a measurement ended. Every status but ``OK`` comes with a reason in words."""

    OK = "ok"
    OUT_OF_MEMORY = "out of memory"
    UNSUPPORTED_OPERATOR = "unsupported operator"
    UNSUPPORTED_TYPE = "unsupported type"
    TIMED_OUT = "timed out"
    CRASHED = "crashed"


class VariantFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a variant before any device has run it.

    Attributes:
        recipe: Name of the recipe; for a model that we did not make, the stem of its file name.
        sha256: Digest of the ``.tflite``, hexadecimal.
        model_bytes: Size of the ``.tflite``.
        gzip_bytes: Size of the ``.tflite`` after gzip -9: pruning and clustering show here.
        promises: What the recipe promised and the file was seen to keep, in words.
        vetoed: Why the accuracy gate refuses the variant; empty when it passes.
        sparsity: Fraction of zero weights over all convolution and dense kernels, or None.
        float_score: Score of the float network on the validation split, or None.
    """

    recipe: str
    sha256: str
    model_bytes: int
    gzip_bytes: int
    promises: tuple[str, ...] = ()
    vetoed: str = ""
    sparsity: float | None = None
    float_score: float | None = None


def facts_of(model: bytes, recipe: str) -> VariantFacts:
    """What the file alone tells of a variant.

    Args:
        model: The ``.tflite``.
        recipe: Name of the recipe, or the stem of its file.
    """
    packed = gzip.compress(model, compresslevel=9, mtime=0)
    return VariantFacts(recipe=recipe, sha256=sha256(model), model_bytes=len(model), gzip_bytes=len(packed))


class Scores(msgspec.Struct, frozen=True):
    """A workload's metric, computed from the outputs that the device gave.

    Attributes:
        metric: Name of the metric, for example ``"accuracy"``.
        higher_is_better: Direction of the metric.
        validation: On the validation split: what gates and selection look at.
        test: On the test split: what reports show. Nothing is ever chosen by it.
    """

    metric: str
    higher_is_better: bool
    validation: float
    test: float


class OperatorCost(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the instructions of an inference go: one operator of the model.

    Attributes:
        index: Place in the model.
        operator: TFLite's name, such as ``"CONV_2D"``.
        layer: Name of the tensor that it computes, as the converter called it.
        kernel: C function that does it, or ``"none"`` where memory is only renamed.
        macs: Multiply-accumulates per inference.
        instructions: Executed per inference, mean over all inputs.
        classes: The same by class: arithmetic, load, store, multiply, divide, branch, vector.
    """

    index: int
    operator: str
    layer: str
    kernel: str
    macs: int
    instructions: float
    classes: dict[str, float] = {}

    @property
    def per_mac(self) -> float | None:
        """Instructions for each multiply-accumulate, or None where there are none."""
        return self.instructions / self.macs if self.macs else None


class Measurement(msgspec.Struct, frozen=True, omit_defaults=True):
    """Variant × device.

    Attributes:
        variant: The variant that ran.
        device: Name of the device profile.
        runtime: Interpreter or code generator, version and kernel set, for example ``"litert 2.3.0, xnnpack"``.
        status: How it ended.
        reason: Why it did not end well, one sentence; empty when ``status`` is ``OK``.
        scores: The workload's metric from the device's own outputs, or None without a data set.
        outputs_sha256: Digest of the raw output bytes over the whole input, or empty.
        instructions: Executed per inference, exact and repeatable.
        latency_p50: Median wall-clock time per inference where the CPU is the device's own; elsewhere only a calibrated
            or estimated time, and never that of an emulator.
        latency_p95: 95th percentile of the same.
        peak_memory: Peak resident memory of the process that ran the model; on a microcontroller the RAM that the model
            needs: initialized and zeroed data (arena and buffers) and the stack at its deepest.
        model_memory: What of that loading and running this model added.
        runtime_bytes: Size of the interpreter with what it needs, on disk.
        energy: Per inference.
        image: Content tag of the container image that measured, or empty when it ran natively.
        flash: Code and constants that go into flash, where the model is compiled in.
        arena: Part of ``peak_memory`` that holds activations and what kernels work in.
        stack: Part of ``peak_memory``: the deepest use, seen by painting.
        npu_share: Fraction of the operators that an accelerator takes; the rest runs on the CPU beside it.
        operators: Where the instructions go, in the order they run; empty where nobody counts them apart.
    """

    variant: VariantFacts
    device: str
    runtime: str
    status: Status
    reason: str = ""
    scores: Scores | None = None
    outputs_sha256: str = ""
    instructions: Figure | None = None
    latency_p50: Figure | None = None
    latency_p95: Figure | None = None
    peak_memory: Figure | None = None
    model_memory: Figure | None = None
    runtime_bytes: Figure | None = None
    energy: Figure | None = None
    image: str = ""
    # New fields go to the end and have a default: results stored before are read with it.
    flash: Figure | None = None
    arena: Figure | None = None
    stack: Figure | None = None
    npu_share: Figure | None = None
    operators: tuple[OperatorCost, ...] = ()

    @property
    def model_bytes(self) -> int:
        """Size of the ``.tflite`` in bytes."""
        return self.variant.model_bytes
