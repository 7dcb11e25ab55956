"""ADD, SUB and MUL, with broadcasting."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest

from tinymlops.codegen import quantization
from tinymlops.codegen.graph import Tensor
from tinymlops.codegen.layer import Layer, Lowered, numbers, place, struct
from tinymlops.codegen.operators.ranges import clamp_of, scaled

MAX_RANK = 4
_HEADROOM_BITS = 20
Axis = tuple[int, int, int]
"""Values along an axis of the output, and how far apart they lie in both inputs."""


def add(layer: Layer) -> Lowered:
    """ADD.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    a, b = _operands(layer)
    twice = 2 * max(a.scales[0], b.scales[0])
    reals = (a.scales[0] / twice, b.scales[0] / twice, twice / ((1 << _HEADROOM_BITS) * layer.result().scales[0]))
    return _sum(layer, "tinymlops_add_s8", reals)


def subtract(layer: Layer) -> Lowered:
    """SUB; unlike ADD's, the reference's multipliers come from float32 divisions.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    a, b = _operands(layer)
    f32 = quantization.float32
    first, second, target = f32(a.scales[0]), f32(b.scales[0]), f32(layer.result().scales[0])
    twice = f32(2) * max(first, second)
    reals = (float(first / twice), float(second / twice), float(twice / (f32(1 << _HEADROOM_BITS) * target)))
    return _sum(layer, "tinymlops_sub_s8", reals)


def _sum(layer: Layer, kernel: str, reals: tuple[float, float, float]) -> Lowered:
    a, b = _operands(layer)
    pairs = [scaled(layer, partial(quantization.multiplier_below_one, real)) for real in reals]
    low, high = clamp_of(layer)
    fields: dict[str, str | int] = {
        "a_zero_point": a.zero_points[0],
        "a_multiplier": pairs[0][0],
        "a_shift": pairs[0][1],
        "b_zero_point": b.zero_points[0],
        "b_multiplier": pairs[1][0],
        "b_shift": pairs[1][1],
        "zero_point": layer.result().zero_points[0],
        "multiplier": pairs[2][0],
        "shift": pairs[2][1],
        "low": low,
        "high": high,
    }
    return _elementwise(layer, kernel, struct("tinymlops_sum", "how", fields))


def multiply(layer: Layer) -> Lowered:
    """MUL.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    a, b = _operands(layer)
    real = a.scales[0] * b.scales[0] / layer.result().scales[0]
    multiplier, shift = scaled(layer, lambda: quantization.multiplier_of(real))
    low, high = clamp_of(layer)
    fields: dict[str, str | int] = {
        "a_zero_point": a.zero_points[0],
        "b_zero_point": b.zero_points[0],
        "zero_point": layer.result().zero_points[0],
        "multiplier": multiplier,
        "shift": shift,
        "low": low,
        "high": high,
    }
    return _elementwise(layer, "tinymlops_mul_s8", struct("tinymlops_product", "how", fields))


def _operands(layer: Layer) -> tuple[Tensor, Tensor]:
    layer.count_inputs(2)
    layer.result()
    return layer.activation(0), layer.activation(1)


def _elementwise(layer: Layer, kernel: str, how: str) -> Lowered:
    a, b = _operands(layer)
    axes = _axes(layer, a, b)
    over = struct(
        "tinymlops_broadcast",
        "over",
        {
            "side": numbers([axis[0] for axis in axes]),
            "a_step": numbers([axis[1] for axis in axes]),
            "b_step": numbers([axis[2] for axis in axes]),
        },
    )
    return Lowered(
        kernel=kernel,
        code=(how, over, f"{kernel}(&how, &over, {place(a)}, {place(b)}, {place(layer.output)});"),
        sources=frozenset({"tinymlops_elementwise.c"}),
        in_place=tuple(tensor.index for tensor in (a, b) if tensor.size == layer.output.size),
    )


def _axes(layer: Layer, a: Tensor, b: Tensor) -> list[Axis]:
    """The output's axes, those that both inputs run through alike merged, filled up to four."""
    sides = [tuple(pair) for pair in zip_longest(reversed(a.shape), reversed(b.shape), fillvalue=1)][::-1]
    layer.require(
        all(first == second or 1 in {first, second} for first, second in sides),
        f"can't broadcast {a.shape} and {b.shape}",
    )
    shape = tuple(max(pair) for pair in sides)
    layer.require(shape == layer.output.shape, f"makes {shape}, but its output is {layer.output.shape}")
    merged: list[Axis] = []
    a_step = b_step = 1
    for first, second in reversed(sides):
        axis = (max(first, second), a_step if first > 1 else 0, b_step if second > 1 else 0)
        a_step, b_step = a_step * first, b_step * second
        if axis[0] > 1:
            _merge(merged, axis)
    layer.require(len(merged) <= MAX_RANK, f"broadcasts {a.shape} and {b.shape} along more than {MAX_RANK} axes")
    return [(1, 0, 0)] * (MAX_RANK - len(merged)) + (merged[::-1])


def _merge(axes: list[Axis], outer: Axis) -> None:
    """Add an axis outside ``axes``, or widen the last one where both inputs go on as if it were one."""
    if axes:
        side, a_step, b_step = axes[-1]
        if outer[1:] == (side * a_step, side * b_step):
            axes[-1] = (side * outer[0], a_step, b_step)
            return
    axes.append(outer)
