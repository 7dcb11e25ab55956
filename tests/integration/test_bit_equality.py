"""The generated C gives the bits of the TensorFlow Lite Micro interpreter."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.unit.codegen.drawn import networks
from tests.unit.codegen.host import assert_bit_equal, build
from tests.unit.codegen.mutations import mutated
from tests.unit.codegen.networks import MLPERF_TINY, SAME, Network, anomaly_detection
from tinymlops.codegen import KernelSet, generate
from tinymlops.errors import DoesNotRunError, TinyMLOpsError

# An acceptance run asks for 200 and more
EXAMPLES = int(os.environ.get("TINYMLOPS_RANDOM_NETWORKS", "12"))


@pytest.mark.parametrize("kernels", KernelSet)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(model=networks(), seed=st.integers(0, 2**16))
def test_random_networks_are_bit_equal_to_the_interpreter(kernels: KernelSet, model: bytes, seed: int) -> None:
    try:
        generate(model, kernels)
    except DoesNotRunError:
        assume(False)
    assert_bit_equal(model, kernels, seed=seed)


def _one_of_each() -> dict[str, bytes]:
    """A small network for each kernel, every one with what its kernel does at edges."""
    made: dict[str, bytes] = {}
    net = Network(seed=11)
    made["conv"] = net.model(net.convolution(net.input((1, 7, 6, 9)), 5, stride=(2, 1)))
    net = Network(seed=26)
    made["small conv"] = net.model(net.convolution(net.input((1, 7, 6, 3)), 5, stride=(2, 1)))
    net = Network(seed=12)
    made["dilated"] = net.model(net.convolution(net.input((1, 9, 8, 9)), 4, dilation=(2, 3)))
    net = Network(seed=13)
    made["depthwise"] = net.model(net.convolution(net.input((1, 7, 6, 7)), 7, depthwise=True))
    net = Network(seed=27)
    made["multiplied"] = net.model(net.convolution(net.input((1, 7, 6, 3)), 6, depthwise=True))
    net = Network(seed=14)
    made["dense"] = net.model(net.dense(net.input((1, 33)), 7, per_channel=True))
    net = Network(seed=15)
    made["average pool"] = net.model(net.pool(net.input((1, 7, 6, 3)), kernel=(3, 3), padding=SAME))
    net = Network(seed=16)
    made["max pool"] = net.model(net.pool(net.input((1, 7, 6, 3)), "MAX", kernel=(3, 3), padding=SAME))
    for name in ("ADD", "SUB", "MUL"):
        net = Network(seed=17)
        a, b = net.input((1, 5, 4, 3), 0.05, 3), net.input((1, 1, 4, 1), 0.02, -9)
        made[name.lower()] = net.model(net.binary(name, a, b, 0.03))
    net = Network(seed=25)
    made["halves"] = net.model(net.binary("MUL", net.input((1, 64), 0.5, 3), net.input((1, 64), 0.25, -9), 64.0))
    net = Network(seed=18)
    made["mean"] = net.model(net.mean(net.input((1, 5, 4, 3)), (1, 2)))
    net = Network(seed=19)
    made["softmax"] = net.model(net.softmax(net.input((3, 10))))
    for name in ("RELU", "RELU6", "HARD_SWISH", "LOGISTIC", "QUANTIZE"):
        net = Network(seed=20)
        made[name.lower()] = net.model(net.unary(name, net.input((1, 256), 0.04, 5)))
    net = Network(seed=21)
    made["pad"] = net.model(net.pad(net.input((1, 3, 4, 2)), [(0, 0), (1, 2), (2, 0), (1, 1)]))
    net = Network(seed=22)
    made["slice"] = net.model(net.slice(net.input((1, 7, 6, 3)), (0, 5, 0, 2), (1, -8, 6, 0), (1, -2, 2, -1)))
    net = Network(seed=23)
    made["resize"] = net.model(net.resize(net.input((1, 3, 4, 2)), (7, 5)))
    net = Network(seed=24)
    x = net.input((1, 3, 4, 2))
    made["concatenation"] = net.model(net.concatenation([x, net.constant((1, 3, 2, 2), x.scale, x.zero_point)], 2))
    return made


ONE_OF_EACH = _one_of_each()


@pytest.mark.parametrize("kernels", KernelSet)
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_each_operator_is_bit_equal_to_the_interpreter(name: str, kernels: KernelSet) -> None:
    assert_bit_equal(ONE_OF_EACH[name], kernels, rows=6)


# A kernel, a piece of its text, and an off-by-one to plant there
OFF_BY_ONE = [
    ("conv", "products.h", b"i < count; i++", b"i < (count - 1); i++"),
    ("conv", "conv_2d.c", b"(window->kernel_height - down.end)", b"(window->kernel_height - down.end - 1)"),
    ("dilated", "taps.h", b"(-start) + dilation - 1", b"(-start)"),
    ("small conv", "conv_2d.c", b"(x < window->input_width)", b"(x < (window->input_width - 1))"),
    ("depthwise", "depthwise_conv_2d.c", b"values[3] - zero_point", b"values[3] - zero_point - 1"),
    ("depthwise", "depthwise_conv_2d.c", b"here->input[at] - ", b"here->input[at] - 1 - "),
    ("multiplied", "depthwise_conv_2d.c", b"ic, channel)", b"(ic + 1) % 3, channel)"),
    ("dense", "products.h", b"i < count; i++", b"i < (count - 1); i++"),
    ("dense", "matrix_vector.c", b"column < columns", b"column < (columns - 1)"),
    ("halves", "arithmetic.h", b"remainder > threshold", b"remainder >= threshold"),
    ("average pool", "pool_2d.c", b"(count / 2) :", b"((count / 2) - 1) :"),
    ("max pool", "pool_2d.c", b"x < part.right", b"x < (part.right - 1)"),
    ("add", "elementwise.c", b"add_all(sum, 1,", b"add_all(sum, -1,"),
    ("sub", "elementwise.c", b"- sum.a_zero_point,", b"- sum.a_zero_point - 1,"),
    ("mul", "elementwise.c", b"- product.b_zero_point)", b"- product.b_zero_point - 1)"),
    (
        "mean",
        "mean.c",
        b"l < side[3]; l++) {\n                    sum",
        b"l < side[3] - 1; l++) {\n                    sum",
    ),
    ("softmax", "softmax.c", b"i < 3", b"i < 1"),
    ("hard_swish", "lookup.c", b"+ 128", b"+ 127"),
    ("slice", "copy.c", b"input[at + (l * step[3])]", b"input[at + ((l ^ 1) * step[3])]"),
    ("pad", "copy.c", b"(size_t)side[3]", b"(size_t)side[3] - 1U"),
    ("resize", "copy.c", b"(int32_t)row[y] *", b"(int32_t)row[(y > 0) ? (y - 1) : 0] *"),
    ("concatenation", "copy.c", b"next = &next[side[3]];", b"next = &next[side[3] - 1];"),
]


@pytest.mark.parametrize(("name", "path", "old", "new"), OFF_BY_ONE)
def test_an_off_by_one_planted_in_a_kernel_is_found(name: str, path: str, old: bytes, new: bytes) -> None:
    assert_bit_equal(ONE_OF_EACH[name], KernelSet.PORTABLE, rows=6)
    with pytest.raises(AssertionError):
        assert_bit_equal(ONE_OF_EACH[name], KernelSet.PORTABLE, rows=6, patch=(f"kernels/tinymlops_{path}", old, new))


@pytest.mark.parametrize("name", ["conv", "small conv", "dilated", "dense"])
def test_the_form_for_cores_without_indexed_loads_is_bit_equal(name: str) -> None:
    unrolled = ("kernels/tinymlops_products.h", b"#if defined(__riscv)", b"#if 1")
    assert_bit_equal(ONE_OF_EACH[name], KernelSet.PORTABLE, rows=6, patch=unrolled)


@pytest.mark.parametrize("kernels", KernelSet)
@pytest.mark.parametrize("name", MLPERF_TINY)
def test_networks_shaped_as_mlperf_tinys_are_bit_equal(name: str, kernels: KernelSet) -> None:
    assert_bit_equal(MLPERF_TINY[name](), kernels, rows=3)


def test_a_dense_layer_with_a_scale_for_each_row_is_bit_equal() -> None:
    for kernels in KernelSet:
        assert_bit_equal(anomaly_detection(per_channel=True), kernels, rows=3)


@pytest.mark.parametrize("kernels", KernelSet)
def test_what_is_accepted_of_a_mutated_file_compiles_and_runs_within_its_memory(kernels: KernelSet) -> None:
    generator, accepted = random.Random(6), 0  # noqa: S311 - likewise
    while accepted < 6:
        try:
            generated = generate(mutated(generator), kernels)
        except TinyMLOpsError:
            continue
        if generated.arena_bytes > 1 << 24:
            continue
        accepted += 1
        row = bytes(sum(tensor.bytes for tensor in generated.inputs))
        with tempfile.TemporaryDirectory() as name:
            done = subprocess.run(
                [build(generated, Path(name))], input=row, capture_output=True, timeout=60, check=False
            )
        assert done.returncode == 0, done.stderr.decode()[:3000]
