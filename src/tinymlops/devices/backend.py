"""The seam between a measurement and the many ways of running a model: one backend for each kind of device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.runtimes import RuntimeTable
from tinymlops.measurement import Figure, OperatorCost, Status

Progress = Callable[[str], None]


def silent(_message: str) -> None:
    """Progress for those who do not look."""


class TensorLayout(msgspec.Struct, frozen=True):
    """Shape and type of one output tensor, as the device reports them."""

    shape: tuple[int, ...]
    dtype: str


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted and timed; the fields are those of a Measurement."""

    instructions: Figure | None = None
    latency_p50: Figure | None = None
    latency_p95: Figure | None = None
    peak_memory: Figure | None = None
    model_memory: Figure | None = None
    runtime_bytes: Figure | None = None
    energy: Figure | None = None
    flash: Figure | None = None
    arena: Figure | None = None
    stack: Figure | None = None
    npu_share: Figure | None = None
    operators: tuple[OperatorCost, ...] = ()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend saw.

    Attributes:
        status: How it ended.
        reason: One sentence unless ``status`` is ``OK``.
        outputs: Raw output tensors, row behind row; empty unless ``status`` is ``OK``.
        layout: Of the outputs of one row, in order.
        figures: What was counted and timed.
        image: Content tag of the image that ran, or empty.
        runtime: What ran, with version and kernel set, where that is known only afterwards; else empty.
    """

    status: Status
    reason: str = ""
    outputs: bytes = b""
    layout: tuple[TensorLayout, ...] = ()
    figures: Figures = Figures()
    image: str = ""
    runtime: str = ""


class Backend(Protocol):
    """Runs models on one kind of device."""

    def prepare(self, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress) -> str:
        """Make what running on ``profile`` needs, once; returns the tag of its image, empty where there is none.

        Raises:
            EngineError: It can't be made.
        """

    def run(
        self, model: bytes, inputs: bytes, profile: DeviceProfile, runtime: RuntimeTable, on_progress: Progress
    ) -> Run:
        """Run ``model`` over ``inputs``, raw input tensors row behind row.

        Whatever the model does is a ``Run``, never an exception.

        Raises:
            EngineError: The engine is gone.
        """
