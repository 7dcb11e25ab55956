"""Kill -9 of the loop's servers while it retrains: what `bench/chaos.py` does twenty times, here three times."""

from __future__ import annotations

from pathlib import Path

from tests.integration.chaos import chaos, check


def test_a_retraining_ends_with_one_promotion_whoever_is_killed_meanwhile(tmp_path: Path) -> None:
    with chaos(tmp_path, seed=3) as one:
        one.cycle(1, kills=3)
        check(one, cycles=1)
