"""The replay as a picture: error with and without retraining, and what monitoring said."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinymlops.drift import Level, Rules
from tinymlops.replay.story import LOCKDOWNS, Story

# Told apart by people who see few colours.
_STALE, _SERVED, _ALARM, _WATCH, _CALM = "#d55e00", "#0072b2", "#cc3311", "#e69f00", "#9a9a9a"
_SMOOTH_DAYS = 14
_COLOURS = {Level.DRIFT: _ALARM, Level.WATCH: _WATCH, Level.NONE: _CALM}


def replay_png(story: Story, rules: Rules) -> bytes:
    """The picture as PNG; the same story gives the same bytes with the same Matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _shade((above, below), story)
    _errors(above, story)
    _verdicts(below, story, rules)
    figure.suptitle("Six years of street counts, replayed: what devices told, what was seen, what was retrained")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _errors(axes: Any, story: Story) -> None:
    days = _dates([day.day for day in story.days])
    axes.plot(days, _smooth([day.stale for day in story.days]), color=_STALE, lw=1.4, label="never retrained")
    axes.plot(days, _smooth([day.served for day in story.days]), color=_SERVED, lw=1.8, label="retrained by the loop")
    promoted = _dates([_day(record.ended_s) for record in story.promotions])
    axes.plot(promoted, np.full(len(promoted), 0.03), "^", color=_SERVED, ms=8, label="a challenger won and was served")
    axes.set_ylim(0, None)
    axes.set_ylabel(f"mean |error| in log(1 + count)\n{_SMOOTH_DAYS}-day mean")
    axes.legend(loc="upper right", frameon=False)
    axes.grid(alpha=0.25)


def _verdicts(axes: Any, story: Story, rules: Rules) -> None:
    for level, colour in _COLOURS.items():
        looks = [look for look in story.looks if look.level is level]
        effects = [min(max(look.effect, 0.01), 10.0) for look in looks]
        axes.plot(_dates([look.day for look in looks]), effects, ".", color=colour, ms=4, label=str(level))
    for settling, filling in ((False, _ALARM), (True, "none")):
        alarms = [alarm.day for alarm in story.alarms if alarm.settling is settling]
        label = "alarm" + (" on a reference that is still of validation rows" if settling else "")
        axes.plot(_dates(alarms), np.full(len(alarms), 12.0), "v", color=_ALARM, mfc=filling, ms=7, label=label)
    axes.axhline(rules.effect, color=_ALARM, lw=0.8, ls="--")
    axes.axhline(rules.watch, color=_WATCH, lw=0.8, ls="--")
    axes.set_yscale("log")
    axes.set_ylim(0.008, 20)
    axes.set_ylabel("stability index of the errors,\nnoise taken out")
    axes.legend(loc="lower right", ncols=5, frameon=True, fontsize=9)
    axes.grid(alpha=0.25)


def _shade(panels: Sequence[Any], story: Story) -> None:
    first, last = story.days[0].day, story.days[-1].day
    for began, ended in LOCKDOWNS:
        if began > last or ended < first:
            continue
        for axes in panels:
            axes.axvspan(np.datetime64(began), np.datetime64(ended), color="#000000", alpha=0.10, lw=0)
        panels[0].text(
            np.datetime64(began), 0.98, " lockdown", transform=panels[0].get_xaxis_transform(), va="top", fontsize=8
        )


def _smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """Mean of the days that are there around each day."""
    known = np.nan_to_num(np.asarray(values, np.float64))
    there, kernel = np.isfinite(values).astype(np.float64), np.ones(min(_SMOOTH_DAYS, len(values)))
    smooth: NDArray[np.float64] = np.convolve(known, kernel, "same") / np.convolve(there, kernel, "same")
    return smooth


def _dates(days: Sequence[str]) -> NDArray[np.datetime64]:
    return np.array(days, dtype="datetime64[D]")


def _day(at_s: float) -> str:
    return str(np.datetime64(int(at_s), "s").astype("datetime64[D]"))
