"""Kill -9 worker, gateway and Prefect server at random moments of monitor → retrain → release, twenty times.

::

    python bench/chaos.py [KILLS] [SEED] [KILLS A CYCLE, up to 6]

Every cycle has to end with one promotion, one release and one roll-out; every acknowledged window has to be in the
table once; no run may be left running.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.integration.chaos import chaos, check


def main(kills: int = 20, seed: int = 7, each: int = 4) -> None:
    """Run cycles until that many were killed, then check."""
    cycles = -(-kills // each)
    with tempfile.TemporaryDirectory(prefix="tinymlops-chaos-") as folder, chaos(Path(folder), seed) as one:
        began_s = time.monotonic()
        for number in range(1, cycles + 1):
            one.cycle(number, min(each, kills - len(one.killed)))
            print(f"cycle {number}: {one.took_s[-1]:.0f} s, killed {', '.join(one.killed[-each:])}", flush=True)
        check(one, cycles)
        windows = sum(told.through - 1 for told in one.told)
        took_s = time.monotonic() - began_s
    print(f"{len(one.killed)} kills in {took_s:.0f} s: {dict(Counter(one.killed))}")
    print(f"{cycles} promotions, {cycles} releases, {cycles} roll-outs; {windows} acknowledged windows, none lost")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
