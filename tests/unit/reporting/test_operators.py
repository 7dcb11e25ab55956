"""Where the instructions go, as rows, as a terminal's bars and on the page."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from tests.unit.reporting.samples import build_report, measurement, profile
from tinymlops.measurement import Figure, Measurement, OperatorCost, Provenance
from tinymlops.reporting.html import report_html
from tinymlops.reporting.operators import classes_of, operator_rows, operator_table, rest_words, short_layer
from tinymlops.reporting.tables import markdown_tables
from tinymlops.reporting.views import device_view
from tinymlops.selection import select

COSTS = (
    OperatorCost(
        0, "CONV_2D", "a/b/conv;x/<b>conv</b>", "arm_convolve", 100, 300.0, {"load": 100.0, "multiply": 200.0}
    ),
    OperatorCost(1, "SOFTMAX", "out", "tinymlops_softmax_s8", 0, 75.0, {"load": 75.0}),
)


def compiled() -> Measurement:
    share = Figure(0.5, "fraction", Provenance.ESTIMATED, "SOFTMAX stay on the CPU")
    return msgspec.structs.replace(
        measurement(instructions=400), operators=COSTS, flash=Figure(2048, "B"), npu_share=share
    )


def test_rows_tell_the_share_of_all_and_the_cost_of_a_multiplication() -> None:
    conv, softmax = operator_rows(compiled())
    assert (conv.instructions, conv.share, conv.macs, conv.per_mac) == ("300", "75.0%", "100", "3.00")
    assert (softmax.share, softmax.macs, softmax.per_mac) == ("18.8%", "", "")
    assert classes_of(compiled()) == ("load", "multiply")
    assert rest_words(compiled()) == "25 more instructions lie between the operators"


def test_bars_are_scaled_to_the_longest_and_stacked_by_class() -> None:
    conv, softmax = operator_rows(compiled())
    assert [(part.kind, round(part.start), round(part.width)) for part in conv.bar] == [
        ("load", 0, 33),
        ("multiply", 33, 67),
    ]
    assert sum(part.width for part in softmax.bar) == 25


def test_a_device_with_an_interpreter_has_no_rows() -> None:
    assert operator_rows(measurement()) == ()
    assert rest_words(measurement()) == ""


def test_a_layer_is_called_by_the_end_of_its_name() -> None:
    assert short_layer("m/re_lu/Relu;m/bn/Fused;m/conv2d/Conv2D1") == "conv2d/Conv2D1"
    assert short_layer("StatefulPartitionedCall:0") == "StatefulPartitionedCall:0"


def test_the_terminal_shows_every_operator_with_a_bar() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(operator_table(compiled()))
    assert "CONV_2D" in out.getvalue()
    assert "█" * 16 in out.getvalue()
    assert "SOFTMAX" in out.getvalue()


def page(one: Measurement) -> str:
    board = profile()
    report = build_report(measurements=(one,), profiles=(board,), selections=(select([one], board),))
    return report_html(report, b"").decode()


def test_the_page_draws_the_selected_variant_and_escapes_what_a_model_calls_its_layers() -> None:
    text = page(compiled())
    assert "Where the instructions go" in text
    assert '<rect class="c-multiply"' in text
    assert "&lt;b&gt;conv&lt;/b&gt;" in text
    assert "<b>conv</b>" not in text


def test_the_page_without_counted_operators_has_no_such_part() -> None:
    assert "Where the instructions go" not in page(measurement())


def test_flash_and_the_share_on_an_npu_are_columns_where_a_device_has_them() -> None:
    report = build_report(measurements=(compiled(),), profiles=(profile(),), selections=())
    text = markdown_tables(report)
    assert "| flash | peak RAM | on NPU |" in text
    assert "~50%" in text
    assert "SOFTMAX stay on the CPU" in text


def test_a_time_that_nobody_measured_has_no_quantile_in_its_name() -> None:
    calibrated = msgspec.structs.replace(
        compiled(), latency_p50=Figure(5000, "us", Provenance.CALIBRATED, "from a board", 0.17)
    )
    report = build_report(measurements=(calibrated,), profiles=(profile(),), selections=())
    assert device_view(report, profile()).header("latency p50") == "latency"
    assert "≈5.00 ms ±17%" in markdown_tables(report)
    timed = build_report(measurements=(measurement(latency_us=5.0),), profiles=(profile(),), selections=())
    assert device_view(timed, profile()).header("latency p50") == "latency p50"
