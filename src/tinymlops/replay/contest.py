"""A challenger from the last weeks' samples against the release that is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.replay.serving import PROFILE, Served, serve
from tinymlops.replay.street import DAY_S
from tinymlops.retraining.contest import Rules, decide
from tinymlops.retraining.field import take_samples
from tinymlops.retraining.judging import Pair, judge
from tinymlops.retraining.values import Outcome, RetrainingRecord, Trigger
from tinymlops.telemetry.tables import Tables
from tinymlops.workloads.catalogue import load_workload
from tinymlops.workloads.footfall import RENEWED_DAYS, Footfall
from tinymlops.workloads.snapshots import RenewedWorkload

if TYPE_CHECKING:
    import polars as pl


class LastWeeks(Tables):
    """The same tables, in which samples begin where footfall begins to learn: nothing older is read.

    Args:
        tables: All of them.
        now_s: When.
    """

    def __init__(self, tables: Tables, now_s: int) -> None:
        super().__init__(tables.address)
        self._from_s = float(now_s - (RENEWED_DAYS + 1) * DAY_S)

    def samples(
        self,
        workload: str,
        *,
        began_s: float | None = None,
        ended_s: float | None = None,
        version: int | None = None,
    ) -> pl.LazyFrame:
        """As of `Tables`, of the last weeks."""
        return super().samples(workload, began_s=max(began_s or 0.0, self._from_s), ended_s=ended_s, version=version)


def challenge(
    tables: Tables, champion: Served, asked: tuple[Trigger, str], *, version: int, now_s: int, seed: int
) -> tuple[RetrainingRecord, Served | None]:
    """Train on the field's samples, compare, decide; the record, and the challenger where there is one.

    Args:
        tables: Of samples.
        champion: That is served.
        asked: By what, and why.
        version: That the challenger would have.
        now_s: By the simulated clock.
        seed: Of training and the gate's draws.

    Raises:
        TinyMLOpsError: As `serve` does.
    """
    workload, table_version = Footfall(), tables.version("samples")
    values = champion.inputs.shape[2]
    data = take_samples(
        LastWeeks(tables, now_s), workload, workload.name, version=table_version, values=values, since_s=0.0
    )
    loaded = load_workload(data.reference, seed)
    challenger = serve(data.reference, version, seed)
    assert isinstance(loaded.workload, RenewedWorkload)  # noqa: S101 - a reference with samples is one
    pair = Pair(champion=champion.tflite, challenger=challenger.tflite)
    comparisons = judge(
        loaded.workload, loaded.workload.renewal(seed), {PROFILE: pair}, seed=seed, k=len(champion.inputs)
    )
    decision = decide(comparisons, Rules(harm=workload.budget))
    record = RetrainingRecord(
        workload=workload.name,
        key=f"replay-{version}",
        trigger=asked[0],
        why=asked[1],
        began_s=float(now_s),
        ended_s=float(now_s),
        table_version=table_version,
        outcome=Outcome.PROMOTED if decision.promote else Outcome.REJECTED,
        reason=decision.reason,
        metric=workload.metric.name,
        comparisons=comparisons,
        champion=champion.manifest.version,
        release=version if decision.promote else None,
    )
    return record, challenger
