"""Upkeep on a real repository: what there is to do is done, and doing it again changes nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tasks.maintenance import (
    WEBHOOKS_S,
    Upkeep,
    _page,
    delete_garbage,
    forget_webhooks,
    has_repository,
    renew_signatures,
    settle_newcomers,
)
from tests.unit.cli.running import tinymlops
from tinymlops.premises import Premises


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYMLOPS_STATE", str(tmp_path))
    for name in ("STORE", "PRIVATE_STORE", "DATABASE", "KEYS"):
        monkeypatch.delenv(f"TINYMLOPS_{name}", raising=False)
    return tmp_path


def test_before_there_are_keys_there_is_nothing_to_look_after(state: Path) -> None:
    assert not has_repository()
    assert "tinymlops keys create" in _page(Upkeep(has_repository=False))


def test_upkeep_does_what_is_due_and_nothing_twice(state: Path) -> None:
    made = tinymlops("keys", "create", "--development", TINYMLOPS_STATE=str(state))
    assert made.returncode == 0, made.stderr
    assert has_repository()
    left_by_a_crash = state / "repository" / "targets" / "left.bin"
    left_by_a_crash.parent.mkdir(parents=True, exist_ok=True)
    left_by_a_crash.write_bytes(b"half a package")
    before = {file: file.read_bytes() for file in (state / "repository").rglob("*") if file.is_file()}
    for _ in range(2):
        assert settle_newcomers.fn() == 0
        assert renew_signatures.fn() == ((), ())
        assert delete_garbage.fn() == 0, "it is not a week old"
    assert {file: file.read_bytes() for file in (state / "repository").rglob("*") if file.is_file()} == before


def test_webhooks_of_long_ago_are_forgotten_unless_they_still_wait(state: Path) -> None:
    with Premises.from_environment().fleet() as fleet:
        for name, age_s in (("old", WEBHOOKS_S + 60), ("waits", WEBHOOKS_S + 60), ("new", 60)):
            fleet.outbox.put(name, digest="0" * 64, parameters=b"{}", now_s=time.time() - age_s)
        fleet.outbox.started("old", "run")
        fleet.outbox.started("new", "run")
    assert [forget_webhooks.fn(), forget_webhooks.fn()] == [1, 0]


def test_what_waits_for_a_person_is_said() -> None:
    page = _page(Upkeep(has_repository=True, assigned=3, renewed=("timestamp",), due=("root", "targets")))
    assert "3 devices" in page
    assert "timestamp" in page
    assert "tinymlops keys draft" in page
    assert "tinymlops release" in page
