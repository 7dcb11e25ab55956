"""Geometry of kernels that slide over a picture."""

from __future__ import annotations

from dataclasses import dataclass

from tinymlops.codegen.layer import Layer, struct

_SAME, _VALID = 0, 1


@dataclass(frozen=True)
class Window:
    """A kernel over a picture; each pair is height, width."""

    input: tuple[int, int]
    channels: int
    output: tuple[int, int]
    output_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]

    @property
    def taps(self) -> int:
        """Places under the kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def places(self) -> int:
        """Places of the output."""
        return self.output[0] * self.output[1]

    def code(self, zero_point: int) -> str:
        """The window as a C structure."""
        return struct(
            "tinymlops_window",
            "window",
            {
                "input_height": self.input[0],
                "input_width": self.input[1],
                "input_channels": self.channels,
                "output_height": self.output[0],
                "output_width": self.output[1],
                "output_channels": self.output_channels,
                "kernel_height": self.kernel[0],
                "kernel_width": self.kernel[1],
                "stride_height": self.stride[0],
                "stride_width": self.stride[1],
                "dilation_height": self.dilation[0],
                "dilation_width": self.dilation[1],
                "pad_top": self.pad[0],
                "pad_left": self.pad[1],
                "input_zero_point": zero_point,
            },
        )


def window_of(layer: Layer, kernel: tuple[int, int], dilation: tuple[int, int]) -> Window:
    """Geometry from the layer's tensors and options.

    Raises:
        DoesNotRunError: Not one picture, or sides that do not fit together.
    """
    source, target = layer.activation(0), layer.result()
    for tensor in (source, target):
        layer.require(
            len(tensor.shape) == 4 and tensor.shape[0] == 1, f"works on shape {tensor.shape}; one picture is expected"
        )
    stride = (layer.option("StrideH"), layer.option("StrideW"))
    layer.require(min(*stride, *dilation, *kernel) > 0, "has a stride, dilation or kernel side that is not positive")
    height, pad_top = _side(layer, source.shape[1], kernel[0], stride[0], dilation[0])
    width, pad_left = _side(layer, source.shape[2], kernel[1], stride[1], dilation[1])
    layer.require(
        (height, width) == target.shape[1:3] and height > 0 and width > 0,
        f"makes {height}×{width} places of {source.shape}, but its output is {target.shape}",
    )
    return Window(
        (source.shape[1], source.shape[2]),
        source.shape[3],
        (height, width),
        target.shape[3],
        kernel,
        stride,
        dilation,
        (pad_top, pad_left),
    )


def _side(layer: Layer, side: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Places of the output along an axis, and how far the first kernel hangs over."""
    padding = layer.option("Padding")
    layer.require(padding in {_SAME, _VALID}, f"has padding {padding}, which is neither SAME nor VALID")
    reach = (kernel - 1) * dilation + 1
    places = -(-side // stride) if padding == _SAME else (side + stride - reach) // stride
    return places, max((places - 1) * stride + reach - side, 0) // 2
