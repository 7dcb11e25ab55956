"""What the generator hands back: files, sizes, and what every operator became."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class KernelSet(StrEnum):
    """Where the arithmetic comes from."""

    PORTABLE = "portable"
    """Our own C99: any processor, and the reference for the others."""
    CMSIS_NN = "cmsis-nn"
    """Arm's kernels where they cover an operator, ours elsewhere: Cortex-M3 and up."""


class Helium(StrEnum):
    """Which Arm cores the memory is planned for: CMSIS-NN's kernels need more of it, or less, with Helium (MVE)."""

    ANY = "any"
    """As much as any core needs."""
    WITH = "with"
    """Cortex-M55, M85: the compiler refuses the code elsewhere."""
    WITHOUT = "without"
    """Cortex-M3, M4, M7, M33: the compiler refuses the code where there is Helium."""


@dataclass(frozen=True)
class GeneratedOperator:
    """An operator of the model and what it became.

    Attributes:
        index: Place in the model's first subgraph; what ``TINYMLOPS_OPERATOR_BEGIN`` is called with.
        operator: TFLite's name, such as ``"CONV_2D"``.
        layer: Name of the tensor that it computes, as the converter called it.
        macs: Multiply-accumulates in one inference; 0 where nothing is multiplied and summed.
        kernel: C function that is called, or ``"none"`` where the operator only renames memory.
    """

    index: int
    operator: str
    layer: str
    macs: int
    kernel: str


@dataclass(frozen=True)
class GeneratedTensor:
    """An input or output of the generated function.

    Attributes:
        name: As the converter called it.
        shape: Sides of one inference.
        dtype: ``"int8"``.
        scale: Real value of one step.
        zero_point: Integer that stands for 0.
        bytes: Length in the input or output buffer.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    bytes: int


@dataclass(frozen=True)
class GeneratedModel:
    """A model as C.

    Attributes:
        files: Relative path → content: model, kernels, headers, licences.
        sources: The ``.c`` files to compile, as keys of ``files``.
        include_folders: Folders for the compiler's ``-I``, relative; ``"."`` is where ``model.h`` lies.
        arena_bytes: Static memory for activations and for kernels to work in, shared over the operators' lifetimes.
        scratch_bytes: The most that one kernel works in; it is part of the arena, in holes where there are some.
        constant_bytes: Weights, biases, multipliers and tables: what the linker puts into flash.
        operators: In the order they run.
        inputs: Laid one behind the other in ``model_invoke``'s input buffer.
        outputs: Likewise.
        kernels: Kernel set with version, for example ``"CMSIS-NN 4.0.0 (bakenn 1.0.0)"``.
    """

    files: dict[str, bytes]
    sources: tuple[str, ...]
    include_folders: tuple[str, ...]
    arena_bytes: int
    scratch_bytes: int
    constant_bytes: int
    operators: tuple[GeneratedOperator, ...]
    inputs: tuple[GeneratedTensor, ...]
    outputs: tuple[GeneratedTensor, ...]
    kernels: str
