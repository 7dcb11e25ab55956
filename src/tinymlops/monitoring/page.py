"""Evidently's report as one page that needs nothing but itself, under the verdict that decides."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tinymlops.drift import Level, Rules, Verdict
from tinymlops.monitoring.rows import ReportRows
from tinymlops.monitoring.summary import effect_of

# Nothing is fetched from anywhere: plotly knows an address for maps, which we do not draw.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
_ADDRESS = "https://cdn.plot.ly/"
_COLOURS = {Level.DRIFT: "#d55e00", Level.WATCH: "#b58900", Level.NONE: "#1b7f5c"}
_STYLE = (
    "font-family:Roboto,Helvetica,Arial,sans-serif;max-width:1200px;margin:24px auto 0;padding:0 24px;line-height:1.5;"
    "color:#222"
)


def drift_page(verdict: Verdict, verdicts: Sequence[Verdict], rows: ReportRows, rules: Rules) -> bytes:
    """The page, UTF-8.

    Args:
        verdict: What Evidently's part is about.
        verdicts: All that may be shown of its release.
        rows: What Evidently draws.
        rules: That the verdict was made by.
    """
    page = _evidently(rows, rules)
    head = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{_title(verdict)}</title>'
    page = page.replace("<head>", f"<head>{head}", 1).replace("<body>", f"<body>{_banner(verdict, verdicts, rows)}", 1)
    return page.replace(_ADDRESS, "about:blank#").encode()


def _evidently(rows: ReportRows, rules: Rules) -> str:
    os.environ.setdefault("DO_NOT_TRACK", "true")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [name for name in rows.current if name not in rows.categories]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=list(rows.categories))
    current, reference = (
        Dataset.from_pandas(pd.DataFrame(dict(columns)), data_definition=definition)
        for columns in (rows.current, rows.reference)
    )
    # One feature that moved is enough: unless told, Evidently asks for half of them.
    preset: Any = DataDriftPreset(method="psi", threshold=rules.effect, drift_share=1.0 / len(rows.current))
    found: str = Report([preset]).run(current, reference).get_html_str(as_iframe=False)
    return found


def _title(verdict: Verdict) -> str:
    return html.escape(f"Drift of {verdict.workload}, release {verdict.release}")


def _banner(verdict: Verdict, verdicts: Sequence[Verdict], rows: ReportRows) -> str:
    """Which rows these are, and the verdict; ``rows.origin`` is our own markup, all else is escaped."""
    began, ended = (_day(moment) for moment in (verdict.began_s, verdict.ended_s))
    lines = "".join(_row(one) for one in verdicts)
    return (
        f'<div style="{_STYLE}"><h1 style="font-weight:500;margin:0 0 4px">{_title(verdict)}</h1>'
        f'<p style="margin:0 0 12px;color:#555">{html.escape(verdict.group)}, {began} to {ended} UTC</p>'
        f'<p style="background:#fff4d6;border-left:4px solid #b58900;padding:10px 14px">{rows.origin}</p>'
        '<table style="border-collapse:collapse;width:100%;margin:12px 0"><tr style="text-align:left">'
        f"{''.join(f'<th style=padding:4px>{name}</th>' for name in _HEADS)}</tr>{lines}</table>"
        "<p>These verdicts decide: they know the devices' noise, how devices differ, and what lasts. What follows is "
        f"Evidently's view of <b>{html.escape(verdict.group)}</b>, by population stability index over the rows "
        "described above: to look at, not to decide by.</p></div>"
    )


_HEADS = ("group", "verdict", "devices", "queries", "largest effect", "why")


def _row(verdict: Verdict) -> str:
    colour = _COLOURS.get(verdict.level, "#555")
    cells = (
        html.escape(verdict.group),
        f'<b style="color:{colour}">{html.escape(verdict.level)}</b>',
        f"{verdict.devices:,}",
        f"{verdict.queries:,}",
        f"{effect_of(verdict):.3f}",
        html.escape(verdict.why),
    )
    inside = "".join(f"<td style=padding:4px>{one}</td>" for one in cells)
    return f'<tr style="border-top:1px solid #ddd">{inside}</tr>'


def _day(moment_s: float) -> str:
    return f"{datetime.fromtimestamp(moment_s, UTC):%Y-%m-%d %H:%M}"
