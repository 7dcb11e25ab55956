"""Bars for the steps of a flow; plain lines where nobody watches."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Steps:
    """Shows each step from its first report to its last. Called from many threads.

    Args:
        shown: False to stay silent.
    """

    def __init__(self, *, shown: bool) -> None:
        self._console = Console(stderr=True)
        self._shown = shown
        self._live = shown and self._console.is_terminal
        self._bars: dict[str, tuple[TaskID, float]] = {}
        self._lock = threading.Lock()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[step]:<32}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}", style="dim"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._live,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, step: str, done: int, total: int, text: str) -> None:
        """``step`` has done ``done`` of ``total``, and says ``text`` of it."""
        if not self._shown:
            return
        with self._lock:
            if step not in self._bars:
                self._bars[step] = (self._progress.add_task(text, total=total, step=step), time.monotonic())
            self._progress.update(self._bars[step][0], completed=done, total=total, description=text)

    def end(self, step: str, text: str, *, good: bool) -> None:
        """``step`` is over: its bar becomes a line."""
        if not self._shown:
            return
        with self._lock:
            bar, started = self._bars.pop(step)
            self._progress.remove_task(bar)
            seconds = time.monotonic() - started
            mark = "[green]✓[/]" if good else "[red]✗[/]"
            self._console.print(f"{mark} {step:<40} [dim]{text}, {seconds:.1f} s[/]", highlight=False)
