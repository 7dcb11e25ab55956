from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from tests.unit.reporting.samples import build_report, measurement, profile
from tinymlops.measurement import Figure, Provenance, Scores
from tinymlops.reporting import BuildReport
from tinymlops.reporting.tables import markdown_tables, print_tables, reference_line
from tinymlops.reporting.units import figure_text, score_text, size_text


def _printed(report: BuildReport, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_tables(console, report)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [100, 120])
def test_no_name_and_no_number_is_cut_in_a_terminal(width: int) -> None:
    report = build_report()
    printed = _printed(report, width)
    assert max(len(line) for line in printed.splitlines()) <= width
    assert "…" not in printed
    for one in report.measurements:
        assert one.variant.recipe in printed
    assert "2,125,235" in printed


def test_a_variant_that_does_not_fit_stays_in_the_table_with_its_reason() -> None:
    printed = " ".join(_printed(build_report(), 160).split())
    assert "out of memory: the container was killed at its limit of 64 MiB" in printed
    assert "unsupported operator: litert has no int16 CONV_2D for armhf" in printed
    assert "vetoed: validation accuracy 0.7902 is 0.0540 below float" in printed


def test_recipes_that_gave_nothing_notes_and_credit_are_told() -> None:
    report = build_report()
    for told in (" ".join(_printed(report, 160).split()), markdown_tables(report)):
        assert "failed: the converter was stopped by signal 11" in told
        assert "not for this network: no kernel is wide enough" in told
        assert "mind: microcontrollers were left out: no container engine" in told
    assert "Motion data: someone (BSD-3-Clause)" in markdown_tables(report)


def test_a_note_becomes_a_footnote_that_is_told_once_per_device() -> None:
    printed = _printed(build_report())
    assert "20.6 MiB ¹" in printed
    assert printed.count("¹ includes the emulator") == 3


def test_markup_in_a_name_is_printed_as_it_is() -> None:
    report = build_report(title="[red]hot[/red]")
    assert "[red]hot[/red]" in _printed(report)
    assert "\\[red\\]hot" in markdown_tables(report)


def test_markdown_escapes_what_would_end_a_cell() -> None:
    one = measurement("a|b")
    report = build_report(measurements=(one,), profiles=(profile(),), selections=())
    assert "| a\\|b |" in markdown_tables(report)


def test_every_markdown_table_has_as_many_cells_in_each_line() -> None:
    blocks = [block for block in markdown_tables(build_report()).split("\n\n") if block.startswith("|")]
    assert len(blocks) == 5
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_figures_that_were_not_measured_are_marked() -> None:
    one = msgspec.structs.replace(measurement(), instructions=Figure(5, "instructions", Provenance.CALIBRATED))
    report = build_report(measurements=(one,), profiles=(profile(),), selections=())
    assert "≈5" in _printed(report)


@pytest.mark.parametrize(
    ("reference", "words"),
    [(0.7852, "0.0379 better than"), (0.9, "0.0769 worse than"), (0.8231, "no better than")],
)
def test_the_network_is_held_against_the_reference(reference: float, words: str) -> None:
    report = build_report(reference_scores=Scores("accuracy", True, 0.8, reference))
    assert words in reference_line(report)


def test_a_lower_error_is_the_better_one() -> None:
    report = build_report(
        higher_is_better=False,
        float_scores=Scores("mae", False, 20.0, 21.0),
        reference_scores=Scores("mae", False, 20.0, 25.0),
    )
    assert "4.0000 better" in reference_line(report)


def test_a_missing_reference_is_said() -> None:
    assert "no reference model" in reference_line(build_report(reference_scores=None, reference_name=""))


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(1_932_032, "instructions"), "1,932,032"),
        (Figure(70_758.4, "B"), "69.1 KiB"),
        (Figure(3 * 1024**2, "B"), "3.0 MiB"),
        (Figure(412.34, "us"), "412.3 µs"),
        (Figure(1412.3, "us"), "1.41 ms"),
        (Figure(812, "uJ", relative_error=0.25), "812.0 µJ ±25%"),
    ],
)
def test_figures_read_as_people_write_them(figure: Figure, text: str) -> None:
    assert figure_text(figure) == text


def test_small_sizes_and_large_errors_keep_their_digits() -> None:
    assert size_text(700) == "700 B"
    assert (score_text(0.84216), score_text(1234.567)) == ("0.8422", "1,234.57")
