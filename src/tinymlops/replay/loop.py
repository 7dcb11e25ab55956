"""Day by day: sensors tell, somebody looks, a drift retrains, the better model is served, its reference made anew.

Windows and samples go through the code of the gateway into real tables; verdicts, gate and training are those of the
library. Only the clock is simulated, and releases go to the sensors without packages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tinymlops.drift import Level, MonitorReport, Rules, Verdict, rebased_all
from tinymlops.edge.counting import Layout
from tinymlops.errors import UsageError
from tinymlops.monitoring.aggregation import aggregate, evidence_of
from tinymlops.monitoring.looking import look
from tinymlops.monitoring.records import MonitorRecords
from tinymlops.monitoring.references import References
from tinymlops.monitoring.roll_call import call_roll
from tinymlops.monitoring.spans import Span
from tinymlops.replay.city import City, read_city, weekdays
from tinymlops.replay.contest import challenge
from tinymlops.replay.serving import PROFILE, RECIPE, Served, serve
from tinymlops.replay.story import DayError, Look, Story
from tinymlops.replay.street import DAY_S, StreetSensor
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.retraining.values import Outcome, RetrainingRecord, Trigger
from tinymlops.store import DirectoryStore
from tinymlops.telemetry.consents import Given
from tinymlops.telemetry.reading import Known, consents_in, sort
from tinymlops.telemetry.rows import Place, Received, sample_rows, window_rows
from tinymlops.telemetry.segments import Entry
from tinymlops.telemetry.tables import Tables
from tinymlops.wire.manifest import Manifest
from tinymlops.wire.observations import FeatureKind, Sample, Window

WORKLOAD = "footfall"
SPAN_DAYS = 7
RULES = Rules(k=15, effect=0.25, watch=0.125)
"""19 sensors are there at the start, and count passers-by, not one person each: a k of 15 instead of 20. An index of
0.25 is the usual bound of a large shift: seasons move errors by more than the 0.1 of a moderate one."""
SETTLE_DAYS = 56
"""Without drift, after which what a release was seen to do is its reference, instead of its validation rows."""
COOL_DOWN_DAYS = 42
"""Between two retrainings that drift asks for."""
SCHEDULE_DAYS = 182
"""After which a retraining is tried anyway; the gate says whether it was worth it."""
_SAMPLES_TOGETHER = 15_000
"""In one commit."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to replay.

    Attributes:
        seed: Of training, noise and the gate's draws.
        look_days: Days between two looks.
        rules: Of the verdicts.
        cool_down_days: Between two retrainings that drift asks for.
    """

    seed: int = 7
    look_days: int = 2
    rules: Rules = RULES
    cool_down_days: int = COOL_DOWN_DAYS


def run_replay(first: str, last: str, folder: str, plan: Plan, on_progress: Progress) -> Story:
    """Replay the days from ``first`` to ``last``.

    Args:
        first: Day, ``YYYY-MM-DD``.
        last: Likewise.
        folder: New, for tables and records.
        plan: How to replay.
        on_progress: Told of every day.

    Raises:
        UsageError: There are fewer days than a look is about.
        TinyMLOpsError: As training, tables and records do.
    """
    try:
        city = read_city().between(first, last)
    except ValueError as error:
        raise UsageError(f"{first} or {last} is no day", "write days as 2020-03-26") from error
    if len(city.days) < SPAN_DAYS:
        raise UsageError(f"{len(city.days)} days are too few for one look", f"replay {SPAN_DAYS} days at least")
    return Replay(city, folder, plan).run(on_progress)


class Replay:
    """A city, the devices in it and everything behind them.

    Args:
        city: What was counted.
        folder: For tables and records: a telemetry place like any other.
        plan: How to replay.
    """

    def __init__(self, city: City, folder: str, plan: Plan) -> None:
        self._city, self._plan = city, plan
        self.tables = Tables(folder)
        store = DirectoryStore(folder)
        self._reports, self._records = MonitorRecords(store), RetrainingRecords(store)
        self._sensors = [StreetSensor(column, 1000 * plan.seed + i) for i, column in enumerate(city.columns)]
        self._known: Mapping[str, Known] = {}
        self._windows: list[Received[Window]] = []
        self._samples: list[Received[Sample]] = []
        self._references: dict[int, References] = {}
        self._settled: set[int] = set()
        self._rows = 0  # that the newest reference out of the field is worth
        self._days: list[DayError] = []
        self._looks: list[Look] = []
        self._retrainings: list[RetrainingRecord] = []
        self._rebased: list[str] = []

    def run(self, on_progress: Progress) -> Story:
        """From the first day to the last.

        Raises:
            TinyMLOpsError: As training, tables and records do.
        """
        city, many = self._city, len(self._city.days)
        on_progress(0, many, "the first model is trained")
        self._first = self._served = serve(WORKLOAD, 1, self._plan.seed)
        self._take_out(self._served, _seconds(city.days[0]))
        self._agree(_seconds(city.days[0]))
        for number, weekday in enumerate(weekdays(city.days).tolist()):
            self._day(number, weekday)
            if number + 1 >= SPAN_DAYS and (number % self._plan.look_days == 0 or number + 1 == many):
                self._look(number, on_progress)
            on_progress(number + 1, many, str(city.days[number]))
        return Story(
            days=tuple(self._days),
            looks=tuple(self._looks),
            retrainings=tuple(self._retrainings),
            rebased=tuple(self._rebased),
        )

    def _agree(self, day_s: int) -> None:
        place = Place(profile=PROFILE)
        known = {one.keys.device_id: Known(place=place, signing_key=one.keys.public.signing) for one in self._sensors}
        entries = [Entry(one.keys.device_id, float(day_s), (one.agree(day_s),)) for one in self._sensors]
        consents, _ = consents_in(entries, known)
        self._known = {
            one.device_id: msgspec.structs.replace(known[one.device_id], given=(Given(one.sequence, one.told[0]),))
            for one in consents
        }

    def _day(self, number: int, weekday: int) -> None:
        """Everybody counts and tells, and what they tell is read as at the gateway."""
        day_s, counts = _seconds(self._city.days[number]), self._city.counts[:, number]
        told = [
            Entry(
                sensor.keys.device_id,
                float(day_s + DAY_S),
                tuple(sensor.tell(day_s, weekday, counts[i], self._served, self._layout)),
            )
            for i, sensor in enumerate(self._sensors)
        ]
        found = sort([entry for entry in told if entry.records], self._known)
        self._windows += found.windows
        self._samples += found.samples
        self._days.append(self._errors(number, weekday))

    def _errors(self, number: int, weekday: int) -> DayError:
        real = [i for i, column in enumerate(self._city.columns) if column == i]
        truths = np.log1p(self._city.counts[real, number])
        hours = slice(24 * weekday, 24 * (weekday + 1))
        stale, served = (np.abs(truths - one.answers[real, hours]) for one in (self._first, self._served))
        return DayError(
            day=str(self._city.days[number]),
            stale=float(np.nanmean(stale)),
            served=float(np.nanmean(served)),
            hours=int(np.isfinite(truths).sum()),
        )

    def _look(self, number: int, on_progress: Progress) -> None:
        """Judge the last week; then do what the verdict asks for."""
        self._flush()
        now_s = _seconds(self._city.days[number]) + DAY_S
        span = Span(float(now_s - SPAN_DAYS * DAY_S), float(now_s), SPAN_DAYS)
        report = look(self.tables, self._find, WORKLOAD, span, rules=self._plan.rules, made_s=float(now_s))
        self._reports.keep(report)
        verdict = self._own(report)
        if verdict is None:
            return
        settling = self._served.manifest.version not in self._settled
        self._looks.append(_as_look(str(self._city.days[number]), verdict, settling=settling))
        if verdict.level is Level.DRIFT:
            self._quiet_s = now_s
        if (trigger := self._due(verdict, now_s)) is not None:
            on_progress(number + 1, len(self._city.days), f"{self._city.days[number]}: {trigger}, retraining")
            self._retrain(now_s, trigger, verdict)
        elif settling and now_s - self._quiet_s >= SETTLE_DAYS * DAY_S:
            self._rebase(now_s)
            self._rebased.append(str(self._city.days[number]))

    def _due(self, verdict: Verdict, now_s: int) -> Trigger | None:
        """What asks for a retraining now."""
        waited_days = (now_s - self._tried_s) / DAY_S
        if verdict.level is Level.DRIFT and waited_days >= self._plan.cool_down_days:
            return Trigger.DRIFT
        return Trigger.SCHEDULE if waited_days >= SCHEDULE_DAYS else None

    def _own(self, report: MonitorReport) -> Verdict | None:
        """The fleet's verdict on the release that is served; None while none of its windows is there."""
        version = self._served.manifest.version
        return next((one for one in report.verdicts if one.release == version), None)

    def _find(self, _releases: Any) -> Mapping[int, References]:
        return self._references

    def _flush(self) -> None:
        self.tables.append_windows(window_rows(self._windows))
        self._windows = []
        if len(self._samples) >= _SAMPLES_TOGETHER:
            self._flush_samples()

    def _flush_samples(self) -> None:
        self.tables.append_samples(sample_rows(self._samples))
        self._samples = []

    def _retrain(self, now_s: int, trigger: Trigger, verdict: Verdict) -> None:
        self._flush_samples()
        self._tried_s = now_s
        version = len(self._retrainings) + 2
        record, challenger = challenge(
            self.tables, self._served, (trigger, verdict.why), version=version, now_s=now_s, seed=self._plan.seed
        )
        self._records.keep(record)
        self._retrainings.append(record)
        if challenger is not None and record.outcome is Outcome.PROMOTED:
            self._take_out(challenger, now_s)

    def _take_out(self, served: Served, now_s: int) -> None:
        self._served, self._layout = served, Layout(served.manifest)
        self._quiet_s = self._tried_s = now_s
        self._refer(self._in_ordinary_weeks(served.manifest))

    def _refer(self, manifest: Manifest) -> None:
        self._references[manifest.version] = References({(PROFILE, RECIPE): manifest})

    def _in_ordinary_weeks(self, manifest: Manifest) -> Manifest:
        """Validation rows say nothing of how weeks differ: what the last release was seen to do does."""
        sure = [
            msgspec.structs.replace(one, rows=min(one.rows, self._rows)) if self._rows else one
            for one in manifest.output_features
        ]
        return msgspec.structs.replace(manifest, output_features=tuple(sure))

    def _rebase(self, now_s: int) -> None:
        """What the release did since it was taken out becomes what it is compared with, week by week."""
        version = self._served.manifest.version
        weeks = int(now_s - self._quiet_s) // (SPAN_DAYS * DAY_S)
        span = Span(float(now_s - weeks * SPAN_DAYS * DAY_S), float(now_s), weeks)
        windows: pl.LazyFrame = self.tables.windows(
            WORKLOAD, began_s=span.began_s, ended_s=span.ended_s, release=version
        )
        rules, roll = self._plan.rules, call_roll(windows, span.began_s, span.ended_s)
        references = self._references[version]
        found = aggregate(windows, roll, span, {version: references}, rules.k, _silent)
        fleet = evidence_of(found, WORKLOAD, version, references, span, rules)[0]
        manifest = msgspec.structs.replace(self._served.manifest, output_features=rebased_all(fleet.features))
        self._rows = min(one.rows for one in manifest.output_features)
        self._refer(manifest)
        self._settled.add(version)


def _silent(_done: int, _total: int) -> None:
    """Slices are summed too quickly to tell."""


def _as_look(day: str, verdict: Verdict, *, settling: bool) -> Look:
    error = next((one for one in verdict.features if one.kind == FeatureKind.ERROR), None)
    return Look(
        day=day,
        release=verdict.release,
        level=verdict.level,
        settling=settling,
        effect=error.effect if error else 0.0,
        devices=verdict.devices,
        sensors={one.kind: one.devices for one in verdict.sensors},
    )


def _seconds(day: np.datetime64) -> int:
    return int(day.astype("datetime64[s]").astype(np.int64))
