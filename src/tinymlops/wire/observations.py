"""What a device may tell of its use: what a person agreed to, counts over a span of time, and single rows.

Each travels as a `Record` of the spool, named by its `RecordName`. Histograms are counted in bins that came with the
manifest, so that those of any number of devices add up exactly. Their counts carry noise that was added on the device;
everything else in a window is about the device, not about what it saw.
"""

from __future__ import annotations

import hashlib
import math
from enum import StrEnum
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.errors import FormatError
from tinymlops.wire.encoding import Versioned
from tinymlops.wire.fields import Count, Fraction, Line, Moment, Word

CONSENT = "consent"
"""Kind of the COSE_Sign1 message that holds a `Consent`; signed by the device's key, for its person."""
SENSITIVITY = 2
"""Bin counts that change by one at most when one query is another: it leaves a bin and enters one."""
LATENCY_EDGES_US = tuple(float(2**power) for power in range(4, 25))
"""Inner edges of the histogram of latencies: 16 µs to 17 s, doubling."""
MOST_EPSILON = 100
"""Of a histogram: beyond, the noise is none."""
MOST_BINS = 1025
MOST_FEATURES = 64

SignedCount = Annotated[int, Meta(gt=-(2**53), lt=2**53)]
Bins = Annotated[tuple[SignedCount, ...], Meta(max_length=MOST_BINS)]


class RecordName(StrEnum):
    """What a record of the spool holds."""

    CONSENT = "consent"
    """A COSE_Sign1 message of kind `CONSENT`."""
    WINDOW = "window"
    """A `Window` in MessagePack."""
    SAMPLE = "sample"
    """A `Sample` in MessagePack."""


class Purpose(StrEnum):
    """What a person can agree to, each by itself."""

    OPERATIONS = "operations"
    """Latency, memory, energy, errors, sensors: how the device does."""
    DRIFT = "drift"
    """Noisy histograms of inputs, outputs and errors of the model."""
    SAMPLES = "samples"
    """Single inputs with what the model made of them, to learn from."""


class Consent(Versioned, frozen=True, kw_only=True):
    """What the person at a device agrees to. A later number replaces it as a whole; no purposes: all is withdrawn.

    Attributes:
        subject: Pseudonym of the person, or of the household or site that the device is in.
        number: Grows by one with every change.
        purposes: Agreed to.
        given_s: When, by the device's clock.
        until_s: When it ends by itself.
        wording: Version of the words that the person was shown.
    """

    subject: Word
    number: Count
    purposes: Annotated[tuple[Purpose, ...], Meta(max_length=8)]
    given_s: Count
    until_s: Count
    wording: Word


class FeatureKind(StrEnum):
    """What is counted."""

    INPUT = "input"
    """A statistic of a channel of the input."""
    CONFIDENCE = "confidence"
    """The largest probability."""
    CLASS = "class"
    """The class that was answered: one bin for each label."""
    OUTPUT = "output"
    """An output value of a model that does not classify."""
    ERROR = "error"
    """Truth minus output, where the device learns the truth later; for a class, 0 for right and 1 for wrong."""


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One histogram that a device counts into.

    Attributes:
        name: Unique within a manifest, for example ``"channel 3 mean"``.
        kind: What is counted.
        edges: Inner edges, rising: n edges make n + 1 bins, of which the outer two are open; a value on an edge falls
            above it. A class k falls between the edges k − ½ and k + ½.
        reference: Fraction in each bin of the rows that it was counted on: training rows for inputs, validation rows
            for what the model makes of them.
        rows: How many those were: a reference of few rows is itself uncertain. 0 where nobody knows.
        index: Channel of an input (index on its last axis), or place of an output.

    Raises:
        FormatError: The edges do not rise, or the reference has not one more entry than there are edges.
    """

    name: Line
    kind: FeatureKind
    edges: Annotated[tuple[float, ...], Meta(max_length=MOST_BINS - 1)]
    reference: Annotated[tuple[Fraction, ...], Meta(max_length=MOST_BINS)]
    rows: Count = 0
    index: Count = 0

    def __post_init__(self) -> None:
        check_bins(self.name, self.edges, self.reference)


def check_bins(name: str, edges: tuple[float, ...], reference: tuple[float, ...]) -> None:
    """Raise `FormatError` where edges do not rise, or a reference has not one more entry than there are edges."""
    rise = all(low < high for low, high in pairwise(edges))  # False wherever a NaN is
    if not rise or len(reference) != len(edges) + 1:
        raise FormatError(f"the bins of histogram {name!r} do not fit together", "make the manifest again")


def layout_of(features: tuple[Feature, ...]) -> str:
    """Names what the bins of a window mean: 16 hexadecimal digits over names, kinds and edges of the features."""
    told = msgspec.json.encode([(one.name, one.kind, one.edges) for one in features])
    return hashlib.sha256(told).hexdigest()[:16]


class ChannelHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a sensor did, apart from what it saw; told only of channels that were not well, and only of counted ones.

    Attributes:
        channel: Index on the last axis of the input.
        missing: Queries in which it was not finite. They are not answered, and not among the window's queries.
        stuck: Longest run of queries with one and the same value; 0 unless it is half of all queries, or more.
    """

    channel: Count
    missing: Count = 0
    stuck: Count = 0


class Window(Versioned, frozen=True, kw_only=True):
    """What one model answered on one device over a span of time.

    Attributes:
        workload: Which task.
        release: Its version.
        recipe: The variant.
        layout: Of the features (`layout_of`).
        began_s: Seconds since 1970, by the device's clock.
        ended_s: Likewise.
        consent: Number of the consent that covers it.
        epsilon: Of each histogram (event-level differential privacy; 0 where no histogram was agreed to). The noise
            is discrete Laplace, P(k) ∝ exp(−|k| · epsilon / `SENSITIVITY`).
        histograms: Noisy counts, one for each feature of the layout; empty without consent to drift.
        queries: Answered; exact.
        errors: Failed; exact; 0 without consent to operations.
        labelled: Queries whose truth became known in this span; some of them may have been asked before it. 0 without
            consent to drift.
        latencies: Counts between `LATENCY_EDGES_US`; empty without consent to operations.
        memory_kib: Largest resident set of the agent, or None, as without consent to operations.
        energy_uj: Of all queries, or None where nobody knows, as without consent to operations.
        channels: That were not well; none without consent to operations.
    """

    workload: Word
    release: Count
    recipe: Word
    layout: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$(?!\n)")]
    began_s: Moment
    ended_s: Moment
    consent: Count
    epsilon: Annotated[float, Meta(ge=0, le=MOST_EPSILON)]
    histograms: Annotated[tuple[Bins, ...], Meta(max_length=MOST_FEATURES)] = ()
    queries: Count = 0
    errors: Count = 0
    labelled: Count = 0
    latencies: Annotated[tuple[Count, ...], Meta(max_length=len(LATENCY_EDGES_US) + 1)] = ()
    memory_kib: Count | None = None
    energy_uj: Annotated[float, Meta(ge=0)] | None = None
    channels: Annotated[tuple[ChannelHealth, ...], Meta(max_length=256)] = ()

    def __post_init__(self) -> None:
        if self.ended_s < self.began_s:
            raise FormatError("a window ends before it begins", "check the device's clock")


class Sample(Versioned, frozen=True, kw_only=True):
    """One query as it was, for learning.

    Attributes:
        workload: Which task.
        release: That answered.
        recipe: The variant.
        at_s: Seconds since 1970, by the device's clock.
        consent: Number of the consent that covers it.
        inputs: Real values, flat, float32 little-endian.
        output: Confidences or output values.
        truth: Class index or target values, where the device learnt them.
    """

    workload: Word
    release: Count
    recipe: Word
    at_s: Moment
    consent: Count
    inputs: Annotated[bytes, Meta(max_length=128 * 1024)]
    output: Annotated[tuple[float, ...], Meta(max_length=10_000)]
    truth: Annotated[tuple[float, ...], Meta(max_length=10_000)] | None = None


def noise_variance(epsilon: float, sensitivity: float = SENSITIVITY) -> float:
    """Variance of the noise on each bin: 2p / (1 − p)² with p = exp(−epsilon / sensitivity); 0 for epsilon 0.

    Source: Inusah and Kozubowski 2006, "A discrete analogue of the Laplace distribution", eq. 2.9.
    """
    if epsilon == 0:
        return 0.0
    p = math.exp(-epsilon / sensitivity)
    return 2.0 * p / (1.0 - p) ** 2
