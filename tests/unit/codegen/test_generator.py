from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.codegen.host import SANITIZERS, WARNINGS, write
from tests.unit.codegen.networks import MLPERF_TINY, RELU, Network, two_ends
from tinymlops.codegen import GeneratedOperator, KernelSet, generate
from tinymlops.errors import UsageError


def test_what_is_generated_describes_itself() -> None:
    net = Network(seed=2)
    x = net.convolution(net.input((1, 8, 8, 3), 0.5, -7), 4, activation=RELU, per_channel=True)
    generated = generate(net.model(net.softmax(net.reshape(net.pool(x, kernel=(8, 8)), (1, 4)))), KernelSet.PORTABLE)
    assert generated.operators == (
        GeneratedOperator(0, "CONV_2D", "convolved", 8 * 8 * 4 * 27, "tinymlops_conv_2d_s8"),
        GeneratedOperator(1, "AVERAGE_POOL_2D", "pooled", 0, "tinymlops_average_pool_2d_s8"),
        GeneratedOperator(2, "RESHAPE", "reshaped", 0, "none"),
        GeneratedOperator(3, "SOFTMAX", "softmax", 0, "tinymlops_softmax_s8"),
    )
    (given,), (made,) = generated.inputs, generated.outputs
    assert (given.name, given.shape, given.dtype, given.scale, given.zero_point, given.bytes) == (
        "input_0", (1, 8, 8, 3), "int8", 0.5, -7, 192,
    )  # fmt: skip
    assert (made.shape, made.scale, made.zero_point, made.bytes) == ((1, 4), 1 / 256, -128, 4)
    # weights, biases, multipliers and shifts of four channels, and 256 exponentials
    assert generated.constant_bytes == 4 * 27 + 4 * 4 + 4 * 4 + 4 + 256 * 4


def test_the_kernel_set_is_named_with_its_version() -> None:
    model = MLPERF_TINY["kws"]()
    assert generate(model, KernelSet.PORTABLE).kernels == "portable C (tinymlops)"
    assert re.fullmatch(r"CMSIS-NN \d+\.\d+\.\d+ \(bakenn \d+\.\d+\.\d+\)", generate(model, KernelSet.CMSIS_NN).kernels)


def test_arms_files_come_with_their_licences_and_only_where_they_are_called() -> None:
    arm = generate(MLPERF_TINY["kws"](), KernelSet.CMSIS_NN).files
    assert b"Apache License" in arm["cmsis_nn/LICENSE.txt"]
    assert "cmsis_nn/Source/ConvolutionFunctions/arm_convolve_s8.c" in arm
    assert "cmsis_nn/Source/PoolingFunctions/arm_max_pool_s8.c" not in arm
    net = Network()
    without = generate(net.model(net.unary("RELU", net.input((1, 4)))), KernelSet.CMSIS_NN)
    assert not any(path.startswith("cmsis") for path in without.files)


def test_only_kernels_that_are_called_are_written() -> None:
    net = Network()
    generated = generate(net.model(net.unary("RELU", net.input((1, 4)))), KernelSet.PORTABLE)
    assert generated.sources == ("model.c", "kernels/tinymlops_lookup.c")
    assert set(generated.sources) <= set(generated.files)


def test_every_operator_stands_between_its_marks() -> None:
    generated = generate(two_ends(), KernelSet.CMSIS_NN)
    text = generated.files["model.c"].decode()
    begins = [int(index) for index in re.findall(r"^ +TINYMLOPS_OPERATOR_BEGIN\((\d+)\);", text, re.MULTILINE)]
    ends = [int(index) for index in re.findall(r"^ +TINYMLOPS_OPERATOR_END\((\d+)\);", text, re.MULTILINE)]
    assert begins == ends == [operator.index for operator in generated.operators]


def test_several_inputs_and_outputs_lie_one_behind_the_other() -> None:
    generated = generate(two_ends(), KernelSet.PORTABLE, name="net")
    header = generated.files["net.h"].decode()
    assert "#define NET_INPUTS 2\n#define NET_INPUT_BYTES 260\n" in header
    assert "#define NET_OUTPUTS 2\n#define NET_OUTPUT_BYTES 9\n" in header
    assert "net_quantize_input_1(float real)" in header
    assert "net_dequantize_output_0(int8_t value)" in header


@pytest.mark.parametrize("name", ["int", "2nd", "a b", "x-y", "", "naïve", "a" * 50])
def test_a_name_that_is_no_identifier_of_c_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a name that C accepts"):
        generate(two_ends(), KernelSet.PORTABLE, name=name)


HELPERS = """
#include <math.h>
#include <stdio.h>
#include "model.h"
int main(void)
{
    const float reals[] = {0.0f, 0.74f, 0.76f, -0.74f, -0.76f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN, 65.5f, -66.0f};
    for (unsigned i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        (void)printf("%d ", model_quantize_input(reals[i]));
    }
    (void)printf("%.3f %.3f\\n", (double)model_dequantize_output(-128), (double)model_dequantize_output(127));
    return 0;
}
"""


def test_helpers_round_to_nearest_clamp_and_come_back(tmp_path: Path) -> None:
    net = Network()
    generated = generate(net.model(net.unary("QUANTIZE", net.input((1, 1), 0.5, 3), 0.25, -28)), KernelSet.PORTABLE)
    write(generated, tmp_path)
    (tmp_path / "main.c").write_text(HELPERS)
    command = ["gcc", *WARNINGS, *SANITIZERS, f"-I{tmp_path}", str(tmp_path / "main.c"), "-o", str(tmp_path / "main")]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "3", "4", "5", "2", "1", "127", "-128", "127", "-128", "3", "127", "-128", "-25.000", "38.750",
    ]  # fmt: skip
