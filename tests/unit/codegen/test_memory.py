from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.codegen.drawn import networks
from tests.unit.codegen.host import assert_bit_equal
from tests.unit.codegen.networks import MLPERF_TINY, Network
from tinymlops.codegen import Helium, KernelSet, generate
from tinymlops.codegen.planner import ALIGNMENT, Buffer, plan

BUFFERS = st.lists(
    st.builds(
        lambda size, first, life: Buffer("b", size, first, first + life),
        st.integers(1, 500),
        st.integers(-1, 12),
        st.integers(0, 6),
    ),
    max_size=14,
)


@given(BUFFERS)
def test_buffers_that_are_alive_together_never_overlap(buffers: list[Buffer]) -> None:
    found = plan(buffers)
    for i, one in enumerate(buffers):
        assert found.offsets[i] % ALIGNMENT == 0
        assert found.offsets[i] + one.size <= found.size
        for j, other in enumerate(buffers[:i]):
            apart = found.offsets[i] + one.size <= found.offsets[j] or found.offsets[j] + other.size <= found.offsets[i]
            assert apart or not one.meets(other)


@given(BUFFERS)
def test_the_bound_is_what_is_alive_at_the_worst_step(buffers: list[Buffer]) -> None:
    steps = range(-1, 20)
    alive = [sum(one.padded for one in buffers if one.first <= step <= one.last) for step in steps]
    assert plan(buffers).bound == max(alive)
    assert plan(buffers).size >= plan(buffers).bound


def test_where_the_order_of_size_wastes_memory_another_order_is_found() -> None:
    """The start of MobileNet: greedy by size ends above what is alive."""
    buffers = [Buffer("input", 27, 0, 1), Buffer("a", 18, 1, 2), Buffer("b", 18, 2, 3), Buffer("c", 36, 3, 4)]
    scaled = [Buffer(one.name, one.size * 1024, one.first, one.last) for one in buffers]
    found = plan(scaled)
    assert found.size == found.bound == 54 * 1024


# .bss of the same shapes in the study that proved the route, portable and with CMSIS-NN: arena and working memory
STUDIED = {"kws": (16_000, 20_480), "ad": (768, 768), "ic": (49_152, 51_472), "vww": (64_512, 69_136)}


@pytest.mark.parametrize("name", STUDIED)
def test_arenas_are_no_larger_than_they_were(name: str) -> None:
    model = MLPERF_TINY[name]()
    portable, arm = STUDIED[name]
    assert generate(model, KernelSet.PORTABLE).arena_bytes <= portable
    assert generate(model, KernelSet.CMSIS_NN).arena_bytes <= arm
    for kernels in KernelSet:
        # and no plan could be smaller
        found = re.search(
            rb"([\d,]+) bytes; no plan needs less than ([\d,]+)", generate(model, kernels).files["model.c"]
        )
        assert found is not None
        assert found.group(1) == found.group(2)


@given(networks())
def test_working_memory_for_any_core_is_that_of_the_needier_one(model: bytes) -> None:
    needs = {helium: generate(model, KernelSet.CMSIS_NN, helium=helium).scratch_bytes for helium in Helium}
    assert needs[Helium.ANY] == max(needs.values())


@given(networks(), st.sampled_from(KernelSet))
def test_the_same_model_gives_the_same_bytes(model: bytes, kernels: KernelSet) -> None:
    assert generate(model, kernels) == generate(model, kernels)


def test_an_elementwise_operator_writes_over_an_input_that_nobody_reads_afterwards() -> None:
    net = Network(seed=1)
    x = net.dense(net.input((1, 40)), 100)
    model = net.model(net.unary("HARD_SWISH", net.unary("QUANTIZE", x)))
    assert generate(model, KernelSet.PORTABLE).arena_bytes == 40 + 100
    assert_bit_equal(model, KernelSet.PORTABLE)


def test_an_input_that_is_read_again_is_not_written_over() -> None:
    net = Network(seed=1)
    x = net.dense(net.input((1, 40)), 100)
    squashed = net.unary("LOGISTIC", x)
    model = net.model(net.binary("MUL", x, squashed))
    assert generate(model, KernelSet.PORTABLE).arena_bytes == 200
    assert_bit_equal(model, KernelSet.PORTABLE)


def test_an_input_that_is_an_output_too_is_not_written_over() -> None:
    net = Network(seed=1)
    x = net.dense(net.input((1, 4)), 100)
    y = net.unary("LOGISTIC", net.reshape(x, (100, 1)))
    assert_bit_equal(net.model(y, x), KernelSet.PORTABLE)
