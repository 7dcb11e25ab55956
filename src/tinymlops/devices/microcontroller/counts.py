"""What the emulator's counter wrote: instructions by class, for an inference and for each operator."""

from __future__ import annotations

from dataclasses import dataclass

from tinymlops.codegen import GeneratedOperator
from tinymlops.measurement import OperatorCost

CLASSES = ("arithmetic", "load", "store", "multiply", "divide", "branch", "vector")
"""In the order of ``enum instruction_class`` of the plugin."""


@dataclass(frozen=True)
class Window:
    """Counts between two marks, summed over all inferences.

    Attributes:
        times: How often the window was open.
        classes: Instructions by class.
    """

    times: int
    classes: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Instructions each time."""
        return sum(self.classes) / self.times


@dataclass(frozen=True)
class Counts:
    """What was counted in one run.

    Attributes:
        inference: Everything from call to return.
        operators: In the order they ran.
    """

    inference: Window
    operators: tuple[Window, ...]


def parse_counts(text: str) -> Counts | None:
    """The counter's file, or None where it is not whole."""
    try:
        windows = [_window(line) for line in text.splitlines()]
    except ValueError:
        return None
    return Counts(windows[0], tuple(windows[1:])) if windows and windows[0].times else None


def _window(line: str) -> Window:
    times, *classes = (int(word) for word in line.split())
    if len(classes) != len(CLASSES):
        raise ValueError(f"{len(classes)} classes")
    return Window(times, tuple(classes))


def operator_costs(counts: Counts, operators: tuple[GeneratedOperator, ...]) -> tuple[OperatorCost, ...]:
    """Each operator with what it cost per inference; nothing where others ran than the generator wrote."""
    once_each = all(window.times == counts.inference.times for window in counts.operators)
    if len(counts.operators) != len(operators) or not once_each:
        return ()
    return tuple(
        OperatorCost(
            index=operator.index,
            operator=operator.operator,
            layer=operator.layer,
            kernel=operator.kernel,
            macs=operator.macs,
            instructions=window.mean,
            classes={name: count / window.times for name, count in zip(CLASSES, window.classes, strict=True) if count},
        )
        for operator, window in zip(operators, counts.operators, strict=True)
    )
