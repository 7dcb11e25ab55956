"""Whatever the file says, the generator answers with C that is right or with one sentence."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.unit.codegen.host import assert_bit_equal, build
from tests.unit.codegen.mutations import REAL, mutated
from tests.unit.codegen.networks import Network, Value
from tests.unit.devices.flatbuffer_models import dense
from tinymlops.codegen import KernelSet, generate
from tinymlops.errors import DoesNotRunError, ModelFileError, TinyMLOpsError

MUTATIONS = int(os.environ.get("TINYMLOPS_MUTATIONS", "1000"))


def test_mutations_of_a_real_file_are_generated_or_refused_in_one_sentence_and_bounded_time_and_memory() -> None:
    generator = random.Random(5)  # noqa: S311 - the same mutations every time
    generate(REAL, KernelSet.CMSIS_NN)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    accepted, slowest_s = 0, 0.0
    refusals: list[TinyMLOpsError] = []
    for _ in range(MUTATIONS):
        content = mutated(generator)
        start = time.perf_counter()
        try:
            generate(content, generator.choice(list(KernelSet)))
            accepted += 1
        except TinyMLOpsError as error:
            refusals.append(error)
        slowest_s = max(slowest_s, time.perf_counter() - start)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    assert 0 < accepted < MUTATIONS
    assert all(isinstance(error, ModelFileError | DoesNotRunError) and "\n" not in str(error) for error in refusals)
    assert slowest_s < 10
    assert grown_mib < 200


@pytest.mark.parametrize(
    "name",
    ["*/ #error tricked /*", 'x"; abort();', "a\n#error tricked", "back\\", "??/", "/*/*", "é" * 500, "%s%n", ""],
)
def test_names_never_reach_the_code(name: str) -> None:
    net = Network(seed=3)
    model = net.softmax(net.dense(net.input((1, 5)), 3))
    for tensor in net.tensors:
        tensor.name = name
    assert_bit_equal(net.model(model), KernelSet.PORTABLE, rows=2)


def refused(build_model: Callable[[Network, Value], Value], shape: tuple[int, ...] = (1, 6, 6, 4)) -> str:
    net = Network(seed=1)
    with pytest.raises(DoesNotRunError) as caught:
        generate(net.model(build_model(net, net.input(shape))), KernelSet.PORTABLE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_operator_without_a_generated_form_is_named_with_its_layer() -> None:
    def tanh(net: Network, x: Value) -> Value:
        return net.operator("TANH", [net.dense(x, 4).index], net.value("squashed", (1, 6, 6, 4), 1 / 128, 0))

    assert "layer 'squashed' (TANH, operator 1) has no generated form" in refused(tanh)


def test_a_float_model_is_refused_as_a_whole() -> None:
    with pytest.raises(DoesNotRunError, match="computes with float32, and generated code is int8 only"):
        generate(dense(dtype="float32", version=1), KernelSet.PORTABLE)


def test_sixteen_bit_activations_are_refused_as_a_whole() -> None:
    net = Network()
    y = net.unary("RELU", net.input((1, 4)))
    for tensor in net.tensors:
        tensor.type = schema.TensorType.INT16
    with pytest.raises(DoesNotRunError, match="computes with int16"):
        generate(net.model(y), KernelSet.PORTABLE)


def test_a_shape_that_is_known_only_when_running_is_refused_but_an_open_number_of_rows_is_not() -> None:
    for signature, runs in [([-1, 4], True), ([1, -1], False), ([-1, -1], False)]:
        net = Network()
        y = net.unary("RELU", net.input((1, 4)))
        for tensor in net.tensors:
            tensor.shapeSignature = signature
        if runs:
            generate(net.model(y), KernelSet.PORTABLE)
        else:
            with pytest.raises(DoesNotRunError, match="known only when running"):
                generate(net.model(y), KernelSet.PORTABLE)


def test_a_tensor_beyond_the_address_space_is_refused() -> None:
    assert "more than a 32-bit processor can address" in refused(lambda net, x: net.resize(x, (50_000, 50_000)))


def test_constants_that_share_bytes_without_end_are_refused() -> None:
    net = Network()
    y = net.dense(net.input((1, 60)), 60)
    for _ in range(100):
        copy = net.tensor("copy", (60, 60), scales=[1.0])
        net.tensors[copy].buffer = net.tensors[2].buffer
    with pytest.raises(ModelFileError, match="more constants than its bytes can hold"):
        generate(net.model(y), KernelSet.PORTABLE)


def test_a_network_of_thousands_of_operators_is_refused() -> None:
    net = Network()
    x = net.input((1, 2))
    for _ in range(2001):
        x = net.reshape(x, (1, 2))
    with pytest.raises(DoesNotRunError, match="2,001 operators"):
        generate(net.model(x), KernelSet.PORTABLE)


def test_several_subgraphs_are_refused() -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(REAL, 0))
    model.subgraphs = model.subgraphs * 2
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(DoesNotRunError, match="2 subgraphs"):
        generate(bytes(builder.Output()), KernelSet.PORTABLE)


def test_forms_of_operators_that_have_no_generated_code_are_told_apart() -> None:
    def grouped(net: Network, x: Value) -> Value:
        y = net.convolution(x, 4)
        net.tensors[2].shape = [4, 3, 3, 2]
        return y

    def weights_that_are_computed(net: Network, x: Value) -> Value:
        y = net.dense(x, 4)
        net.operators[0].inputs[1] = x.index
        return y

    def asymmetric(net: Network, x: Value) -> Value:
        y = net.dense(x, 4)
        net.tensors[2].quantization.zeroPoint = [3]
        return y

    assert "grouped convolution" in refused(grouped)
    assert "computes its weights" in refused(weights_that_are_computed)
    assert "zero point is not 0" in refused(asymmetric)
    assert "changes the scale" in refused(lambda net, x: net.pool(Value(x.index, x.shape, x.scale * 2, 0)))
    assert "which must lie between 0 and 1" in refused(lambda net, x: net.binary("ADD", x, x, 2**-30))
    assert "too small for LOGISTIC" in refused(
        lambda net, x: net.unary("LOGISTIC", net.unary("QUANTIZE", x, 2**-30, 0))
    )
    assert "one picture is expected" in refused(lambda net, x: net.convolution(x, 4), (2, 6, 6, 4))


def test_a_network_without_a_kernel_gives_its_input_back() -> None:
    net = Network()
    model = net.model(net.reshape(net.input((1, 2, 3)), (1, 6)))
    assert_bit_equal(model, KernelSet.PORTABLE)
    assert generate(model, KernelSet.PORTABLE).operators[0].kernel == "none"


def test_a_constant_output_is_given_back() -> None:
    net = Network()
    x = net.input((1, 4))
    constant = net.constant((1, 6), 0.5, 3)
    generated = generate(net.model(net.unary("RELU", x), net.reshape(constant, (6, 1))), KernelSet.PORTABLE)
    with tempfile.TemporaryDirectory() as name:
        program = build(generated, Path(name))
        out = subprocess.run([program], input=bytes(4), capture_output=True, timeout=60, check=True).stdout
    values = np.frombuffer(bytes(net.buffers[1].data), np.int8)
    np.testing.assert_array_equal(np.frombuffer(out, np.int8)[4:], values)
