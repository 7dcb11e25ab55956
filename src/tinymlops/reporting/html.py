"""`report.html`: one page that needs nothing but itself."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Any

from tinymlops.reporting.operators import classes_of, operator_rows, rest_words
from tinymlops.reporting.tables import reference_line
from tinymlops.reporting.units import score_text, size_text
from tinymlops.reporting.values import BuildReport
from tinymlops.reporting.views import device_views, failure_words, recipe_rows


def report_html(report: BuildReport, pareto_png: bytes) -> bytes:
    """The page, UTF-8. Every name is escaped; nothing is loaded from anywhere.

    Args:
        report: What to show.
        pareto_png: The picture to embed.
    """
    import jinja2

    source = resources.files("tinymlops.reporting").joinpath("report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"size": size_text, "score": score_text, "failure": failure_words}
    page = environment.from_string(source).render(
        report=report,
        recipes=recipe_rows(report),
        views=device_views(report),
        profiles=_operator_profiles(report),
        reference_line=reference_line(report),
        weak=_weaker_than_reference(report),
        picture=base64.b64encode(pareto_png).decode("ascii"),
    )
    return page.encode()


def _operator_profiles(report: BuildReport) -> list[dict[str, Any]]:
    """For each device that counts operators apart, the rows of the variant selected for it."""
    found: list[dict[str, Any]] = []
    for view in device_views(report):
        chosen = view.selected.facts.recipe if view.selected else ""
        for measurement in report.of_device(view.profile.name):
            if measurement.variant.recipe == chosen and measurement.operators:
                rows, classes = operator_rows(measurement), classes_of(measurement)
                about = {"title": view.profile.title, "recipe": chosen, "runtime": measurement.runtime}
                found.append({**about, "rows": rows, "classes": classes, "rest": rest_words(measurement)})
    return found


def _weaker_than_reference(report: BuildReport) -> bool:
    if report.reference_scores is None:
        return False
    own, other = report.float_scores.test, report.reference_scores.test
    return own <= other if report.higher_is_better else own >= other
