"""What people see of a look: drift over time, and Evidently's page about what moved furthest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinymlops.drift import FLEET, MonitorReport, Rules, Verdict
from tinymlops.monitoring.page import drift_page
from tinymlops.monitoring.pictures import drift_png
from tinymlops.monitoring.references import ReferenceFinder, References
from tinymlops.monitoring.rows import ReportRows, rows_of_histograms, rows_of_samples
from tinymlops.monitoring.samples import samples_of
from tinymlops.monitoring.spans import Span
from tinymlops.monitoring.summary import alarm, leading, shown
from tinymlops.premises import Premises
from tinymlops.telemetry.tables import Tables

PAGE, PICTURE = "drift.html", "drift.png"
_SEED = 7


@dataclass(frozen=True, eq=False)
class Drawn:
    """A look for people.

    Attributes:
        verdicts: That may be shown of the leading release, the fleet's first.
        picture: PNG.
        page: HTML; empty where no feature can be shown.
        words: What the page is drawn of, in a few words.
    """

    verdicts: tuple[Verdict, ...]
    picture: bytes
    page: bytes
    words: str

    @property
    def files(self) -> Mapping[str, bytes]:
        """Name → content, the page first."""
        return ({PAGE: self.page} if self.page else {}) | {PICTURE: self.picture}


def draw(
    report: MonitorReport, span: Span, rules: Rules, premises: Premises, history: Sequence[MonitorReport]
) -> Drawn:
    """Picture and page of a look.

    Args:
        report: Of the look.
        span: That was looked at.
        rules: That it was judged by.
        premises: Where samples and manifests are.
        history: Earlier reports, oldest first.
    """
    earlier = [one for one in history if one.ended_s < report.ended_s]
    picture = drift_png([*earlier, report], rules)
    ahead = leading(report, rules.k)
    if ahead is None:
        return Drawn((), picture, b"", "nothing may be shown")
    verdicts = tuple(one for one in shown(report, rules.k) if one.release == ahead.release)
    about = alarm(report, rules.k) or ahead
    references = ReferenceFinder(premises, report.workload)([about.release]).get(about.release)
    if references is None or not about.features:
        return Drawn(verdicts, picture, b"", "too little to draw a page of")
    rows, words = _rows(premises.tables(), about, references, span, rules.k)
    return Drawn(verdicts, picture, drift_page(about, verdicts, rows, rules), words)


def _rows(tables: Tables, about: Verdict, references: References, span: Span, k: int) -> tuple[ReportRows, str]:
    """Samples of the fleet if there are enough, else the histograms."""
    labels = next(iter(references.manifests.values())).labels
    field = samples_of(tables, about.workload, about.release, references, span, k) if about.group == FLEET else None
    if field is None:
        return rows_of_histograms(about, labels, _SEED), "drawn of rows resampled out of noisy histograms"
    return rows_of_samples(about, labels, field, k, _SEED), "drawn of samples that people agreed to send"
