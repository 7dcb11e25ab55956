"""The ledger: paid before anything leaves, never less than was spent, and nothing given away once it is empty."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.devices import Crash, Recorder
from tinymlops.edge.noise import MICRO
from tinymlops.edge.privacy import FILE, PERIOD_S, Balance, Ledger, balance_in
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition, ignore
from tinymlops.errors import StorageError

NOW_S = 1_800_000_000.0


def ledger_in(folder: Path, budget: float = 3.0) -> Ledger:
    return Ledger(Folder(folder, durable=False), budget, ignore)


def test_a_spent_budget_pays_for_nothing_more_and_a_new_process_knows_it(tmp_path: Path) -> None:
    assert [ledger_in(tmp_path).spend(MICRO, NOW_S + day) for day in range(5)] == [True] * 3 + [False] * 2
    assert balance_in(Folder(tmp_path), NOW_S + 5) == Balance(spent=3.0, budget=3.0)


def test_privacy_comes_back_after_thirty_days_and_no_sooner(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path, budget=1.0)
    assert ledger.spend(MICRO, NOW_S)

    assert not ledger.spend(1, NOW_S + PERIOD_S - 1)
    assert ledger.spend(MICRO, NOW_S + PERIOD_S)


def test_a_clock_that_was_put_back_gives_nothing_back(tmp_path: Path) -> None:
    assert ledger_in(tmp_path, budget=1.0).spend(MICRO, NOW_S)

    assert not ledger_in(tmp_path, budget=1.0).spend(1, NOW_S - 10 * PERIOD_S)


def test_power_that_goes_right_after_the_payment_does_not_take_it_back(tmp_path: Path) -> None:
    ledger = Ledger(Folder(tmp_path), 1.0, Recorder(die_at=Transition.PRIVACY_SPENT))
    with pytest.raises(Crash):
        ledger.spend(MICRO, NOW_S)

    assert not ledger_in(tmp_path, budget=1.0).spend(1, NOW_S)


def test_a_full_disk_pays_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Ledger(Folder(tmp_path, quota_bytes=10), 1.0, ignore).spend(1, NOW_S)
    assert balance_in(Folder(tmp_path), NOW_S) is None


@pytest.mark.parametrize("content", [b"", b"{}", b'{"v":1,"budget":1000000,"spent":[[1,'])
def test_a_damaged_ledger_counts_as_spent_for_thirty_days(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert balance_in(Folder(tmp_path), NOW_S) is None

    ledger = ledger_in(tmp_path)

    assert not ledger.spend(1, NOW_S)
    assert not ledger.spend(1, NOW_S + PERIOD_S - 1)
    assert ledger.spend(MICRO, NOW_S + PERIOD_S)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 2 * MICRO), st.floats(0, 40 * 86_400)), max_size=30))
def test_no_thirty_days_ever_cost_more_than_the_budget(
    tmp_path_factory: pytest.TempPathFactory, wishes: list[tuple[int, float]]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    at_s, paid = NOW_S, []
    for wish, later_s in wishes:
        at_s += later_s
        if ledger_in(folder).spend(wish, at_s):
            paid.append((at_s, wish))

    for end_s, _ in paid:
        assert sum(wish for when, wish in paid if end_s - PERIOD_S < when <= end_s) <= 3 * MICRO
