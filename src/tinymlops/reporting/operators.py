"""Where the instructions of an inference go: one row an operator, with a bar stacked by instruction class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.measurement import Measurement, OperatorCost

if TYPE_CHECKING:
    from rich.table import Table

_BAR_CELLS = 16
_EIGHTHS = " ▏▎▍▌▋▊▉"


class Segment(msgspec.Struct, frozen=True):
    """A part of a bar.

    Attributes:
        kind: Class of instruction.
        start: Where it starts, percent of the longest bar.
        width: Likewise.
        instructions: What it stands for, as text.
    """

    kind: str
    start: float
    width: float
    instructions: str


class OperatorRow(msgspec.Struct, frozen=True):
    """One operator as text.

    Attributes:
        cost: What it was made from.
        layer: Short name of the layer.
        instructions: Per inference.
        share: Of all instructions of the inference.
        macs: Multiply-accumulates per inference, or empty.
        per_mac: Instructions for each, or empty.
        bar: Its bar; the longest one of the table is 100 percent.
    """

    cost: OperatorCost
    layer: str
    instructions: str
    share: str
    macs: str
    per_mac: str
    bar: tuple[Segment, ...]


def operator_rows(measurement: Measurement) -> tuple[OperatorRow, ...]:
    """Rows in the order the operators run; none where nobody counted them apart."""
    costs = measurement.operators
    longest = max((cost.instructions for cost in costs), default=0.0)
    total = measurement.instructions.value if measurement.instructions else sum(cost.instructions for cost in costs)
    return tuple(_row(cost, longest, total) for cost in costs)


def classes_of(measurement: Measurement) -> tuple[str, ...]:
    """Classes of instruction that any operator has, in their order of first appearance."""
    return tuple(dict.fromkeys(kind for cost in measurement.operators for kind in cost.classes))


def rest_words(measurement: Measurement) -> str:
    """What lies between the operators, in words; empty without a total."""
    if measurement.instructions is None or not measurement.operators:
        return ""
    rest = measurement.instructions.value - sum(cost.instructions for cost in measurement.operators)
    return f"{rest:,.0f} more instructions lie between the operators"


def operator_table(measurement: Measurement) -> Table:
    """The rows as a table for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"{measurement.variant.recipe} on {measurement.device}: where the instructions go"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("operator", no_wrap=True)
    for name in ("layer", "kernel"):
        table.add_column(name, overflow="fold")
    for name in ("MACs", "instructions", "share", "per MAC"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=_BAR_CELLS)
    for row in operator_rows(measurement):
        cells = (row.cost.operator, row.layer, row.cost.kernel, row.macs, row.instructions, row.share, row.per_mac)
        table.add_row(*(Text(cell) for cell in cells), Text(_blocks(row), style="blue"))
    return table


def _row(cost: OperatorCost, longest: float, total: float) -> OperatorRow:
    per_mac = cost.per_mac
    return OperatorRow(
        cost=cost,
        layer=short_layer(cost.layer),
        instructions=f"{cost.instructions:,.0f}",
        share=f"{cost.instructions / total:.1%}" if total else "–",
        macs=f"{cost.macs:,}" if cost.macs else "",
        per_mac="" if per_mac is None else f"{per_mac:.2f}",
        bar=_segments(cost, longest),
    )


def _segments(cost: OperatorCost, longest: float) -> tuple[Segment, ...]:
    segments, start = [], 0.0
    for kind, count in cost.classes.items():
        width = 100 * count / longest if longest else 0.0
        segments.append(Segment(kind, round(start, 3), round(width, 3), f"{count:,.0f}"))
        start += width
    return tuple(segments)


def short_layer(name: str) -> str:
    """The last two parts of a layer's name: converters join the names of all that they fused."""
    return "/".join(name.rpartition(";")[2].split("/")[-2:])


def _blocks(row: OperatorRow) -> str:
    eighths = round(sum(segment.width for segment in row.bar) / 100 * _BAR_CELLS * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
