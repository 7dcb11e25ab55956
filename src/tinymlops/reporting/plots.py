"""`pareto.png`: what each variant scores against what it costs, one panel per device.

Drawn with Matplotlib's objects on its Agg canvas, without the global state of pyplot, so that it works in any thread.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

from tinymlops.measurement import Measurement
from tinymlops.reporting.values import BuildReport
from tinymlops.reporting.views import DeviceRow, DeviceView, device_views
from tinymlops.selection import time_cost

# Told apart by people who see few colours, and by shape besides.
_FRONT, _CHOSEN, _OTHER, _GREY = "#0072b2", "#d55e00", "#56a0d0", "#9a9a9a"
_STYLES: dict[str, dict[str, Any]] = {
    "selected": {"marker": "*", "s": 260, "color": _CHOSEN, "zorder": 5},
    "on the Pareto front of all costs": {"marker": "o", "s": 46, "color": _FRONT, "zorder": 4},
    "another is as good in everything": {
        "marker": "o",
        "s": 46,
        "facecolors": "white",
        "edgecolors": _OTHER,
        "zorder": 3,
    },
    "vetoed or over budget": {"marker": "x", "s": 42, "color": _GREY, "zorder": 2},
}
_FAR_APART = 4
_UNITS = {"us": "µs", "ms": "ms"}


def pareto_png(report: BuildReport) -> bytes:
    """The picture as PNG; the same report gives the same bytes with the same Matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    views = device_views(report)
    columns = min(2, len(views)) or 1
    rows = -(-len(views) // columns) or 1
    figure = Figure(figsize=(7.0 * columns, 4.9 * rows + 0.9), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels[len(views) :]:
        panel.set_visible(False)
    drawn = [_draw(panel, view, report) for panel, view in zip(panels, views, strict=False)]
    _legend(figure)
    figure.suptitle(_plain(f"{report.title}: validation {report.metric} against cost"), fontsize=14)
    canvas.draw()  # the layout is settled now, so labels can be placed in pixels
    figure.set_layout_engine("none")
    for panel, points in zip(panels, drawn, strict=False):
        _place_labels(panel, points, canvas.get_renderer())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


Point = tuple[float, float, str, str]
"""Cost, score, name, and the weight of its letters: the selected one is bold."""
Placed = tuple[DeviceRow, tuple[float, float]]


def _draw(panel: Any, view: DeviceView, report: BuildReport) -> list[Point]:
    by_recipe = {m.variant.recipe: m for m in report.of_device(view.profile.name)}
    points = [(row, point) for row in view.rows if (point := _point(by_recipe[row.facts.recipe])) is not None]
    placed = _near(points)
    for kind, style in _STYLES.items():
        group = [point for row, point in placed if _kind(row) == kind]
        if group:
            panel.scatter(*zip(*group, strict=True), linewidths=1.6, **style)
    steps = _staircase([point for row, point in placed if not row.reasons], higher=report.higher_is_better)
    if steps:
        panel.plot(*zip(*steps, strict=True), color=_FRONT, linewidth=1.1, alpha=0.55, zorder=1)
    far = [f"{row.facts.recipe} ({point[1]:.4g})" for row, point in points if (row, point) not in placed]
    known = [row for row, _ in points]
    _dress(panel, view, report)
    _scale([point[0] for _, point in placed], panel)
    _tell_absent(panel, [row.facts.recipe for row in view.rows if row not in known], far)
    return [(*point, row.facts.recipe, "bold" if row.selected else "normal") for row, point in placed]


def _point(measurement: Measurement) -> tuple[float, float] | None:
    time = time_cost(measurement)
    if time is None or measurement.scores is None:
        return None
    return time.value, measurement.scores.validation


def _near(points: Sequence[Placed]) -> list[Placed]:
    """All but rejected variants whose score is so far off that the others would shrink to a line."""
    scores = [point[1] for row, point in points if not row.reasons]
    if not scores:
        return list(points)
    low, high = min(scores), max(scores)
    room = 2 * max(high - low, 0.02 * max(abs(low), abs(high)))
    return [(row, point) for row, point in points if not row.reasons or low - room <= point[1] <= high + room]


def _kind(row: DeviceRow) -> str:
    selected, front, other, rejected = _STYLES
    return rejected if row.reasons else selected if row.selected else front if row.on_front else other


def _staircase(points: Sequence[tuple[float, float]], *, higher: bool) -> list[tuple[float, float]]:
    """The corners of the front in these two figures alone, from the fastest on."""
    sign = -1 if higher else 1
    corners: list[tuple[float, float]] = []
    for time, score in sorted(points, key=lambda point: (point[0], sign * point[1])):
        if not corners or sign * score < sign * corners[-1][1]:
            corners += [(time, corners[-1][1]), (time, score)] if corners else [(time, score)]
    return corners


def _dress(panel: Any, view: DeviceView, report: BuildReport) -> None:
    panel.set_title(_plain(view.profile.title), fontsize=12, loc="left", fontweight="bold")
    panel.set_xlabel(_cost_label(view, report), fontsize=10)
    panel.set_ylabel(_plain(f"validation {report.metric}"), fontsize=10)
    panel.tick_params(labelsize=9)
    panel.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _scale(costs: Sequence[float], panel: Any) -> None:
    """Linear axes; a logarithmic one for costs that lie far apart, so that none hides the others."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    panel.margins(x=0.22, y=0.16)
    if costs and 0 < _FAR_APART * min(costs) < max(costs):
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_minor_locator(NullLocator())
    else:
        _widen(panel)
        panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.xaxis.set_major_formatter(FuncFormatter(_tick))


def _tell_absent(panel: Any, lost: Sequence[str], far: Sequence[str]) -> None:
    """Write in the corner which variants are not drawn."""
    told = [f"no figures: {', '.join(lost)}"] if lost else []
    told += [f"rejected, far off: {', '.join(far)}"] if far else []
    style = {"transform": panel.transAxes, "ha": "right", "fontsize": 8.5, "color": "#666666", "wrap": True}
    panel.text(0.99, 0.015, _plain("\n".join(told)), **style)


def _widen(panel: Any) -> None:
    """Show at least 2 % of the score and half of the cost: a difference that decides nothing should not look large."""
    for limits, set_limits, share in (
        (panel.get_ylim(), panel.set_ylim, 0.02),
        (panel.get_xlim(), panel.set_xlim, 0.5),
    ):
        middle, least = sum(limits) / 2, share * max(abs(limit) for limit in limits)
        if limits[1] - limits[0] < least:
            set_limits(middle - least / 2, middle + least / 2)


def _cost_label(view: DeviceView, report: BuildReport) -> str:
    figures = [f for m in report.of_device(view.profile.name) if (f := time_cost(m))]
    name = view.header(view.time_name)
    said = {_UNITS.get(f.unit, f.unit) for f in figures} - {name} | {str(f.provenance) for f in figures}
    return f"{name} per inference ({', '.join(sorted(said)) or 'no figure'})"


def _tick(value: float, _position: int) -> str:
    return (
        f"{value / 1e6:,.4g} M"
        if abs(value) >= 1e6
        else f"{value / 1e3:,.4g} k"
        if abs(value) >= 1e4
        else f"{value:,.4g}"
    )


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], linestyle="", marker=style["marker"], markersize=14 if style["marker"] == "*" else 7,
            markerfacecolor=style.get("facecolors", style.get("color")),
            markeredgecolor=style.get("edgecolors", style.get("color")), label=kind,
        )
        for kind, style in _STYLES.items()
    ]  # fmt: skip
    handles.append(Line2D([], [], color=_FRONT, alpha=0.55, label="front in these two alone"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=10, frameon=False)


def _plain(text: str) -> str:
    # A dollar sign would start mathematics.
    return text.replace("$", r"\$")


# --- labels ------------------------------------------------------------------------------------------------------

Box = tuple[float, float, float, float]
_DIRECTIONS = ((1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1))
_RADII = (14, 22, 32, 46, 62, 80, 100)


def _place_labels(panel: Any, points: Sequence[Point], renderer: Any) -> None:
    """Write each name where it covers no point and no other name, with a thin line back if it had to move away."""
    area = panel.get_window_extent(renderer)
    frame: Box = (area.x0, area.y0, area.x1, area.y1)
    spots = [tuple(panel.transData.transform((x, y))) for x, y, *_ in points]
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in spots]
    # The highest first: names then stack in the order of their points.
    for index in sorted(range(len(points)), key=lambda i: (-spots[i][1], spots[i][0], points[i][2])):
        *_, name, weight = points[index]
        style = {"fontsize": 9, "fontweight": weight, "annotation_clip": False, "zorder": 6}
        text = panel.annotate(_plain(name), points[index][:2], **style)
        extent = text.get_window_extent(renderer)
        box = _free_box(spots[index], (extent.width, extent.height), taken, frame)
        taken.append(box)
        text.set_visible(False)
        _write(panel, points[index], spots[index], box)


def _free_box(spot: tuple[float, float], size: tuple[float, float], taken: Sequence[Box], frame: Box) -> Box:
    boxes = [_box(spot, size, radius, direction) for radius, direction in itertools.product(_RADII, _DIRECTIONS)]
    inside = [box for box in boxes if _overlap(box, frame) >= 0.999 * size[0] * size[1]] or boxes
    return min(inside, key=lambda box: sum(_overlap(box, other) for other in taken))


def _box(spot: tuple[float, float], size: tuple[float, float], radius: int, direction: tuple[int, int]) -> Box:
    x, y = spot[0] + radius * direction[0], spot[1] + radius * direction[1]
    left = x - size[0] * (1 - direction[0]) / 2
    low = y - size[1] / 2
    return (left, low, left + size[0], low + size[1])


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _write(panel: Any, point: Point, spot: tuple[float, float], box: Box) -> None:
    from matplotlib.patheffects import withStroke

    to_points = 72.0 / panel.figure.dpi
    near_x = min(max(spot[0], box[0]), box[2])
    far = abs(near_x - spot[0]) + abs((box[1] + box[3]) / 2 - spot[1]) > 24
    panel.annotate(
        _plain(point[2]),
        point[:2],
        xytext=((box[0] - spot[0]) * to_points, (box[1] - spot[1]) * to_points),
        textcoords="offset points",
        fontsize=9,
        fontweight=point[3],
        verticalalignment="bottom",
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        zorder=6,
        arrowprops={"arrowstyle": "-", "color": "#b0b0b0", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4}
        if far
        else None,
    )
