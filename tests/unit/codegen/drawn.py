"""Random networks over the whole list of operators, with scales, zero points and shapes drawn to hurt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.unit.codegen.networks import NONE, RELU, RELU6, RELU_N1_TO_1, SAME, VALID, Network, Value

_MAX_VALUES = 3000
_MAX_MACS = 400_000
ZERO_POINTS = st.sampled_from([-128, -127, -1, 0, 1, 126, 127]) | st.integers(-128, 127)
SCALES = st.builds(lambda mantissa, exponent: mantissa * 2.0**exponent, st.floats(1, 2), st.integers(-12, 3))
# Mostly such that outputs use their range; sometimes so that shifts go left, or nearly everything is shifted out
MULTIPLIERS = st.builds(
    lambda mantissa, exponent: mantissa * 2.0**exponent,
    st.floats(1, 2),
    st.integers(-12, -6) | st.integers(-12, -6) | st.integers(-34, 3),
)
ACTIVATIONS = st.sampled_from([NONE, NONE, RELU, RELU6, RELU_N1_TO_1])
BIASES = st.sampled_from([None, 0, 1000, 1 << 20, (1 << 31) - 1])


@dataclass
class Drawing:
    """A network and the choices that are made for it."""

    draw: st.DrawFn
    net: Network

    def side(self, low: int = 1, high: int = 4) -> int:
        return self.draw(st.integers(low, high))

    def pair(self, low: int = 1, high: int = 3) -> tuple[int, int]:
        return self.side(low, high), self.side(low, high)

    def quantization(self) -> tuple[float, int]:
        return self.draw(SCALES), self.draw(ZERO_POINTS)

    def window(self, x: Value) -> tuple[int, tuple[int, int]]:
        """Padding and a kernel that fits."""
        padding = self.draw(st.sampled_from([SAME, VALID]))
        kernel = (self.side(1, 5), self.side(1, 5))
        if padding == VALID:
            kernel = (min(kernel[0], x.shape[1]), min(kernel[1], x.shape[2]))
        return padding, kernel

    def other(self, x: Value) -> Value:
        """Something to combine with ``x``: itself, a constant, another input; whole or to be broadcast."""
        kind = self.draw(st.sampled_from(["itself", "constant", "input"]))
        if kind == "itself":
            return x
        shape = tuple(side if self.draw(st.booleans()) else 1 for side in x.shape)
        shape = shape[self.draw(st.integers(0, len(shape) - 1)) :]
        scale = x.scale * self.draw(st.floats(0.3, 3))
        make = self.net.constant if kind == "constant" else self.net.input
        return make(shape, scale, self.draw(ZERO_POINTS))


def _convolution(d: Drawing, x: Value) -> Value:
    padding, kernel = d.window(x)
    dilation = d.pair(1, 3) if padding == SAME and d.draw(st.booleans()) else (1, 1)
    stride = (1, 1) if dilation != (1, 1) else d.pair()
    depthwise = d.draw(st.booleans())
    channels = x.shape[3] * d.side(1, 4) if depthwise else d.side(1, 12)
    scale, zero_point = d.quantization()
    return d.net.convolution(
        x,
        channels,
        kernel,
        stride,
        dilation=dilation,
        padding=padding,
        activation=d.draw(ACTIVATIONS),
        per_channel=d.draw(st.booleans()),
        bias=d.draw(BIASES),
        multiplier=d.draw(MULTIPLIERS),
        scale=scale,
        zero_point=zero_point,
        depthwise=depthwise,
    )


def _dense(d: Drawing, x: Value) -> Value:
    scale, zero_point = d.quantization()
    per_channel = d.draw(st.booleans())
    # the reference refuses a bias whose scale is coarse beside the output's, which only large multipliers make
    multiplier = d.draw(MULTIPLIERS)
    return d.net.dense(
        x,
        d.side(1, 19),
        activation=d.draw(ACTIVATIONS),
        per_channel=per_channel,
        bias=d.draw(BIASES),
        multiplier=multiplier,
        scale=scale,
        zero_point=zero_point,
    )


def _pool(d: Drawing, x: Value) -> Value:
    padding, kernel = d.window(x)
    kind = d.draw(st.sampled_from(["AVERAGE", "MAX"]))
    return d.net.pool(x, kind, kernel, d.pair(), padding, d.draw(ACTIVATIONS))


def _binary(d: Drawing, x: Value) -> Value:
    name = d.draw(st.sampled_from(["ADD", "SUB", "MUL"]))
    other = d.other(x)
    a, b = (x, other) if d.draw(st.booleans()) else (other, x)
    scale, zero_point = d.quantization()
    # the reference aborts where the sum's multiplier is not below one
    scale = max(scale, 4 * max(a.scale, b.scale) / (1 << 20)) if name != "MUL" else scale
    return d.net.binary(name, a, b, scale, zero_point, d.draw(ACTIVATIONS))


def _unary(d: Drawing, x: Value) -> Value:
    name = d.draw(st.sampled_from(["RELU", "RELU6", "HARD_SWISH", "LOGISTIC", "QUANTIZE"]))
    scale, zero_point = d.quantization()
    if name == "HARD_SWISH":
        scale = max(scale, x.scale / 64)
    return d.net.unary(name, x, scale, zero_point)


def _softmax(d: Drawing, x: Value) -> Value:
    return d.net.softmax(x, d.draw(st.sampled_from([1.0, 0.5, 3.0])))


def _mean(d: Drawing, x: Value) -> Value:
    rank = len(x.shape)
    axes = d.draw(st.lists(st.integers(0, rank - 1), min_size=1, max_size=rank, unique=True))
    negative = [axis - rank if d.draw(st.booleans()) else axis for axis in axes]
    scale, zero_point = d.quantization()
    keep = rank == len(axes) or d.draw(st.booleans())
    return d.net.mean(x, negative, keep, scale, zero_point)


def _pad(d: Drawing, x: Value) -> Value:
    margins = [(0, 0), *[(d.side(0, 2), d.side(0, 2)) for _ in x.shape[1:]]]
    return d.net.pad(x, margins, d.draw(st.booleans()))


def _concatenation(d: Drawing, x: Value) -> Value:
    axis = d.draw(st.integers(1, len(x.shape) - 1)) if len(x.shape) > 1 else 0
    shape = list(x.shape)
    shape[axis] = d.side(1, 3)
    others = [d.net.constant(shape, x.scale, x.zero_point), x][: d.side(1, 2)]
    return d.net.concatenation([x, *others], axis)


def _slice(d: Drawing, x: Value) -> Value:
    begin, end, stride, shrink = [], [], [], 0
    for axis, side in enumerate(x.shape):
        step = d.draw(st.sampled_from([1, 1, 2, 3, -1, -2])) if axis else 1
        first = d.draw(st.integers(0, side - 1))
        last = d.draw(st.integers(first + 1, side + 1)) if step > 0 else first - d.draw(st.integers(1, first + 1))
        if axis and step == 1 and d.draw(st.booleans()) and len(x.shape) > 2:
            shrink, last = shrink | 1 << axis, first + 1
        # a stop before the first value can't be written as a number; one past the last can
        begin.append(first - side if d.draw(st.booleans()) else first)
        end.append(last if last >= 0 else -side - 1)
        stride.append(step)
    return d.net.slice(x, begin, end, stride, shrink)


def _resize(d: Drawing, x: Value) -> Value:
    align = d.draw(st.booleans())
    return d.net.resize(x, (d.side(1, 9), d.side(1, 9)), align, not align and d.draw(st.booleans()))


def _shape(d: Drawing, x: Value) -> Value:
    kind = d.draw(st.sampled_from(["reshape", "squeeze", "expand", "picture"]))
    if kind == "expand" and len(x.shape) < 4:
        return d.net.expand(x, d.draw(st.integers(1, len(x.shape))))
    if kind == "squeeze" and len(x.shape) > 2 and 1 in x.shape[1:]:
        return d.net.squeeze(x)
    size = _size(x)
    if kind == "picture":
        channels = next(c for c in (3, 2, 1) if size % c == 0)
        return d.net.reshape(x, (1, size // channels, 1, channels))
    return d.net.reshape(x, (1, size))


def _size(x: Value) -> int:
    size = 1
    for side in x.shape:
        size *= side
    return size


_ANY: list[Callable[[Drawing, Value], Value]] = [
    _binary, _unary, _softmax, _mean, _pad, _concatenation, _slice, _shape, _dense,
]  # fmt: skip
_PICTURE: list[Callable[[Drawing, Value], Value]] = [_convolution, _convolution, _pool, _resize]


@st.composite
def networks(draw: st.DrawFn) -> bytes:
    """An int8 model of one to six layers, with one or several inputs and outputs."""
    d = Drawing(draw, Network(seed=draw(st.integers(0, 2**32 - 1))))
    shape = (1, d.side(1, 9), d.side(1, 9), d.side(1, 9)) if draw(st.booleans()) else (1, d.side(1, 40))
    x = d.net.input(shape, *d.quantization())
    made = []
    for _ in range(d.side(1, 6)):
        layers = _ANY + _PICTURE * 2 if len(x.shape) == 4 and x.shape[0] == 1 else _ANY
        grown = draw(st.sampled_from(layers))(d, x)
        x = grown
        made.append(x)
        if _size(x) > _MAX_VALUES:
            break
    outputs = [x, *[value for value in made[:-1] if draw(st.integers(0, 5)) == 0]]
    return d.net.model(*outputs)
