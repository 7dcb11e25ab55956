"""Kill -9 worker, gateway and Prefect server at random moments of monitor → retrain → release, twenty times.

::

    python bench/chaos.py [KILLS] [SEED] [KILLS A CYCLE]

In every other cycle kills begin with the runs' submission, in the others once both have begun. Every cycle has to end
with one promotion, one release and one roll-out; every acknowledged window has to be in the table once; no run may be
left running.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.integration.chaos import chaos, check


def main(kills: int = 20, seed: int = 7, each: int = 5) -> None:
    """Run cycles until that many were killed, then check; each kill is a line of a table."""
    cycles = -(-kills // each)
    with tempfile.TemporaryDirectory(prefix="tinymlops-chaos-") as folder, chaos(Path(folder), seed) as one:
        began_s = time.monotonic()
        print("| cycle | SIGKILL to | after, s | monitor, retrain at that moment |\n| ---: | --- | ---: | --- |")
        for number in range(1, cycles + 1):
            before = len(one.kills)
            one.cycle(number, min(each, kills - before), begun=number % 2 == 0)
            for kill in one.kills[before:]:
                print(f"| {number} | {kill.victim} | {kill.after_s:.1f} | {kill.states} |")
            print(f"| {number} | – | {one.took_s[-1]:.0f} | all ended |", flush=True)
        check(one, cycles)
        windows = sum(told.through - 1 for told in one.told)
        took_s = time.monotonic() - began_s
    print(f"\n{len(one.kills)} kills in {took_s:.0f} s; then")
    print(f"{cycles} promotions, {cycles} releases, {cycles} roll-outs, no run left behind;")
    print(f"{windows:,} windows acknowledged, each of them in the table once")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
