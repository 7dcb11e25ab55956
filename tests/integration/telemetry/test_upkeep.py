"""Tables are kept in order, and a load that dies anywhere is finished by the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.testing.utilities import prefect_test_harness

from flows.compact import compact
from flows.ingest import ingest
from tasks.telemetry import delete_old_versions, pinned_versions
from tests.support.observations import NOW_S, Teller, consent, sample, window
from tinymlops.fleet import Fleet
from tinymlops.premises import Premises
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.retraining.values import Outcome, RetrainingRecord, Trigger
from tinymlops.store import DirectoryStore
from tinymlops.telemetry.delta import Delta
from tinymlops.telemetry.inbox import Delivery, Inbox
from tinymlops.telemetry.loading import Loader
from tinymlops.telemetry.tables import Tables
from tinymlops.telemetry.totals import totals


class Died(BaseException):
    """As sudden as SIGKILL, and quicker to try at every step."""


@pytest.fixture
def premises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Premises:
    monkeypatch.setenv("TINYMLOPS_STATE", str(tmp_path))
    for name in ("STORE", "PRIVATE_STORE", "DATABASE", "TELEMETRY", "KEYS"):
        monkeypatch.delenv(f"TINYMLOPS_{name}", raising=False)
    return Premises.from_environment()


def hand_in(premises: Premises, fleet: Fleet, *told: Any) -> Teller:
    device = Teller.of(fleet)
    inbox = Inbox(premises.telemetry_store(), fleet, lambda: NOW_S + 60)
    inbox.keep([Delivery(device.id, device.tell(*told))])
    return device


def learnt_from(version: int) -> RetrainingRecord:
    return RetrainingRecord(
        workload="activity",
        key=f"key-{version}",
        trigger=Trigger.MANUAL,
        why="",
        began_s=NOW_S + version,
        ended_s=NOW_S + version,
        table_version=version,
        outcome=Outcome.REJECTED,
        reason="no better",
    )


def samples_at(tables: Tables, version: int) -> int:
    return tables.samples("activity", version=version).collect().height


def test_what_was_learnt_from_stays_readable_and_the_rest_goes(premises: Premises) -> None:
    tables = premises.tables()
    with premises.fleet() as fleet:
        for _ in range(5):
            hand_in(premises, fleet, consent(), sample())
            Loader(premises.telemetry_store(), fleet, tables).load()
    newest = tables.version("samples")
    pinned, other = newest - 2, newest - 1
    RetrainingRecords(premises.telemetry_store()).keep(learnt_from(pinned))
    assert pinned_versions() == (pinned,)
    tables.compact()
    assert delete_old_versions.fn(0, pinned_versions()) > 0
    assert samples_at(tables, pinned) == 3
    assert samples_at(tables, tables.version("samples")) == 5
    with pytest.raises(FileNotFoundError):
        samples_at(tables, other)


def test_the_flows_load_and_tidy_up(premises: Premises) -> None:
    with premises.fleet() as fleet:
        device = hand_in(premises, fleet, consent(), window(), sample())
    with prefect_test_harness():
        loaded = ingest()
        before = premises.tables().windows("activity", began_s=0, ended_s=2 * NOW_S).collect()
        assert compact(retention_days=90) == 0
        assert ingest().segments == 0
    assert (loaded.consents, loaded.windows, loaded.samples, loaded.segments) == (1, 1, 1, 1)
    assert before["device_id"].to_list() == [device.id]
    assert premises.tables().windows("activity", began_s=0, ended_s=2 * NOW_S).collect().equals(before)
    assert totals(premises.telemetry_store()).windows == 1


STEPS: tuple[tuple[type, str], ...] = (
    (DirectoryStore, "get"),
    (DirectoryStore, "delete"),
    (Delta, "_commit"),
)


class Counting:
    """Dies before or after a step: after the n-th half step, counted over all of `STEPS`."""

    def __init__(self, at: int) -> None:
        self.left = at

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*words: Any, **more: Any) -> Any:
            self.half_step()
            found = step(*words, **more)
            self.half_step()
            return found

        return wrapped

    def half_step(self) -> None:
        if self.left == 0:
            raise Died
        self.left -= 1


def dies(premises: Premises, fleet: Fleet, at: int) -> bool:
    """A load that dies at a half step, unless it has fewer."""
    with pytest.MonkeyPatch.context() as patch:
        counting = Counting(at)
        for kind, name in STEPS:
            patch.setattr(kind, name, counting.around(getattr(kind, name)))
        try:
            Loader(premises.telemetry_store(), fleet, premises.tables()).load()
        except Died:
            return True
        return False


def test_a_load_that_dies_at_any_step_is_finished_by_the_next(premises: Premises) -> None:
    at, sent = 0, 0
    with premises.fleet() as fleet:
        while True:
            hand_in(premises, fleet, consent(), window(), sample(), window(queries=2**50))
            hand_in(premises, fleet, consent(), window(), sample())
            sent += 2
            died = dies(premises, fleet, at)
            assert dies(premises, fleet, 10_000) is False
            tables = premises.tables()
            for name, rows in (("windows", sent), ("samples", sent), ("consents", sent), ("quarantine", sent // 2)):
                found = tables.scan(name).collect()
                assert (name, at, found.height) == (name, at, rows)
                assert found.select("device_id", "sequence").is_unique().all()
            if not died:
                break
            at += 1
    assert at >= 10
