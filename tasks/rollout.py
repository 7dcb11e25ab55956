"""Drive a roll-out, and show where it stands for as long as it lasts."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from tasks.progress import StepProgress
from tinymlops.errors import ReleaseError
from tinymlops.premises import Premises
from tinymlops.rollouts import Audience, Limits, Rollout, RolloutStatus, Standing
from tinymlops.rollouts.rules import count_standings, resume
from tinymlops.steering import Steering


def begin(
    workload: str,
    version: int | None,
    audience: Audience,
    stages: tuple[float, ...],
    limits: Limits,
    rollout_id: str | None,
) -> tuple[Steering, Rollout]:
    """Begin a roll-out, or go on with the one of that id: one that waits for a person is told to go on."""
    steering = Premises.from_environment().steering()
    begun = steering.start(workload, version, audience=audience, stages=stages, limits=limits, rollout_id=rollout_id)
    return steering, steering.change(begun.rollout_id, lambda one: resume(one, steering.clock()))


def raise_unless_done(rollout: Rollout) -> None:
    """Say it if a roll-out did not end well.

    Raises:
        ReleaseError: It waits for a person, or went back.
    """
    if rollout.status is RolloutStatus.PAUSED:
        raise ReleaseError(
            f"the roll-out {rollout.rollout_id} is paused ({rollout.reason})",
            f"look at the devices with `tinymlops fleet list`, then `tinymlops rollout resume {rollout.rollout_id}` "
            f"or `tinymlops rollout back {rollout.rollout_id}`",
        )
    if rollout.status is RolloutStatus.ROLLED_BACK:
        raise ReleaseError(
            f"release {rollout.version} of {rollout.workload} was rolled back ({rollout.reason})",
            "mend the model, build and release again",
        )


class Watched:
    """A roll-out on the pages: a bar, and a page that is drawn anew whenever something changed.

    Args:
        steering: To look with.
        rollout: The roll-out.
    """

    def __init__(self, steering: Steering, rollout: Rollout) -> None:
        self._steering, self._rollout = steering, rollout
        self._step = StepProgress(f"{rollout.workload} release {rollout.version}")
        self._bar: UUID | None = None
        self._page = ""

    def __enter__(self) -> Self:
        self._step.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._step.__exit__(kind, error, trace)

    def show(self, rollout: Rollout) -> None:
        """Show the roll-out as it is now."""
        counts = count_standings(rollout, self._steering.standings(rollout), self._steering.clock())
        everywhere = sum(counts, Counter())
        self._step(everywhere[Standing.GOOD], len(rollout.members), _words(rollout, everywhere))
        page = _page(rollout, counts)
        if page != self._page:
            self._page = page
            self._draw(rollout, page, 100.0 * everywhere[Standing.GOOD] / len(rollout.members))

    def _draw(self, rollout: Rollout, page: str, percent: float) -> None:
        description = f"Release {rollout.version} of {rollout.workload}: {rollout.status}"
        create_markdown_artifact(page, key=f"rollout-{rollout.workload}", description=description)
        if self._bar is None:
            self._bar = create_progress_artifact(progress=percent, description=description)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._bar, progress=percent, description=description)


def _words(rollout: Rollout, count: Counter[Standing]) -> str:
    told = ", ".join(f"{count[standing]} {standing}" for standing in Standing if count[standing])
    return f"{rollout.status}, stage {rollout.stage + 1} of {len(rollout.stages)}: {told}"


def _page(rollout: Rollout, counts: list[Counter[Standing]]) -> str:
    """The roll-out as Markdown: where it stands, a row for each stage, and what happened."""
    heads = ["stage", "devices", *Standing, "not reached"]
    rows = [_row(rollout, stage, count) for stage, count in enumerate(counts)]
    happened = [f"- {datetime.fromtimestamp(at.at_s, UTC):%Y-%m-%d %H:%M:%S} UTC: {at.what}" for at in rollout.events]
    return "\n".join(
        (
            f"# Release {rollout.version} of {rollout.workload}: {rollout.status}",
            "",
            f"Roll-out `{rollout.rollout_id}` to {len(rollout.members)} devices.",
            "",
            f"| {' | '.join(heads)} |",
            f"|{' ---: |' * len(heads)}",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            *happened,
        )
    )


def _row(rollout: Rollout, stage: int, count: Counter[Standing]) -> list[str]:
    size = sum(member.stage == stage for member in rollout.members)
    standings = [str(count[standing]) for standing in Standing]
    return [f"{stage + 1}, up to {rollout.stages[stage]:.0%}", str(size), *standings, str(size - count.total())]
