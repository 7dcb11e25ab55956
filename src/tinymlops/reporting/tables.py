"""The tables of a build: in a terminal, and as Markdown for the run's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tinymlops.measurement import Provenance
from tinymlops.reporting.units import score_text, size_text
from tinymlops.reporting.values import BuildReport
from tinymlops.reporting.views import Cell, DeviceRow, DeviceView, RecipeRow, device_views, failure_words, recipe_rows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHOWN = ("flash", "peak RAM", "on NPU")
_MARKS = {Provenance.CALIBRATED: "≈", Provenance.ESTIMATED: "~"}
_LEGEND = (
    "★ selected, ● on the Pareto front. Every figure was measured in this run, "
    "except ≈ calibrated with a published board and ~ estimated by a tool."
)


def print_tables(console: Console, report: BuildReport) -> None:
    """One table of recipes, then one per device with its selection in words below it."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(_recipe_table(report))
    for note in report.notes:
        console.print(Padding(Text(f"mind: {note}"), (0, 0, 1, 2)))
    for view in device_views(report):
        notes = _Notes()
        console.print(_device_table(view, report.metric, notes))
        for line in (*notes.lines(), *_selection_lines(view)):
            # As text, not markup: names come from users.
            console.print(Padding(Text(line), (0, 0, 0, 2)), style="dim" if line[0] in _Notes.SIGNS else "")
        console.print()
    console.print(Text(_LEGEND), style="dim")


def markdown_tables(report: BuildReport) -> str:
    """The selections, the recipes and the devices as Markdown."""
    parts = [f"# {_md(report.title)}", _md(reference_line(report))]
    parts.append(
        _md_table(_RECIPE_HEAD, [*(_recipe_cells(row) for row in recipe_rows(report)), *_failure_cells(report)])
    )
    parts += ["\n".join(f"- mind: {_md(note)}" for note in report.notes)] if report.notes else []
    for view in device_views(report):
        notes = _Notes()
        parts.append(f"## {_md(view.profile.title)}")
        parts.append(_md_table(_device_head(view), [_device_cells(row, _shown(view), notes) for row in view.rows]))
        parts.append("\n".join(f"- {_md(line)}" for line in (*notes.lines(), *_selection_lines(view))))
    return "\n\n".join([*parts, _LEGEND, *([_md(report.credit)] if report.credit else [])]) + "\n"


def reference_line(report: BuildReport) -> str:
    """The float network beside the reference on the same split, in words."""
    own = f"float network: {report.metric} {score_text(report.float_scores.test)} on test"
    if report.reference_scores is None:
        return f"{own}; no reference model was trained"
    ahead = report.float_scores.test - report.reference_scores.test
    if not report.higher_is_better:
        ahead = -ahead
    verdict = "better" if ahead > 0 else "worse" if ahead < 0 else "no better"
    difference = f"{score_text(abs(ahead))} {verdict}" if ahead else verdict
    return f"{own}, {difference} than the {report.reference_name} ({score_text(report.reference_scores.test)})"


_RECIPE_HEAD = ("recipe", "validation", "test", "model", "gzip", "zeros", "keeps")


def _recipe_cells(row: RecipeRow) -> tuple[str, ...]:
    facts = row.facts
    zeros = "" if facts.sparsity is None else f"{facts.sparsity:.0%}"
    keeps = "; ".join((*facts.promises, *((f"vetoed: {facts.vetoed}",) if facts.vetoed else ())))
    return (
        facts.recipe,
        row.validation,
        row.test,
        size_text(facts.model_bytes),
        size_text(facts.gzip_bytes),
        zeros,
        keeps,
    )


def _failure_cells(report: BuildReport) -> list[tuple[str, ...]]:
    return [(failure.recipe, *["–"] * 5, failure_words(failure)) for failure in report.failures]


def _device_head(view: DeviceView) -> tuple[str, ...]:
    return ("", "recipe", "validation", "test", *map(view.header, _shown(view)), "fits, or why not")


def _shown(view: DeviceView) -> tuple[str, ...]:
    """The figures that a narrow table has room for; the page has all."""
    return (view.time_name, *(name for name in _SHOWN if name in view.columns or name == "peak RAM"))


def _device_cells(row: DeviceRow, shown: tuple[str, ...], notes: _Notes) -> tuple[str, ...]:
    sign = "★" if row.selected else "●" if row.on_front else ""
    figures = tuple(notes.mark(row.figures[name]) for name in shown)
    # The gate's words stand in the table of recipes: twelve recipes on four devices need not repeat them.
    verdict = row.verdict.replace(f"accuracy gate: {row.facts.vetoed}", "vetoed, see the recipes")
    return (sign, row.facts.recipe, row.validation, row.test, *figures, verdict)


class _Notes:
    """Footnotes of one table: each note once, a sign where it belongs."""

    SIGNS = "¹²³⁴⁵⁶⁷⁸⁹"

    def __init__(self) -> None:
        self._seen: list[str] = []

    def mark(self, cell: Cell) -> str:
        """The cell's text with the signs of its provenance and its note."""
        text = _MARKS.get(Provenance(cell.provenance), "") + cell.text if cell.text else "–"
        if not cell.note:
            return text
        if cell.note not in self._seen:
            self._seen.append(cell.note)
        return f"{text} {self._sign(cell.note)}"

    def lines(self) -> tuple[str, ...]:
        """One line per note."""
        return tuple(f"{self._sign(note)} {note}" for note in self._seen)

    def _sign(self, note: str) -> str:
        return "".join(self.SIGNS[int(digit) - 1] if digit != "0" else "⁰" for digit in str(self._seen.index(note) + 1))


def _selection_lines(view: DeviceView) -> tuple[str, ...]:
    selection = view.selection
    if selection is None:
        return ()
    chosen = (
        f"★ {selection.recipe}: {selection.reason}" if selection.recipe else f"nothing selected: {selection.reason}"
    )
    second = (f"runner-up {selection.runner_up}: {selection.runner_up_reason}",) if selection.runner_up else ()
    return (chosen, *second, *(f"mind: {caveat}" for caveat in selection.caveats))


def _recipe_table(report: BuildReport) -> Table:
    title = f"{report.title} · {report.metric}\n{reference_line(report)}"
    table = _table(title, _RECIPE_HEAD, right=range(1, 6))
    for row in recipe_rows(report):
        _add(table, _recipe_cells(row), style="yellow" if row.facts.vetoed else "")
    for failure, cells in zip(report.failures, _failure_cells(report), strict=True):
        _add(table, cells, style="red" if failure.applicable else "dim")
    return table


def _device_table(view: DeviceView, metric: str, notes: _Notes) -> Table:
    head = _device_head(view)
    table = _table(f"{view.profile.title} · {view.cpu} · {metric}", head, right=range(2, len(head) - 1))
    for row in view.rows:
        style = "bold green" if row.selected else "dim" if row.reasons else ""
        _add(table, _device_cells(row, _shown(view), notes), style=style)
    return table


def _table(title: str, head: Sequence[str], *, right: Iterable[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(head):
        last = index == len(head) - 1
        table.add_column(
            name,
            justify="right" if index in right else "left",
            no_wrap=not last,
            overflow="fold",
            ratio=1 if last else None,
        )
    return table


def _add(table: Table, cells: Iterable[str], style: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells), style=style)


def _md(text: str) -> str:
    for sign in "\\`*_[]<>#|":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")


def _md_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell if cell == '---' else _md(cell) for cell in line)} |" for line in lines)
