"""A look at 10,000 devices over 30 days against Evidently on raw rows of the same fleet, each in a process of its own.

The look reads noisy histograms from Delta, judges fleet and groups, and draws picture and page. Evidently reads the
rows that those histograms count; a month of the fleet is 60 million of them, more than fit into memory, so it gets a
sample, and the ratio says what each took and what of the fleet it saw.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.support.windows import Crowd, Town, inputs
from tests.unit.monitoring.looks import references
from tinymlops.telemetry.tables import Tables

RAW_ROWS = 1_000_000
MOST_S, MOST_MIB = 30.0, 1024.0
KIB_PER_MIB = 1024


def town_of(devices: int, days: int) -> Town:
    """A fleet in three regions, of which one moves."""
    shares = (0.4, 0.3, 0.3)
    north, south, west = (round(devices * share) for share in shares)
    return Town(
        (
            Crowd(north, region="north"),
            Crowd(south, region="south", tags=("new",), shift=0.8),
            Crowd(west, region="west"),
        ),
        days=days,
    )


def look_at(folder: Path, devices: int, days: int) -> str:
    """All that the flow does, but for Prefect and MLflow; what it found."""
    from tinymlops.drift import Rules
    from tinymlops.monitoring.looking import look
    from tinymlops.monitoring.page import drift_page
    from tinymlops.monitoring.pictures import drift_png
    from tinymlops.monitoring.rows import rows_of_histograms
    from tinymlops.monitoring.spans import span_of
    from tinymlops.monitoring.summary import alarm

    town, rules = town_of(devices, days), Rules()
    known = references(town)
    span = span_of(days, town.ended_s)
    report = look(Tables(str(folder)), lambda _: {town.release: known}, town.workload, span, rules=rules, made_s=0.0)
    drift_png([report], rules)
    found = alarm(report, rules.k)
    if found is None:
        raise SystemExit("The shift of a region was not found.")
    drift_page(found, report.verdicts, rows_of_histograms(found, (), 7), rules)
    return f"{found.group}: {found.level}"


def evidently_on(folder: Path) -> str:
    """Its preset with its own choice of tests, on rows as they are."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    frames = [pd.read_parquet(folder / f"{name}.parquet") for name in ("current", "reference")]
    definition = DataDefinition(numerical_columns=list(frames[0]))
    current, reference = (Dataset.from_pandas(frame, data_definition=definition) for frame in frames)
    Report([DataDriftPreset()]).run(current, reference).get_html_str(as_iframe=False)
    return f"{len(frames[0]):,} rows"


def write_raw_rows(folder: Path, rows: int) -> None:
    """Rows of such a fleet, a third of it moved."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, features = np.random.default_rng(7), inputs()
    for name, by in (("reference", 0.0), ("current", 0.8)):
        moved = rng.random(rows) < 0.3
        columns = {}
        for one in features:
            values = rng.random(rows)
            if by:
                tilted = rng.random(rows) < 0.5 + by * (values - 0.5)
                values = np.where(moved & ~tilted, 1 - values, values)
            columns[one.name] = 4.0 * values - 2.0
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


def in_its_own_process(what: str, folder: Path, devices: int, days: int) -> tuple[float, float]:
    """Seconds and peak resident MiB."""
    command = [sys.executable, __file__, "--child", what, str(folder), "--devices", str(devices), "--days", str(days)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)
    print(f"  {what}: {told['seconds']:.1f} s, {told['mib']:.0f} MiB at its peak ({told['found']})")
    return told["seconds"], told["mib"]


def main() -> None:
    """Both, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"))
    chosen = parser.parse_args()
    if chosen.child:
        what, folder = chosen.child
        child(what, Path(folder), chosen.devices, chosen.days)
        return
    with tempfile.TemporaryDirectory(prefix="tinymlops-monitor-") as scratch:
        place, town = Path(scratch), town_of(chosen.devices, chosen.days)
        town.fill(Tables(str(place)))
        write_raw_rows(place, RAW_ROWS)
        queries = town.devices * town.days * town.windows_a_day * town.queries
        print(f"{town.devices:,} devices, {town.days} days, {queries:,} queries in {len(town.features)} features")
        own_s, own_mib = in_its_own_process("look", place, chosen.devices, chosen.days)
        other_s, other_mib = in_its_own_process("evidently", place, chosen.devices, chosen.days)
    print(f"look / Evidently: {own_s / other_s:.2f} of the time and {own_mib / other_mib:.2f} of the memory,")
    print(f"for {queries / RAW_ROWS:,.3g} times as many queries: Evidently saw a sample of {RAW_ROWS:,} rows")
    if own_s > MOST_S or own_mib > MOST_MIB:
        raise SystemExit(f"The look took more than {MOST_S:.0f} s or {MOST_MIB:.0f} MiB.")


def child(what: str, folder: Path, devices: int, days: int) -> None:
    """One of the two; says in JSON what it took, imports included."""
    work: Callable[[], str]
    work = (lambda: look_at(folder, devices, days)) if what == "look" else (lambda: evidently_on(folder))
    begun = time.perf_counter()
    found = work()
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB
    print(json.dumps({"seconds": time.perf_counter() - begun, "mib": mib, "found": found}))


if __name__ == "__main__":
    main()
