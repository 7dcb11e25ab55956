"""`report.html`: one page that needs nothing but itself."""

from __future__ import annotations

import base64
from importlib import resources

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
        reference_line=reference_line(report),
        weak=_weaker_than_reference(report),
        picture=base64.b64encode(pareto_png).decode("ascii"),
    )
    return page.encode()


def _weaker_than_reference(report: BuildReport) -> bool:
    if report.reference_scores is None:
        return False
    own, other = report.float_scores.test, report.reference_scores.test
    return own <= other if report.higher_is_better else own >= other
