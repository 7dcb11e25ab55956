"""Int8 networks built straight into flatbuffers: milliseconds instead of a converter's seconds, and any scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
_TYPES = {"int8": 9, "int32": 2, "int16": 7, "float32": 0}


@dataclass(frozen=True)
class Value:
    """A tensor of the network that is being built."""

    index: int
    shape: tuple[int, ...]
    scale: float
    zero_point: int


@dataclass
class Network:
    """Collects tensors and operators; ``model`` packs them."""

    seed: int = 0
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    codes: list[tuple[str, int]] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "int8",
        *,
        scales: npt.ArrayLike = (),
        zero_points: Sequence[int] = (0,),
        values: Any = None,
        axis: int = 0,
    ) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), _TYPES[dtype], 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values, dtype).tobytes(), np.uint8)
            self.buffers.append(buffer)
            made.buffer = len(self.buffers) - 1
        steps = np.asarray(scales, np.float32).ravel()
        if len(steps):
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = steps.tolist()
            made.quantization.zeroPoint = np.resize(zero_points, len(steps)).tolist()
            made.quantization.quantizedDimension = axis
        self.tensors.append(made)
        return len(self.tensors) - 1

    def value(self, name: str, shape: Sequence[int], scale: float, zero_point: int) -> Value:
        index = self.tensor(name, shape, scales=[scale], zero_points=[zero_point])
        return Value(index, tuple(shape), float(np.float32(scale)), zero_point)

    def input(self, shape: Sequence[int], scale: float = 0.05, zero_point: int = -3) -> Value:
        made = self.value(f"input_{len(self.inputs)}", shape, scale, zero_point)
        self.inputs.append(made.index)
        return made

    def constant(self, shape: Sequence[int], scale: float, zero_point: int) -> Value:
        values = self.rng.integers(-128, 128, shape)
        index = self.tensor("constant", shape, scales=[scale], zero_points=[zero_point], values=values)
        return Value(index, tuple(shape), float(np.float32(scale)), zero_point)

    def integers(self, values: Any) -> int:
        return self.tensor("integers", np.shape(values), "int32", values=values)

    def operator(self, name: str, inputs: Sequence[int], output: Value, options: Any = None, version: int = 1) -> Value:
        if (name, version) not in self.codes:
            self.codes.append((name, version))
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = self.codes.index((name, version)), list(inputs), [output.index]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            made.builtinOptions, made.builtinOptionsType = options, getattr(schema.BuiltinOptions, kind)
        self.operators.append(made)
        return output

    def model(self, *outputs: Value) -> bytes:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = self.inputs, [output.index for output in outputs]
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        model.operatorCodes = []
        for name, version in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    # Layers. `multiplier` is input scale × weight scale / output scale, which decides how much of the sum survives.

    def _weights(
        self, shape: Sequence[int], scale: float, axis: int, per_channel: bool, source: Value, bias: int | None
    ) -> list[int]:
        channels = shape[axis]
        spread = self.rng.uniform(0.25, 1.0, channels) if per_channel else np.ones(1)
        weights = self.tensor(
            "weights", shape, scales=scale * spread, values=self.rng.integers(-127, 128, shape), axis=axis
        )
        if bias is None:
            return [weights]
        values = self.rng.integers(-bias, bias + 1, channels)
        return [weights, self.tensor("bias", [channels], "int32", scales=scale * spread * source.scale, values=values)]

    def convolution(
        self,
        source: Value,
        channels: int,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1),
        *,
        dilation: tuple[int, int] = (1, 1),
        padding: int = SAME,
        activation: int = NONE,
        per_channel: bool = True,
        bias: int | None = 1000,
        multiplier: float | None = None,
        scale: float = 0.05,
        zero_point: int = -5,
        depthwise: bool = False,
    ) -> Value:
        """CONV_2D, or DEPTHWISE_CONV_2D with ``channels`` a multiple of the input's."""
        _, height, width, depth = source.shape
        sides = [
            _places(side, k, s, d, padding)
            for side, k, s, d in zip((height, width), kernel, stride, dilation, strict=True)
        ]
        output = self.value("convolved", (1, *sides, channels), scale, zero_point)
        shape = (1, *kernel, channels) if depthwise else (channels, *kernel, depth)
        weights = self._weights(
            shape,
            (multiplier or _calm(math.prod(kernel) * (1 if depthwise else depth), per_channel)) * scale / source.scale,
            3 if depthwise else 0,
            per_channel,
            source,
            bias,
        )
        options: Any = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding, options.fusedActivationFunction = padding, activation
        options.strideH, options.strideW = stride
        options.dilationHFactor, options.dilationWFactor = dilation
        if depthwise:
            options.depthMultiplier = channels // depth
        name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.operator(name, [source.index, *weights], output, options, 3)

    def dense(
        self,
        source: Value,
        units: int,
        *,
        activation: int = NONE,
        per_channel: bool = False,
        bias: int | None = 1000,
        multiplier: float | None = None,
        scale: float = 0.05,
        zero_point: int = -5,
    ) -> Value:
        features = source.shape[-1]
        output = self.value("dense", (*source.shape[:-1], units), scale, zero_point)
        weights = self._weights(
            (units, features),
            (multiplier or _calm(features, per_channel)) * scale / source.scale,
            0,
            per_channel,
            source,
            bias,
        )
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction, options.keepNumDims = activation, len(source.shape) > 2
        return self.operator("FULLY_CONNECTED", [source.index, *weights], output, options, 4)

    def pool(
        self,
        source: Value,
        kind: str = "AVERAGE",
        kernel: tuple[int, int] = (2, 2),
        stride: tuple[int, int] = (2, 2),
        padding: int = VALID,
        activation: int = NONE,
    ) -> Value:
        _, height, width, depth = source.shape
        sides = [_places(side, k, s, 1, padding) for side, k, s in zip((height, width), kernel, stride, strict=True)]
        output = self.value("pooled", (1, *sides, depth), source.scale, source.zero_point)
        options = schema.Pool2DOptionsT()
        options.padding, options.fusedActivationFunction = padding, activation
        options.filterHeight, options.filterWidth = kernel
        options.strideH, options.strideW = stride
        return self.operator(f"{kind}_POOL_2D", [source.index], output, options, 2)

    def binary(
        self, name: str, a: Value, b: Value, scale: float = 0.1, zero_point: int = 4, activation: int = NONE
    ) -> Value:
        """ADD, SUB or MUL."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        options: Any = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT, "MUL": schema.MulOptionsT}[name]()
        options.fusedActivationFunction = activation
        output = self.value(name.lower(), shape, scale, zero_point)
        return self.operator(name, [a.index, b.index], output, options, 2)

    def unary(self, name: str, source: Value, scale: float = 0.03, zero_point: int = -7) -> Value:
        """RELU, RELU6, HARD_SWISH, LOGISTIC or QUANTIZE."""
        if name == "LOGISTIC":
            scale, zero_point = 1 / 256, -128
        if name == "RELU6":
            scale, zero_point = source.scale, source.zero_point
        output = self.value(name.lower(), source.shape, scale, zero_point)
        options = schema.HardSwishOptionsT() if name == "HARD_SWISH" else None
        return self.operator(name, [source.index], output, options, 2)

    def softmax(self, source: Value, beta: float = 1.0) -> Value:
        options = schema.SoftmaxOptionsT()
        options.beta = beta
        return self.operator("SOFTMAX", [source.index], self.value("softmax", source.shape, 1 / 256, -128), options, 2)

    def mean(
        self, source: Value, axes: Sequence[int], keep: bool = False, scale: float = 0.04, zero_point: int = 9
    ) -> Value:
        gone = {axis % len(source.shape) for axis in axes}
        shape = [1 if i in gone else side for i, side in enumerate(source.shape) if keep or i not in gone]
        options = schema.ReducerOptionsT()
        options.keepDims = keep
        output = self.value("mean", shape, scale, zero_point)
        return self.operator("MEAN", [source.index, self.integers(list(axes))], output, options, 2)

    def pad(self, source: Value, margins: Sequence[tuple[int, int]], value: bool = False) -> Value:
        shape = [side + sum(pair) for side, pair in zip(source.shape, margins, strict=True)]
        output = self.value("padded", shape, source.scale, source.zero_point)
        inputs = [source.index, self.integers(list(margins))]
        if value:
            return self.operator(
                "PADV2",
                [*inputs, self.constant((1,), source.scale, source.zero_point).index],
                output,
                schema.PadV2OptionsT(),
                2,
            )
        return self.operator("PAD", inputs, output, schema.PadOptionsT(), 2)

    def concatenation(self, sources: Sequence[Value], axis: int) -> Value:
        shape = list(sources[0].shape)
        shape[axis] = sum(source.shape[axis] for source in sources)
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        output = self.value("joined", shape, sources[0].scale, sources[0].zero_point)
        return self.operator("CONCATENATION", [source.index for source in sources], output, options, 2)

    def reshape(self, source: Value, shape: Sequence[int]) -> Value:
        output = self.value("reshaped", shape, source.scale, source.zero_point)
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return self.operator("RESHAPE", [source.index, self.integers(list(shape))], output, options)

    def squeeze(self, source: Value) -> Value:
        axes = [i for i, side in enumerate(source.shape) if side == 1][1:]
        options = schema.SqueezeOptionsT()
        options.squeezeDims = axes
        shape = [side for i, side in enumerate(source.shape) if i not in axes]
        output = self.value("squeezed", shape, source.scale, source.zero_point)
        return self.operator("SQUEEZE", [source.index], output, options)

    def expand(self, source: Value, axis: int) -> Value:
        shape = list(source.shape)
        shape.insert(axis, 1)
        output = self.value("expanded", shape, source.scale, source.zero_point)
        return self.operator("EXPAND_DIMS", [source.index, self.integers([axis])], output, schema.ExpandDimsOptionsT())

    def slice(
        self, source: Value, begin: Sequence[int], end: Sequence[int], stride: Sequence[int], shrink: int = 0
    ) -> Value:
        options = schema.StridedSliceOptionsT()
        options.shrinkAxisMask = shrink
        shape = [
            len(range(side)[b:e:s])
            for i, (side, b, e, s) in enumerate(zip(source.shape, begin, end, stride, strict=True))
            if not shrink >> i & 1
        ]
        output = self.value("sliced", shape, source.scale, source.zero_point)
        bounds = [self.integers(list(bound)) for bound in (begin, end, stride)]
        return self.operator("STRIDED_SLICE", [source.index, *bounds], output, options, 2)

    def resize(self, source: Value, size: tuple[int, int], align: bool = False, half: bool = False) -> Value:
        options = schema.ResizeNearestNeighborOptionsT()
        options.alignCorners, options.halfPixelCenters = align, half
        output = self.value("resized", (1, *size, source.shape[3]), source.scale, source.zero_point)
        return self.operator("RESIZE_NEAREST_NEIGHBOR", [source.index, self.integers(list(size))], output, options, 2)


def _calm(summands: int, per_channel: bool) -> float:
    """A multiplier that keeps the spread of random activations from layer to layer (He et al. 2015, section 2.2)."""
    return float((0.029 if per_channel else 0.0194) / math.sqrt(summands))


def _places(side: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    reach = (kernel - 1) * dilation + 1
    return math.ceil(side / stride) if padding == SAME else (side - reach) // stride + 1


def two_ends() -> bytes:
    """Two inputs, two outputs, and an operator of each kind that DS-CNN lacks."""
    net = Network(seed=9)
    a, b = net.input((1, 8, 8, 4)), net.input((1, 1, 1, 4), 0.02, 7)
    x = net.binary("MUL", net.convolution(a, 4, (5, 5), (2, 2), activation=RELU6), b)
    x = net.pad(net.pool(x, "MAX"), [(0, 0), (1, 0), (0, 1), (0, 0)])
    x = net.resize(net.unary("HARD_SWISH", x), (6, 5))
    joined = net.concatenation([x, net.slice(x, (0, 0, 0, 0), (1, 6, 5, 4), (1, 1, 1, 2))], 3)
    mean = net.mean(joined, (1, 2))
    return net.model(net.softmax(net.dense(mean, 3, activation=NONE)), net.unary("LOGISTIC", mean))


def keyword_spotting() -> bytes:
    """Shaped as MLPerf Tiny's DS-CNN: 49×10 spectrogram, 12 words."""
    net = Network(seed=1)
    x = net.convolution(net.input((1, 49, 10, 1)), 64, (10, 4), (2, 2), activation=RELU)
    for _ in range(4):
        x = net.convolution(x, 64, depthwise=True, activation=RELU)
        x = net.convolution(x, 64, (1, 1), activation=RELU)
    x = net.reshape(net.pool(x, kernel=(25, 5), stride=(25, 5)), (1, 64))
    return net.model(net.softmax(net.dense(x, 12)))


def visual_wake_words() -> bytes:
    """Shaped as MLPerf Tiny's MobileNetV1 0.25: 96×96 picture, person or not."""
    net = Network(seed=2)
    x = net.convolution(net.input((1, 96, 96, 3)), 8, stride=(2, 2), activation=RELU6)
    widths = [(1, 16), (2, 32), (1, 32), (2, 64), (1, 64), (2, 128), *[(1, 128)] * 5, (2, 256), (1, 256)]
    for stride, width in widths:
        x = net.convolution(x, x.shape[3], stride=(stride, stride), depthwise=True, activation=RELU6)
        x = net.convolution(x, width, (1, 1), activation=RELU6)
    x = net.reshape(net.pool(x, kernel=(3, 3), stride=(3, 3)), (1, 256))
    return net.model(net.softmax(net.dense(x, 2)))


def image_classification() -> bytes:
    """Shaped as MLPerf Tiny's ResNet-8: 32×32 picture, ten classes."""
    net = Network(seed=3)
    x = net.convolution(net.input((1, 32, 32, 3)), 16, activation=RELU)
    for width, stride in [(16, 1), (32, 2), (64, 2)]:
        y = net.convolution(x, width, stride=(stride, stride), activation=RELU)
        y = net.convolution(y, width)
        if stride != 1:
            x = net.convolution(x, width, (1, 1), (stride, stride))
        x = net.binary("ADD", x, y, activation=RELU)
    x = net.reshape(net.pool(x, kernel=(8, 8), stride=(8, 8)), (1, 64))
    return net.model(net.softmax(net.dense(x, 10)))


def anomaly_detection(per_channel: bool = False) -> bytes:
    """Shaped as MLPerf Tiny's autoencoder: 640-128-128-128-128-8-128-128-128-128-640."""
    net = Network(seed=4)
    x = net.input((1, 640))
    for units in [128] * 4 + [8] + [128] * 4:
        x = net.dense(x, units, activation=RELU, per_channel=per_channel)
    return net.model(net.dense(x, 640, per_channel=per_channel))


MLPERF_TINY = {
    "kws": keyword_spotting,
    "vww": visual_wake_words,
    "ic": image_classification,
    "ad": anomaly_detection,
}
