"""Kill -9 of the loop's servers while it retrains: what `bench/chaos.py` does twenty times, here three times.

The kills begin once both runs have, and the worker's runs outlive it: what Prefect needs minutes to find is left to
`bench/chaos.py`, and to the tests of the triggers.
"""

from __future__ import annotations

from pathlib import Path

from tests.integration.chaos import chaos, check


def test_a_retraining_ends_with_one_promotion_whoever_is_killed_meanwhile(tmp_path: Path) -> None:
    with chaos(tmp_path, seed=1) as one:
        one.cycle(1, kills=3, span_s=15, begun=True)
        check(one, cycles=1)
        assert sorted(kill.victim for kill in one.kills) == ["gateway", "prefect", "worker"]
