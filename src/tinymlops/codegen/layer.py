"""What the lowering of an operator works with and what it hands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinymlops.codegen.graph import Graph, Node, Tensor
from tinymlops.codegen.values import Helium, KernelSet
from tinymlops.errors import DoesNotRunError

NO_KERNEL = "none"
SCRATCH = "@scratch@"
"""Stands in the C code for the kernel's working memory until the arena is planned."""


def place(tensor: Tensor) -> str:
    """Stands in the C code for a tensor's memory until the arena is planned."""
    return f"@{tensor.index}@"


@dataclass(frozen=True)
class Constant:
    """A table in flash.

    Attributes:
        name: Suffix of its C name.
        ctype: ``int8_t``, ``int32_t`` or ``uint16_t``.
        values: In the order of memory.
        comment: What it is, with its shape.
    """

    name: str
    ctype: str
    values: np.ndarray[Any, Any]
    comment: str

    @property
    def bytes(self) -> int:
        """Size in flash."""
        return int(self.values.size) * {"int8_t": 1, "uint16_t": 2, "int32_t": 4}[self.ctype]


@dataclass(frozen=True)
class Lowered:
    """An operator as C.

    Attributes:
        kernel: C function that does the work; NO_KERNEL where the output is the input under another name.
        code: Statements, with ``@number@`` for a tensor's memory, ``@scratch@`` for working memory and
            ``@:name@`` for a constant of this operator.
        constants: Tables in flash.
        macs: Multiply-accumulates.
        scratch_bytes: Working memory.
        sources: Files of our own kernels that are needed.
        in_place: Inputs, by number of tensor, that the output may overwrite.
    """

    kernel: str
    code: tuple[str, ...] = ()
    constants: tuple[Constant, ...] = ()
    macs: int = 0
    scratch_bytes: int = 0
    sources: frozenset[str] = frozenset()
    in_place: tuple[int, ...] = ()


@dataclass(frozen=True)
class Layer:
    """An operator in its graph.

    Attributes:
        node: The operator.
        graph: Around it.
        kernels: What the arithmetic should come from.
        source: The model's name, for messages.
        helium: Which Arm cores working memory is planned for.
    """

    node: Node
    graph: Graph
    kernels: KernelSet
    source: str
    helium: Helium = Helium.ANY
    outputs: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Look up the outputs once."""
        object.__setattr__(self, "outputs", tuple(self.graph.tensors[i] for i in self.node.outputs))

    @property
    def name(self) -> str:
        """The layer's name: that of the tensor it computes."""
        return self.outputs[0].name if self.outputs else "?"

    @property
    def output(self) -> Tensor:
        """The only output."""
        if len(self.outputs) != 1:
            raise self.fault(f"has {len(self.outputs)} outputs instead of one")
        return self.outputs[0]

    def fault(self, what: str) -> DoesNotRunError:
        """An error that names this layer."""
        return DoesNotRunError(
            f"{self.source}: layer {self.name!r} ({self.node.operator}, operator {self.node.index}) {what}",
            "change the layer or choose a device with an interpreter",
        )

    def require(self, true: object, what: str) -> None:
        """Raise the error that ``what`` describes unless ``true``.

        Raises:
            DoesNotRunError: It is not.
        """
        if not true:
            raise self.fault(what)

    def count_inputs(self, *allowed: int) -> None:
        """Check the number of inputs.

        Raises:
            DoesNotRunError: Another number.
        """
        self.require(len(self.node.inputs) in allowed, f"has {len(self.node.inputs)} inputs")

    def input(self, position: int) -> Tensor:
        """An input that must be there.

        Raises:
            DoesNotRunError: It is left out.
        """
        self.require(position < len(self.node.inputs) and self.node.inputs[position] >= 0, f"lacks input {position}")
        return self.graph.tensors[self.node.inputs[position]]

    def activation(self, position: int) -> Tensor:
        """An int8 input with one scale.

        Raises:
            DoesNotRunError: Another type, or no such scale.
        """
        return self.int8(self.input(position))

    def result(self) -> Tensor:
        """The int8 output with one scale.

        Raises:
            DoesNotRunError: Another type, or no such scale.
        """
        self.require(self.output.values is None, "writes a constant")
        return self.int8(self.output)

    def int8(self, tensor: Tensor) -> Tensor:
        """``tensor``, if it is int8 with one scale and a zero point of int8.

        Raises:
            DoesNotRunError: It is not.
        """
        self.require(
            tensor.dtype == "int8", f"works on {tensor.dtype} (tensor {tensor.name!r}); only int8 has generated code"
        )
        self.require(
            len(tensor.scales) == 1 and -128 <= tensor.zero_points[0] <= 127,
            f"has a tensor {tensor.name!r} without one scale and zero point",
        )
        return tensor

    def constant(self, position: int, dtype: str, what: str) -> Tensor:
        """A constant input.

        Raises:
            DoesNotRunError: It is computed, or of another type.
        """
        tensor = self.input(position)
        self.require(tensor.values is not None, f"computes its {what}; only constant ones have generated code")
        self.require(tensor.dtype == dtype, f"has {what} of type {tensor.dtype}; only {dtype} has generated code")
        return tensor

    def integers(self, position: int, what: str) -> list[int]:
        """The values of a constant int32 input.

        Raises:
            DoesNotRunError: It is computed, or of another type.
        """
        values = self.constant(position, "int32", what).values
        return [] if values is None else [int(value) for value in values.ravel()]

    def option(self, name: str) -> int:
        """A whole number among the options."""
        return int(self.node.options[name])

    def same_scale(self, tensor: Tensor) -> None:
        """Check that ``tensor`` means the same by its integers as the output does.

        Raises:
            DoesNotRunError: It does not.
        """
        self.require(
            abs(tensor.scales[0] - self.output.scales[0]) <= 1e-6 and tensor.zero_points == self.output.zero_points,
            "changes the scale, which this operator can't",
        )


def numbers(values: Sequence[int]) -> str:
    """``{1, 2, 3}``."""
    return "{" + ", ".join(str(value) for value in values) + "}"


def struct(ctype: str, name: str, fields: dict[str, str | int]) -> str:
    """A constant structure with its fields by name."""
    inner = ", ".join(f".{key} = {value}" for key, value in fields.items())
    return f"static const {ctype} {name} = {{{inner}}};"
