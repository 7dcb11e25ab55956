"""The whole loop in containers: build, release, roll out, observe, drift, retrain, roll out again.

    python infra/compose-demo/run.py [--keep]

It starts infra/compose.yaml under a name, with ports, secrets and volumes of its own, and removes all of it at the end.
Everything goes over the real thing: PostgreSQL, S3, Prefect with its worker, MLflow, and the gateway's HTTP. The pumps
are two dozen agents in this process. Their workload is made up, and so is the time that their readings were taken at.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

WORKLOADS = Path(__file__).parent.absolute() / "workloads"
sys.path[:0] = [str(WORKLOADS), str(WORKLOADS.parent)]

from containers import Json, Site  # noqa: E402
from pumps import DAY_S, WORKLOAD, Pump, awake, hand_in  # noqa: E402 - lies beside this file

from tinymlops.cli import console  # noqa: E402
from tinymlops.project import state_folder  # noqa: E402

PUMPS, K, DAYS = 24, 20, 7
SETTINGS = {"TINYMLOPS_WORKLOADS": WORKLOAD, "TINYMLOPS_WORKLOAD_FOLDER": str(WORKLOADS), "TINYMLOPS_POLL_S": "1"}
_WAIT_S = 300.0

T = TypeVar("T")


def main() -> None:
    """Start, go round once, stop."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave it running")
    parser.add_argument("--project", default="tinymlops-demo", help="name of containers, networks and volumes")
    parser.add_argument("--state", type=Path, default=state_folder() / "compose-demo", help="folder for all of it")
    arguments = parser.parse_args()
    site = Site(arguments.state.absolute(), arguments.project, _say)
    began = time.monotonic()
    try:
        site.start(SETTINGS)
        go_round(site)
        _say(f"The whole loop in {time.monotonic() - began:.0f} s.")
    finally:
        if arguments.keep:
            _say(f"It runs on. Stop it: TINYMLOPS_STATE={site.state} sh infra/services/compose.sh down --volumes")
        else:
            site.stop()


def go_round(site: Site) -> int:
    """The loop, once; the release that all devices run in the end.

    Raises:
        SystemExit: Something turned out otherwise than it must.
    """
    _title("1. Build and release, on the owner's side of the containers")
    site.owner("tinymlops", "build", WORKLOAD, "--recipes", "int8", "--devices", "x86-gateway", "--out", "/tmp/out")  # noqa: S108 - inside the container
    site.owner("tinymlops", "release", WORKLOAD, "--devices", "x86-gateway")

    _title(f"2. {PUMPS} devices get in, and the release reaches them in stages")
    pumps = _enrol(site)
    with awake(pumps):
        site.owner("tinymlops", "rollout", "start", WORKLOAD, "--poll", "1", "--silence", "60")
        first = _running(pumps)
    _say(f"All run release {first}.")

    _title("3. A quiet week")
    quiet = time.time() - (2 * DAYS + 1) * DAY_S
    for pump in pumps:
        pump.agree(quiet)
    _live(site, pumps, quiet, remounted=False)
    _look(site, quiet + DAYS * DAY_S, expected="none")

    _title("4. The sensors get another mount: the readings move, and the model is wrong more often")
    _live(site, pumps, time.time() - DAYS * DAY_S, remounted=True)
    _look(site, time.time(), expected="**drift**")

    _title("5. The drift event has started a retraining")
    with awake(pumps):
        _retrained(site)
        second = _until(lambda: _all_run(pumps, after=first), "the new release on every device")
    _say(f"All run release {second}.")

    _title("6. A webhook asks for one more")
    _ask_by_webhook(site)
    return second


def _enrol(site: Site) -> list[Pump]:
    """Devices with codes of the owner's, half of them in each of two regions."""
    home = site.state / "pumps"
    shutil.rmtree(home, ignore_errors=True)
    pumps: list[Pump] = []
    for region in ("north", "south"):
        words = ("--profile", "x86-gateway", "--region", region, "--count", str(PUMPS // 2))
        codes = site.owner("tinymlops", "fleet", "code", *words).split()
        for code in (word for word in codes if word.startswith("TM1-")):
            pumps.append(Pump(home / str(len(pumps)), site.gateway, code, len(pumps)))
    return pumps


def _live(site: Site, pumps: Sequence[Pump], began_s: float, *, remounted: bool) -> None:
    """A week of windows and some samples, through the gateway into the tables."""
    right = [pump.live(began_s, DAYS, remounted=remounted) for pump in pumps]
    for pump in pumps:
        pump.sample(remounted=remounted)
    hand_in(pumps)
    _say(f"{len(pumps) * DAYS} windows handed in; {sum(right) / len(right):.1%} of the answers were right.")
    site.run("ingest/ingest")


def _look(site: Site, ended_s: float, *, expected: str) -> None:
    """Judge a week.

    Raises:
        SystemExit: The verdict is another than expected.
    """
    run = site.run("monitor/monitor", {"workload": WORKLOAD, "days": DAYS, "ended_s": ended_s, "k": K})
    page = site.page(run["id"], f"{WORKLOAD}-drift")
    verdicts = [line for line in page if line.startswith("| 1 |") or "| verdict |" in line]
    _say("\n".join(verdicts + [line for line in page if line.startswith("- **")]))
    if not any(f"| fleet | {expected} |" in line for line in verdicts):
        raise SystemExit(f"That is not the verdict that was expected: {expected}.")


def _retrained(site: Site) -> None:
    """Wait for the run that the automation started, and for the roll-out that it hands over to.

    Raises:
        SystemExit: There is none, or the challenger was not promoted.
    """
    run = _until(lambda: next(iter(site.runs_of("retrain/drift")), None), "a retraining because of drift")
    site.wait(run["id"])
    page = site.page(run["id"], f"{WORKLOAD}-retraining")
    _say("\n".join(line for line in page if line))
    if not any("promoted" in line for line in page[:1]):
        raise SystemExit("The challenger was not promoted.")
    rollout = _until(lambda: next(iter(site.runs_of("rollout/rollout")), None), "a roll-out")
    site.wait(rollout["id"])


def _ask_by_webhook(site: Site) -> None:
    """Send the same webhook three times; one run must come of it.

    Raises:
        SystemExit: It is refused, or there is another number of runs.
    """
    name, body = f"demo-{secrets.token_hex(4)}", json.dumps({"workload": WORKLOAD, "why": "the demo"}).encode()
    asked = time.monotonic()
    answers = [site.webhook(name, body) for _ in range(3)]
    if {answer.status_code for answer in answers} != {HTTPStatus.ACCEPTED}:
        raise SystemExit(f"The webhook was refused: {answers[0].text}")
    runs = _until(lambda: _runs_for(site, f"webhook-{name}") or None, "a run for the webhook")
    _say(f"  three webhooks of one name, {len(runs)} run, there after {time.monotonic() - asked:.1f} s")
    site.wait(runs[0]["id"])
    _say("\n".join(line for line in site.page(runs[0]["id"], f"{WORKLOAD}-retraining") if line))
    if len(_runs_for(site, f"webhook-{name}")) != 1:
        raise SystemExit("One webhook has started several runs.")


def _runs_for(site: Site, key: str) -> list[Json]:
    return [one for one in site.runs_of("retrain/retrain") if one["parameters"].get("key") == key]


def _running(pumps: Sequence[Pump]) -> int:
    return _until(lambda: _all_run(pumps, after=0), "the release on every device")


def _all_run(pumps: Sequence[Pump], *, after: int) -> int | None:
    """The release that all devices run, if it is newer than ``after``."""
    versions = {pump.version for pump in pumps}
    only = versions.pop() if len(versions) == 1 else None
    return only if only is not None and only > after else None


def _until(find: Callable[[], T | None], what: str) -> T:
    end = time.monotonic() + _WAIT_S
    while (found := find()) is None:
        if time.monotonic() > end:
            raise SystemExit(f"There is no sign of {what} after {_WAIT_S:.0f} s.")
        time.sleep(1)
    return found


def _title(text: str) -> None:
    console.stdout().print(f"\n[bold cyan]{text}[/]")


def _say(text: str) -> None:
    console.stdout().print(text, markup=False, highlight=False)


if __name__ == "__main__":
    main()
