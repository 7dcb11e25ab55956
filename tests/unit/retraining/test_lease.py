"""One retraining of a workload at a time, also where processes die or the clock of Prefect says so."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from tinymlops.errors import RefusedError
from tinymlops.retraining import lease as lease_room
from tinymlops.retraining.lease import Lease, leased
from tinymlops.store import DirectoryStore

PLACE = "retraining-leases/activity.json"
ELSEWHERE = {"machine": "another boot", "process": 1, "started": "1"}


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def claimed(store: DirectoryStore, **changes: object) -> None:
    with leased(store, "activity", "theirs"):
        claim = msgspec.json.decode(store.get(PLACE))
    store.put(PLACE, msgspec.json.encode({**claim, "until_s": 9e9, **changes}))


def test_it_is_free_again_after_the_block(store: DirectoryStore) -> None:
    for key in ("one", "two"):
        with leased(store, "activity", key, wait_s=0) as held:
            held.check()


def test_another_retraining_is_refused_and_another_workload_is_not(store: DirectoryStore) -> None:
    with leased(store, "activity", "one"):
        with pytest.raises(RefusedError, match="the retraining one is under way"), leased(store, "activity", "two"):
            pass
        with leased(store, "fashion", "two"):
            pass


def test_the_same_retraining_waits_for_its_twin(store: DirectoryStore) -> None:
    order, inside = [], threading.Event()

    def twin() -> None:
        inside.wait(5)
        with leased(store, "activity", "one"):
            order.append("second")

    thread = threading.Thread(target=twin)
    thread.start()
    with leased(store, "activity", "one"):
        inside.set()
        thread.join(0.4)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_twin_that_does_not_end_is_not_waited_for_for_ever(store: DirectoryStore) -> None:
    with leased(store, "activity", "one"), pytest.raises(RefusedError), leased(store, "activity", "one", wait_s=0.1):
        pass


@pytest.mark.parametrize(
    "gone", [{"process": 2**22 + 1}, {"started": "1"}], ids=["no such process", "another's number"]
)
def test_a_holder_that_was_killed_on_this_machine_is_replaced_at_once(
    store: DirectoryStore, gone: dict[str, object]
) -> None:
    claimed(store, **gone)
    with leased(store, "activity", "mine", wait_s=0) as held:
        held.check()


def test_a_holder_elsewhere_is_believed_until_its_time_is_over(store: DirectoryStore) -> None:
    claimed(store, **ELSEWHERE)
    with pytest.raises(RefusedError), leased(store, "activity", "mine", wait_s=0):
        pass
    claimed_until = msgspec.json.decode(store.get(PLACE)) | {"until_s": 1.0}
    store.put(PLACE, msgspec.json.encode(claimed_until))
    with leased(store, "activity", "mine", wait_s=0):
        pass


def test_a_lease_that_was_taken_over_is_noticed(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_room, "LASTS_S", 0.3)
    with leased(store, "activity", "mine") as held:
        store.put(PLACE, store.get(PLACE).replace(b"mine", b"them"))
        assert lost(held)
        with pytest.raises(RefusedError, match="taken this retraining over"):
            held.check()


def test_a_lease_is_renewed_for_as_long_as_it_is_held(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_room, "LASTS_S", 0.3)
    with leased(store, "activity", "mine") as held:
        before = msgspec.json.decode(store.get(PLACE))["until_s"]
        threading.Event().wait(0.5)
        held.check()
        assert msgspec.json.decode(store.get(PLACE))["until_s"] > before


def lost(held: Lease) -> bool:
    return held._lost.wait(5)
