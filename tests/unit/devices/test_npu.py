"""What Vela says, and how little of it may be believed without its share."""

from __future__ import annotations

import math

from ai_edge_litert.schema_py_generated import BuiltinOperator

from tests.unit.devices.flatbuffer_models import dense, with_operator
from tinymlops.devices.catalogue import load_profile
from tinymlops.devices.npu import Estimate, ask_vela, figures_of, read_estimate
from tinymlops.measurement import Provenance
from tinymlops.model_file import read_model

ROW = {
    "inferences_per_second": "2000.0",
    "inference_time": "0.0005",
    "sram_memory_used": "1.5",
    "on_chip_flash_memory_used": "0.0",
    "off_chip_flash_memory_used": "2.0",
}
NPU_ALONE = read_model(with_operator(BuiltinOperator.CUSTOM, custom="ethos-u"), "compiled")


def test_a_model_that_is_wholly_on_the_npu_has_a_time() -> None:
    estimate = read_estimate(ROW, read_model(dense(), "m"), NPU_ALONE)
    assert (estimate.on_npu, estimate.on_cpu) == (1.0, ())
    figures = figures_of(estimate)
    assert figures.latency_p50 is not None
    assert (figures.latency_p50.value, figures.latency_p50.provenance) == (500.0, Provenance.ESTIMATED)
    assert figures.peak_memory is not None
    assert figures.peak_memory.value == 1536
    assert figures.flash is not None
    assert figures.flash.value == 2048


def test_a_model_that_is_left_to_the_cpu_has_none_and_says_so() -> None:
    row = ROW | {"inferences_per_second": "nan", "inference_time": "0.0"}
    left = read_estimate(row, read_model(dense(), "m"), read_model(dense(), "compiled"))
    assert left.on_npu == 0
    assert math.isnan(left.seconds)
    figures = figures_of(left)
    assert figures.latency_p50 is figures.peak_memory is figures.flash is None
    assert figures.npu_share is not None
    assert figures.npu_share.value == 0
    assert figures.npu_share.note.startswith("FULLY_CONNECTED stay on the CPU; Vela gives no time (NaN)")


def test_a_share_below_all_is_shown_and_its_time_is_not_the_models() -> None:
    figures = figures_of(Estimate(0.0005, 10.0, 20.0, 0.75, ("SOFTMAX",)))
    assert figures.latency_p50 is None
    assert figures.npu_share is not None
    assert figures.npu_share.value == 0.75
    assert "SOFTMAX stay on the CPU; the NPU's part takes 500.0 µs" in figures.npu_share.note


def test_vela_itself_compiles_an_int8_layer_and_leaves_a_float_one() -> None:
    for name in ("ethos-u55-128", "ethos-u65-256"):
        accelerator = load_profile(name).accelerator
        assert accelerator is not None
        whole, none = (ask_vela(dense(dtype=dtype), accelerator, timeout_s=60) for dtype in ("int8", "float32"))
        assert whole.on_npu == 1
        assert 0 < whole.seconds < 1e-3
        assert none.on_npu == 0
        assert none.on_cpu == ("FULLY_CONNECTED",)
        assert math.isnan(none.seconds)
