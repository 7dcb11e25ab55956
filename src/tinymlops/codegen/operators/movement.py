"""Operators that only move values: RESHAPE and its kin, PAD, CONCATENATION, STRIDED_SLICE, RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

import math

import numpy as np

from tinymlops.codegen import fixed_point as fp
from tinymlops.codegen.graph import Tensor
from tinymlops.codegen.layer import NO_KERNEL, Constant, Layer, Lowered, numbers, place, struct

_MAX_RANK = 4
_MAX_SIDE = 65_535
_COPY = frozenset({"tinymlops_copy.c"})


def reshape(layer: Layer) -> Lowered:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the same memory under another shape.

    Raises:
        DoesNotRunError: Another number of values.
    """
    layer.count_inputs(1, 2)
    source, target = layer.activation(0), layer.result()
    layer.require(source.size == target.size, f"makes {target.shape} of {source.shape}")
    return Lowered(kernel=NO_KERNEL)


def _box(sides: list[int], steps: list[int], first: int) -> str:
    filled = _MAX_RANK - len(sides)
    fields: dict[str, str | int] = {
        "side": numbers([1] * filled + sides),
        "step": numbers([0] * filled + steps),
        "first": first,
    }
    return struct("tinymlops_box", "box", fields)


def pad(layer: Layer) -> Lowered:
    """PAD, and PADV2 with its constant value.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    layer.count_inputs(2, 3)
    source, target = layer.activation(0), layer.result()
    margins = layer.integers(1, "paddings")
    rank = len(source.shape)
    pairs = list(zip(margins[::2], margins[1::2], strict=False))
    layer.require(len(margins) == 2 * rank and min(margins, default=0) >= 0, f"pads {source.shape} by {margins}")
    shape = tuple(side + sum(pair) for side, pair in zip(source.shape, pairs, strict=True))
    layer.require(shape == target.shape, f"makes {shape}, but its output is {target.shape}")
    sides, steps, first = _padded_box(source.shape, pairs)
    layer.require(len(sides) <= _MAX_RANK, f"pads {source.shape} along more than {_MAX_RANK} axes")
    return Lowered(
        kernel="tinymlops_fill_box_s8",
        code=(
            f"(void)memset({place(target)}, {_padding_value(layer)}, {target.size});",
            _box(sides, steps, first),
            f"tinymlops_fill_box_s8(&box, {place(source)}, {place(target)});",
        ),
        sources=_COPY,
    )


def _padding_value(layer: Layer) -> int:
    target = layer.result()
    if len(layer.node.inputs) == 2:
        return target.zero_points[0]
    value = layer.constant(2, "int8", "padding value")
    layer.require(
        value.size == 1 and (value.scales, value.zero_points) == (target.scales, target.zero_points),
        "has a padding value of another scale than its output",
    )
    return 0 if value.values is None else int(value.values.ravel()[0])


def _padded_box(shape: tuple[int, ...], pairs: list[tuple[int, int]]) -> tuple[list[int], list[int], int]:
    """Where the input lies in the output: sides, steps and first offset; axes inside an unpadded one are merged."""
    sides, steps, first = [1], [1], 0
    step, room = 1, 1
    for side, (before, after) in zip(reversed(shape), reversed(pairs), strict=True):
        first += before * step
        if room == sides[0] * steps[0]:
            sides[0] *= side
        else:
            sides.insert(0, side)
            steps.insert(0, step)
        step *= side + before + after
        room = step
    return sides, steps, first


def concatenation(layer: Layer) -> Lowered:
    """CONCATENATION of tensors of one scale.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    target = layer.result()
    rank = len(target.shape)
    axis = layer.option("Axis")
    layer.require(layer.node.inputs and -rank <= axis < rank, f"joins along axis {axis} of {rank}")
    layer.require(layer.option("FusedActivationFunction") == 0, "has a fused activation")
    axis %= rank
    inner = math.prod(target.shape[axis + 1 :])
    code: list[str] = []
    filled = 0
    for position in range(len(layer.node.inputs)):
        source = layer.activation(position)
        layer.require(
            (source.scales, source.zero_points) == (target.scales, target.zero_points),
            "joins tensors of different scales",
        )
        layer.require(_fits(source, target, axis), f"joins {source.shape} into {target.shape} along axis {axis}")
        outer, width = math.prod(target.shape[:axis]), source.shape[axis] * inner
        box = _box([outer, width], [target.shape[axis] * inner, 1], filled * inner)
        code += ["{", box, f"tinymlops_fill_box_s8(&box, {place(source)}, {place(target)});", "}"]
        filled += source.shape[axis]
    layer.require(filled == target.shape[axis], f"fills {filled} of {target.shape[axis]} along axis {axis}")
    return Lowered(kernel="tinymlops_fill_box_s8", code=tuple(code), sources=_COPY)


def _fits(source: Tensor, target: Tensor, axis: int) -> bool:
    return len(source.shape) == len(target.shape) and all(
        i == axis or source.shape[i] == side for i, side in enumerate(target.shape)
    )


def strided_slice(layer: Layer) -> Lowered:
    """STRIDED_SLICE with constant bounds, up to four axes.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    layer.count_inputs(4)
    source, target = layer.activation(0), layer.result()
    rank = len(source.shape)
    begin, end, stride = (layer.integers(i, "bounds") for i in (1, 2, 3))
    layer.require(rank <= _MAX_RANK, f"slices {rank} axes, more than {_MAX_RANK}")
    layer.require({len(begin), len(end), len(stride)} == {rank}, f"has bounds for another rank than {rank}")
    layer.require(
        not (layer.option("EllipsisMask") or layer.option("NewAxisMask") or layer.option("Offset")),
        "slices with an ellipsis, a new axis or offsets",
    )
    layer.require(all(stride), "has a stride of 0")
    sides: list[int] = []
    steps: list[int] = []
    shape: list[int] = []
    first, step = 0, source.size
    for axis, side in enumerate(source.shape):
        step //= side
        start, count = _bounds(layer, axis, (begin[axis], end[axis], stride[axis]), side)
        sides, steps, first = [*sides, count], [*steps, stride[axis] * step], first + start * step
        if not layer.option("ShrinkAxisMask") >> axis & 1:
            shape.append(count)
    layer.require(tuple(shape) == target.shape, f"makes {tuple(shape)}, but its output is {target.shape}")
    return Lowered(
        kernel="tinymlops_copy_box_s8",
        code=(_box(sides, steps, first), f"tinymlops_copy_box_s8(&box, {place(source)}, {place(target)});"),
        sources=_COPY,
    )


def _bounds(layer: Layer, axis: int, bounds: tuple[int, int, int], side: int) -> tuple[int, int]:
    """First value and number of values along an axis, after masks, negative bounds and clamping."""
    begin, end, stride = bounds
    low, high = (0, side) if stride > 0 else (-1, side - 1)
    start = max(low, min(high, begin + side if begin < 0 else begin))
    if layer.option("BeginMask") >> axis & 1:
        start = 0 if stride > 0 else side - 1
    if layer.option("ShrinkAxisMask") >> axis & 1:
        layer.require(stride == 1 and 0 <= start < side, f"picks value {begin} of {side}")
        return start, 1
    stop = max(low, min(high, end + side if end < 0 else end))
    if layer.option("EndMask") >> axis & 1:
        stop = side if stride > 0 else -1
    count = max(0, -(-(stop - start) // stride))
    layer.require(count, "slices away every value")
    return start, count


def resize_nearest(layer: Layer) -> Lowered:
    """RESIZE_NEAREST_NEIGHBOR.

    Raises:
        DoesNotRunError: A form without generated code.
    """
    layer.count_inputs(2)
    source, target = layer.activation(0), layer.result()
    size = layer.integers(1, "size")
    layer.require(
        len(source.shape) == len(target.shape) == 4
        and target.shape == (1, *size, source.shape[3])
        and source.shape[0] == 1,
        f"makes {target.shape} of {source.shape}",
    )
    layer.require(max(*size, *source.shape) <= _MAX_SIDE, f"has a side above {_MAX_SIDE:,}")
    rows = _nearest(layer, source.shape[1], size[0])
    columns = _nearest(layer, source.shape[2], size[1])
    return Lowered(
        kernel="tinymlops_resize_nearest_s8",
        code=(
            (
                f"tinymlops_resize_nearest_s8(@:row@, @:column@, {size[0]}, {size[1]}, {source.shape[2]}, "
                f"{source.shape[3]}, {place(source)}, {place(target)});"
            ),
        ),
        constants=(
            Constant("row", "uint16_t", rows, "of the input, one a row of the output"),
            Constant("column", "uint16_t", columns, "likewise"),
        ),
        sources=_COPY,
    )


def _nearest(layer: Layer, source: int, target: int) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    """Index in the input for each index of the output, computed in float32 as the reference does."""
    align = layer.option("AlignCorners")
    half = np.float32(0.5 if layer.option("HalfPixelCenters") else 0.0)
    scale = (
        np.float32(source - 1) / np.float32(target - 1)
        if align and target > 1
        else np.float32(source) / np.float32(target)
    )
    places = (np.arange(target, dtype=np.float32) + half) * scale
    indices = [fp.rounded(float(place)) if align else math.floor(place) for place in places]
    return np.array([max(0, min(index, source - 1)) for index in indices], np.uint16)
