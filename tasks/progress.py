"""Show how far a step is: a progress artifact in the Prefect UI, and a bar where somebody watches a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import task_run

_SECONDS_BETWEEN_UPDATES = 2.0

Listener = Callable[[str, int, int, str], None]
"""Called with (step, done, total, text)."""

_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Tell ``listener`` of all progress in this process from now on."""
    _listeners.append(listener)


def announce(step: str, done: int, total: int, text: str) -> None:
    """Tell the listeners, and nobody else."""
    for listener in _listeners:
        listener(step, done, total, text)


class StepProgress:
    """Progress of the task that runs in this thread; use it as ``on_progress``."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._artifact: UUID | None = None
        self._last = 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        """Report ``done`` of ``total``; the UI hears of it every two seconds at most."""
        announce(self._step, done, total, text)
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_UPDATES or not task_run.get_id():
            return
        self._last = now
        percent = 100.0 * done / max(1, total)
        if self._artifact is None:
            self._artifact = create_progress_artifact(progress=percent, description=f"{self._step}: {text}")  # type: ignore[assignment]
        else:
            update_progress_artifact(self._artifact, progress=percent, description=f"{self._step}: {text}")
