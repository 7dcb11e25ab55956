"""Show how far a step is: a progress artifact in the Prefect UI, and a bar where somebody watches a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import task_run

_SECONDS_BETWEEN_UPDATES = 2.0


class Listener(Protocol):
    """Somebody who watches; called from many threads."""

    def update(self, step: str, done: int, total: int, text: str) -> None:
        """``step`` has done ``done`` of ``total``, and says ``text`` of it."""

    def end(self, step: str, text: str, *, good: bool) -> None:
        """``step`` is over."""


_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Tell ``listener`` of all progress in this process from now on."""
    _listeners.append(listener)


class StepProgress:
    """Progress of the task that runs in this thread: ``with StepProgress(step) as progress``, then call it.

    Args:
        step: Name for people.
    """

    def __init__(self, step: str) -> None:
        self._step = step
        self._text = ""
        self._artifact: UUID | None = None
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        self(0, 1, "starting")
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for listener in _listeners:
            listener.end(self._step, "failed" if error else self._text, good=error is None)

    def __call__(self, done: int, total: int, text: str) -> None:
        """Report ``done`` of ``total``; the UI hears of it every two seconds at most, and not of what is quicker."""
        self._text = text
        for listener in _listeners:
            listener.update(self._step, done, total, text)
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_UPDATES or not task_run.get_id():
            return
        self._last = now
        percent, description = 100.0 * done / max(1, total), f"{self._step}: {text}"
        if self._artifact is None:
            self._artifact = create_progress_artifact(progress=percent, description=description)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._artifact, progress=percent, description=description)

    def say(self, text: str) -> None:
        """Report what is being done, where nobody knows how much is left."""
        self(0, 1, text)
