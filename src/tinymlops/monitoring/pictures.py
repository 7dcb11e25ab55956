"""Drift over time: how far features of the fleet, and groups of devices, have moved, look after look.

Drawn with Matplotlib's objects on its Agg canvas, without the global state of pyplot, so that it works in any thread.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tinymlops.drift import FLEET, Level, MonitorReport, Rules, Verdict
from tinymlops.monitoring.summary import effect_of, leading, shown

MOST_LINES = 8
"""Those that moved furthest are drawn: more can't be told apart."""
# Okabe and Ito's palette: told apart by people who see few colours.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_DRIFT, _WATCH = "#c0392b", "#b58900"
_ROOM = 1.6
"""Times the threshold of drift, or the largest effect, that the scale reaches: quiet fleets shall look quiet."""

Line = list[tuple[datetime, float, Level]]


def drift_png(history: Sequence[MonitorReport], rules: Rules) -> bytes:
    """The picture as PNG: the fleet's features on the left, groups on the right.

    Args:
        history: Reports, oldest first; at least one.
        rules: With the thresholds, and with k: what rests on fewer devices is not drawn, whenever it was reported.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 4.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, sharex=True)
    led = [(one, verdict) for one in history if (verdict := leading(one, rules.k)) is not None]
    features, groups = _features([verdict for _, verdict in led]), _groups(led, rules.k)
    _draw(left, features, rules, "Fleet: effect of each feature")
    _draw(right, groups, rules, "Groups: largest effect of any feature")
    top = max((effect for line in (*features.values(), *groups.values()) for _, effect, _ in line), default=0.0)
    left.set_ylim(0.0, _ROOM * max(rules.effect, top))
    _mark_releases(left, [verdict for _, verdict in led])
    left.set_ylabel("effect (population stability index, debiased)", fontsize=10)
    figure.autofmt_xdate(rotation=30)
    figure.suptitle(f"{history[-1].workload}: drift over time", fontsize=14)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _features(verdicts: Sequence[Verdict]) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    for verdict in verdicts:
        for one in verdict.features:
            lines.setdefault(one.feature, []).append((_at(verdict), one.effect, verdict.level))
    return lines


def _groups(led: Sequence[tuple[MonitorReport, Verdict]], k: int) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    for report, ahead in led:
        for one in shown(report, k):
            if one.release == ahead.release and one.features:
                lines.setdefault(one.group, []).append((_at(one), effect_of(one), one.level))
    return lines


def _at(verdict: Verdict) -> datetime:
    return datetime.fromtimestamp(verdict.ended_s, UTC)


def _draw(panel: Any, lines: dict[str, Line], rules: Rules, title: str) -> None:
    moved = sorted(lines, key=lambda name: (name != FLEET, -max(effect for _, effect, _ in lines[name]), name))
    for name, colour in zip(moved[:MOST_LINES], _COLOURS, strict=False):
        times, effects = [at for at, _, _ in lines[name]], [effect for _, effect, _ in lines[name]]
        panel.plot(times, effects, color=colour, linewidth=1.6, marker="o", markersize=3.5, label=_plain(name))
    if len(moved) > MOST_LINES:
        panel.plot([], [], " ", label=f"and {len(moved) - MOST_LINES} that moved less")
    panel.axhline(rules.effect, color=_DRIFT, linestyle="--", linewidth=1.0)
    panel.axhline(rules.watch, color=_WATCH, linestyle=":", linewidth=1.0)
    for level, colour in ((rules.effect, _DRIFT), (rules.watch, _WATCH)):
        word = "drift, if it lasts" if colour == _DRIFT else "watch"
        panel.annotate(
            word, (1.0, level), xycoords=("axes fraction", "data"), xytext=(-4, 3), textcoords="offset points",
            ha="right", fontsize=8, color=colour,
        )  # fmt: skip
    _mark_drift(panel, lines)
    panel.set_title(title, fontsize=12, loc="left", fontweight="bold")
    panel.grid(color="#e5e5e5", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    if lines:
        panel.legend(fontsize=8, frameon=False, loc="upper left", ncols=2)
    else:
        panel.annotate("nothing may be shown yet", (0.5, 0.5), xycoords="axes fraction", ha="center", color="#777")


def _mark_drift(panel: Any, lines: dict[str, Line]) -> None:
    """A ring around the largest effect of each look that called for a new model."""
    drifted: dict[datetime, float] = {}
    for line in lines.values():
        for at, effect, level in line:
            if level is Level.DRIFT:
                drifted[at] = max(effect, drifted.get(at, 0.0))
    if drifted:
        style = {"facecolors": "none", "edgecolors": _DRIFT, "linewidths": 1.6, "s": 90, "zorder": 5}
        panel.scatter(list(drifted), list(drifted.values()), label="verdict: drift", **style)


def _mark_releases(panel: Any, verdicts: Sequence[Verdict]) -> None:
    before: int | None = None
    for verdict in verdicts:
        if verdict.release != before and before is not None:
            panel.axvline(_at(verdict), color="#777777", linewidth=0.8, linestyle="-.")
            panel.annotate(
                f"release {verdict.release}", (_at(verdict), 1.0), xycoords=("data", "axes fraction"), xytext=(3, -10),
                textcoords="offset points", fontsize=8, color="#555555",
            )  # fmt: skip
        before = verdict.release


def _plain(text: str) -> str:
    # A dollar sign would start mathematics.
    return text.replace("$", r"\$")
