"""A retraining explained in Markdown: what asked, what it learnt from, who won where, and why it ended so."""

from __future__ import annotations

from datetime import UTC, datetime

from tinymlops.retraining.values import Comparison, RetrainingRecord

HEADS = ("rows", "count", "blocks", "champion", "challenger", "gain", "95 % interval")


def page(record: RetrainingRecord) -> str:
    """The page for the Prefect UI."""
    began = datetime.fromtimestamp(record.began_s, UTC)
    return "\n".join(
        (
            f"# {record.workload}: {record.outcome}",
            "",
            f"{_sentence(record.reason)}",
            "",
            f"- asked for by **{record.trigger}**: {record.why or 'no reason given'}",
            f"- began {began:%Y-%m-%d %H:%M} UTC, took {record.ended_s - record.began_s:,.0f} s",
            f"- samples: version {record.table_version} of their table",
            f"- champion: release {record.champion}",
            *([f"- challenger: release {record.release}, roll-out `{record.rollout_id}`"] if record.release else []),
            f"- repeat it: `tinymlops retrain {record.workload} --table-version {record.table_version}`",
            *_table(record),
        )
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _table(record: RetrainingRecord) -> list[str]:
    if not record.comparisons:
        return []
    rows = (f"| {' | '.join(cells(one))} |" for one in record.comparisons)
    return ["", f"Scores are {record.metric}; a gain is positive where the challenger is better.", "",
            f"| {' | '.join(HEADS)} |", f"| --- |{' ---: |' * (len(HEADS) - 1)}", *rows]  # fmt: skip


def cells(one: Comparison) -> tuple[str, ...]:
    """A comparison as the cells of a row."""
    return (
        one.rows,
        f"{one.count:,}",
        f"{one.blocks:,}",
        f"{one.champion:.4g}",
        f"{one.challenger:.4g}",
        f"{one.gain:+.3g}",
        f"{one.low:+.3g} to {one.high:+.3g}",
    )
