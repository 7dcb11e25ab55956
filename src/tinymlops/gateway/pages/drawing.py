"""Drift over time as an SVG that is drawn here: coordinates alone, so that the page's style sheet colours it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from tinymlops.drift.values import FLEET, Level, MonitorReport, Verdict

WIDTH, HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 28
_MOST_LINES = 6
_LEAST_TOP = 0.2
"""The scale reaches at least to here: a population stability index that everybody calls small must look small."""
_QUIET = {Level.HIDDEN, Level.UNKNOWN}


class Point(msgspec.Struct, frozen=True):
    """A look at a group.

    Attributes:
        x: In the picture.
        y: Likewise.
        alarm: Whether it said drift.
        title: For those who point at it.
    """

    x: float
    y: float
    alarm: bool
    title: str


class Line(msgspec.Struct, frozen=True):
    """A group over time.

    Attributes:
        group: Its name.
        paths: Of SVG; one for each stretch without a look that had to be hidden.
        points: The looks.
    """

    group: str
    paths: tuple[str, ...]
    points: tuple[Point, ...]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """The picture.

    Attributes:
        lines: The fleet's first.
        rows: Height and label of the scale's lines.
        days: Place and label of the ends of the time axis.
        width: Of the picture.
        height: Likewise.
        left: Where lines begin.
        right: Where they end.
    """

    lines: tuple[Line, ...]
    rows: tuple[tuple[float, str], ...]
    days: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT


def effect_of(verdict: Verdict) -> float | None:
    """The largest effect that a verdict found; None where nothing may be shown or nobody can tell."""
    return None if verdict.level in _QUIET else max((one.effect for one in verdict.features), default=0.0)


def drift_chart(history: Sequence[MonitorReport]) -> Chart | None:
    """The effects of all groups over time; None before the first look that found anything to show."""
    seen: dict[str, list[tuple[float, float | None, Verdict]]] = {}
    for report in history:
        newest: dict[str, Verdict] = {}
        for verdict in report.verdicts:
            known = newest.get(verdict.group)
            newest[verdict.group] = verdict if known is None or verdict.release > known.release else known
        for group, verdict in newest.items():
            seen.setdefault(group, []).append((report.ended_s, effect_of(verdict), verdict))
    shown = {group: looks for group, looks in seen.items() if any(effect is not None for _, effect, _ in looks)}
    if not shown:
        return None
    names = sorted(shown, key=lambda group: (group != FLEET, -_last(shown[group]), group))[:_MOST_LINES]
    times = [at_s for group in names for at_s, _, _ in shown[group]]
    top = max(_LEAST_TOP, *(effect or 0.0 for group in names for _, effect, _ in shown[group]))
    place = _Scale(min(times), max(times), top)
    return Chart(
        lines=tuple(_line(group, shown[group], place) for group in names),
        rows=tuple((place.y(share * top), f"{share * top:.2f}") for share in (0.0, 0.5, 1.0)),
        days=tuple((place.x(at_s), _day(at_s)) for at_s in dict.fromkeys((min(times), max(times)))),
    )


class _Scale:
    def __init__(self, first_s: float, last_s: float, top: float) -> None:
        self._first_s, self._span_s, self._top = first_s, max(last_s - first_s, 1.0), top

    def x(self, at_s: float) -> float:
        return round(_LEFT + (at_s - self._first_s) / self._span_s * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, effect: float) -> float:
        return round(HEIGHT - _BOTTOM - effect / self._top * (HEIGHT - _TOP - _BOTTOM), 1)


def _line(group: str, looks: Sequence[tuple[float, float | None, Verdict]], place: _Scale) -> Line:
    paths: list[list[str]] = [[]]
    points = []
    for at_s, effect, verdict in looks:
        if effect is None:
            paths.append([])
            continue
        x, y = place.x(at_s), place.y(effect)
        paths[-1].append(f"{'L' if paths[-1] else 'M'}{x} {y}")
        title = f"{group}, {_day(at_s)}: {effect:.2f}, {verdict.level.value}"
        points.append(Point(x, y, verdict.level is Level.DRIFT, title))
    return Line(group, tuple(" ".join(path) for path in paths if len(path) > 1), tuple(points))


def _last(looks: Sequence[tuple[float, float | None, Verdict]]) -> float:
    return next((effect for _, effect, _ in reversed(looks) if effect is not None), 0.0)


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()
