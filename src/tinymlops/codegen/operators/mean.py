"""MEAN over any axes."""

from __future__ import annotations

from tinymlops.codegen import quantization
from tinymlops.codegen.layer import Layer, Lowered, numbers, place, struct
from tinymlops.codegen.operators.ranges import scaled

_MAX_RANK = 4
Axes = list[tuple[int, int]]
"""Side and step in the input."""


def mean(layer: Layer) -> Lowered:
    """MEAN.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    layer.count_inputs(2)
    source, target = layer.activation(0), layer.result()
    rank = len(source.shape)
    given = layer.integers(1, "axes")
    layer.require(given and all(-rank <= axis < rank for axis in given), f"averages over axes {given} of {rank}")
    axes = {axis % rank for axis in given}
    kept, averaged = _split(source.shape, axes)
    layer.require(len(kept) <= _MAX_RANK and len(averaged) <= _MAX_RANK, f"averages over axes {given} of {rank}")
    count = source.size // target.size
    layer.require(
        count * target.size == source.size and _product(averaged) == count,
        f"makes {target.shape} of {source.shape} over axes {given}",
    )
    multiplier, shift = scaled(layer, lambda: quantization.mean_multiplier((source.scales[0], target.scales[0]), count))
    how = struct(
        "tinymlops_average",
        "how",
        {
            "side": numbers([side for side, _ in kept]),
            "step": numbers([step for _, step in kept]),
            "averaged_side": numbers([side for side, _ in averaged]),
            "averaged_step": numbers([step for _, step in averaged]),
            "offset": -source.zero_points[0] * count,
            "zero_point": target.zero_points[0],
            "multiplier": multiplier,
            "shift": shift,
        },
    )
    return Lowered(
        kernel="tinymlops_mean_s8",
        code=(how, f"tinymlops_mean_s8(&how, {place(source)}, {place(target)});"),
        sources=frozenset({"tinymlops_mean.c"}),
    )


def _product(axes: Axes) -> int:
    product = 1
    for side, _ in axes:
        product *= side
    return product


def _split(shape: tuple[int, ...], averaged: set[int]) -> tuple[Axes, Axes]:
    """Kept and averaged axes, neighbours of one kind merged, filled up to four."""
    lists: tuple[Axes, Axes] = ([], [])
    step, last = 1, None
    for axis in reversed(range(len(shape))):
        if shape[axis] == 1:
            continue
        kind = axis in averaged
        if kind == last:
            side, inner = lists[kind][0]
            lists[kind][0] = (side * shape[axis], inner)
        else:
            lists[kind].insert(0, (shape[axis], step))
        step, last = step * shape[axis], kind
    kept, gone = ([(1, 0)] * (_MAX_RANK - len(axes)) + axes for axes in lists)
    return kept, gone
