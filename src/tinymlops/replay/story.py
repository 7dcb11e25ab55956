"""What a replay found: looks, retrainings, errors with and without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from tinymlops.drift import Level
from tinymlops.retraining.values import Outcome, RetrainingRecord

LOCKDOWNS = (("2020-03-26", "2020-05-13"), ("2020-08-12", "2020-08-30"), ("2021-08-18", "2021-12-02"))
"""First and last day of Auckland's, by the government's alert levels 3 and 4; shaded in the picture, never shown to the
loop."""


QUIET_YEARS = (2023, 2024, 2025)
"""Without a lockdown, and without a city that comes back from one."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the fleet.

    Attributes:
        day: The last one that it saw.
        release: That was judged.
        level: Of the verdict.
        settling: Whether the release was so new that its reference is still that of its validation rows.
        effect: Of the errors' histogram.
        devices: That the verdict rests on.
        sensors: Kind → devices that are not well; 0 for a few.
    """

    day: str
    release: int
    level: Level
    settling: bool
    effect: float
    devices: int
    sensors: dict[str, int]


class DayError(msgspec.Struct, frozen=True, kw_only=True):
    """Mean absolute error of one day, over the sensors that are real.

    Attributes:
        day: Which.
        stale: Of the first release.
        served: Of the release that devices ran.
        hours: Over how many sensor-hours.
    """

    day: str
    stale: float
    served: float
    hours: int


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All of a replay, in the order of its days."""

    days: tuple[DayError, ...]
    looks: tuple[Look, ...]
    retrainings: tuple[RetrainingRecord, ...]
    rebased: tuple[str, ...]

    @property
    def alarms(self) -> tuple[Look, ...]:
        """Looks at which drift began: the first of each run of looks that say so."""
        befores = (None, *self.looks)
        return tuple(
            look
            for before, look in zip(befores, self.looks, strict=False)
            if look.level is Level.DRIFT and (before is None or before.level is not Level.DRIFT)
        )

    def alarms_between(self, first: str, last: str) -> tuple[Look, ...]:
        """Those of the days from ``first`` to ``last``."""
        return tuple(alarm for alarm in self.alarms if first <= alarm.day <= last)

    def error(self, first: str, last: str) -> tuple[float, float]:
        """Mean absolute errors of a stretch: of the first release, and of those that were served; NaN for no days."""
        chosen = [day for day in self.days if first <= day.day <= last]
        hours = sum(day.hours for day in chosen)
        if not hours:
            return float("nan"), float("nan")
        stale = sum(day.stale * day.hours for day in chosen) / hours
        return stale, sum(day.served * day.hours for day in chosen) / hours

    def months(self) -> Iterator[tuple[str, float, float, Level, int]]:
        """Month, both errors, the worst level that was seen in it, and the release at its end."""
        for month in dict.fromkeys(day.day[:7] for day in self.days):
            looks = [look for look in self.looks if look.day.startswith(month)]
            worst = max((look.level for look in looks), key=_ORDER.index, default=Level.UNKNOWN)
            yield month, *self.error(f"{month}-01", f"{month}-31"), worst, looks[-1].release if looks else 1

    @property
    def promotions(self) -> tuple[RetrainingRecord, ...]:
        """Retrainings that won."""
        return tuple(one for one in self.retrainings if one.outcome is Outcome.PROMOTED)


_ORDER = (Level.HIDDEN, Level.UNKNOWN, Level.NONE, Level.WATCH, Level.DRIFT)


def alarm_words(story: Story) -> Iterator[str]:
    """A line for each lockdown that the replay saw: when the looks first spoke of drift in it."""
    first_day, last_day = story.days[0].day, story.days[-1].day
    for began, ended in LOCKDOWNS:
        if not first_day <= began <= last_day:
            continue
        drift = [look.day for look in story.looks if look.level is Level.DRIFT and began <= look.day <= ended]
        yield f"lockdown from {began}: " + (f"drift by {drift[0]}" if drift else "not seen")


def as_json(story: Story) -> bytes:
    """For other programs."""
    told: Any = msgspec.to_builtins(story)
    return json.dumps(told, indent=1).encode() + b"\n"
