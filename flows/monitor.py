"""Windows of a span become verdicts, a picture and a page; drift becomes an event."""

from __future__ import annotations

from prefect import flow

from tasks.monitoring import choose_span, draw_look, judge, keep_look, publish, show_look, tell
from tinymlops.drift import MonitorReport, Rules


@flow(name="monitor", flow_run_name="{workload}, {days} days")
def monitor(workload: str = "activity", days: float = 7, ended_s: float | None = None, k: int = 20) -> MonitorReport:
    """Look at what devices sent in the last ``days`` (before ``ended_s``, unless now); show nothing of fewer than k."""
    span, rules = choose_span(days, ended_s), Rules(k=k)
    report = judge(workload, span, rules)
    drawn = draw_look(report, span, rules)
    report = keep_look(report, drawn)
    show_look(report, drawn, publish(drawn), rules)
    tell(report, rules)
    return report
