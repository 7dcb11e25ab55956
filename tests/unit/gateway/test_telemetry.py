"""Telemetry: each record kept once, whatever is sent again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fleet_contract import at_once, enrolled
from tests.unit.gateway.rig import Rig, problem, records, value
from tinymlops.errors import StorageError
from tinymlops.fleet import Fleet, open_fleet
from tinymlops.gateway.inbox import PREFIX, Inbox
from tinymlops.store import DirectoryStore, ETag, ObjectStore
from tinymlops.wire.encoding import decode_packed
from tinymlops.wire.messages import Acknowledgement, TelemetryBatch


def kept(store: ObjectStore, device_id: str) -> list[int]:
    """Numbers of all records that the store holds of a device, in the order of the objects."""
    batches = [decode_packed(store.get(found.key), TelemetryBatch) for found in store.list(f"{PREFIX}/{device_id}/")]
    return [record.sequence for batch in batches for record in batch.records]


def test_what_is_acknowledged_is_in_the_store(rig: Rig) -> None:
    device = rig.device()
    assert value(device.hand_in(1, 2, 3), Acknowledgement).through == 3
    assert kept(rig.store, device.id) == [1, 2, 3]
    (found,) = rig.store.list(PREFIX)
    assert decode_packed(rig.store.get(found.key), TelemetryBatch) == records(1, 2, 3)


def test_what_is_sent_again_is_kept_once(rig: Rig) -> None:
    device = rig.device()
    for numbers, through in (((0,), 0), ((0, 1, 2), 2), ((1, 2), 2), ((2, 3, 9), 9), ((4, 5, 10), 10)):
        assert value(device.hand_in(*numbers), Acknowledgement).through == through
    assert kept(rig.store, device.id) == [0, 1, 2, 3, 9, 10]


@pytest.mark.parametrize("numbers", [(), (2, 1), (3, 3)])
def test_numbers_that_do_not_rise_are_refused(rig: Rig, numbers: tuple[int, ...]) -> None:
    answer = rig.device().hand_in(*numbers)
    assert answer.status_code == 400
    assert "rise" in problem(answer).error


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"{}", b"\xdd\xff\xff\xff\xff"])
def test_a_body_of_another_form_is_refused(rig: Rig, body: bytes) -> None:
    assert rig.device().ask("POST", "/v1/telemetry", body).status_code == 400


def test_telemetry_that_could_not_be_kept_is_not_acknowledged(rig: Rig) -> None:
    device = rig.device()
    (rig.folder / "store" / "telemetry").write_bytes(b"in the way")
    assert device.hand_in(1, 2).status_code == 503
    (rig.folder / "store" / "telemetry").unlink()
    assert value(device.hand_in(1, 2), Acknowledgement).through == 2
    assert kept(rig.store, device.id) == [1, 2]


class Forgetful(Fleet):
    """Loses its connection between the store and the database."""

    fails = True

    def advance_telemetry(self, device_id: str, through: int) -> None:
        if self.fails:
            raise StorageError("the database is gone", "wait")
        super().advance_telemetry(device_id, through)


def test_a_crash_between_store_and_database_repeats_nothing(tmp_path: Path) -> None:
    with open_fleet(f"sqlite:///{tmp_path / 'fleet.sqlite'}") as fleet:
        device_id = enrolled(fleet)
        store, broken = DirectoryStore(tmp_path / "store"), Forgetful(fleet._database)
        with pytest.raises(StorageError):
            Inbox(store, broken).keep(device_id, records(1, 2, 3))
        with pytest.raises(StorageError):
            Inbox(store, broken).keep(device_id, records(2, 3, 4, 5))
        assert Inbox(store, fleet).keep(device_id, records(1, 2, 3, 4, 5, 6)) == 6
        assert kept(store, device_id) == [1, 2, 3, 4, 5, 6]
        assert fleet.telemetry_through(device_id) == 6


def test_gateways_that_get_overlapping_batches_at_once_keep_each_record_once(tmp_path: Path) -> None:
    with open_fleet(f"sqlite:///{tmp_path / 'fleet.sqlite'}") as fleet:
        device_id, store = enrolled(fleet), DirectoryStore(tmp_path / "store")
        batches = [records(*range(start, start + 10)) for start in (0, 3, 0, 7, 5, 2)]
        at_once(6, lambda number: Inbox(store, fleet).keep(device_id, batches[number]))
        found = kept(store, device_id)
        assert found == sorted(set(found))
        assert found[-1] == 16


class InMemory:
    """The two methods of a store that the inbox uses."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def put_if_absent(self, key: str, content: bytes) -> ETag | None:
        return ETag("") if self.values.setdefault(key, content) is content else None

    def get(self, key: str) -> bytes:
        return self.values[key]


class Through:
    """The two methods of a fleet that the inbox uses; forgets at will."""

    def __init__(self) -> None:
        self.through = -1
        self.forgets = False

    def telemetry_through(self, _: str) -> int:
        return self.through

    def advance_telemetry(self, _: str, through: int) -> None:
        if not self.forgets:
            self.through = max(self.through, through)


@given(st.lists(st.tuples(st.sets(st.integers(0, 40), min_size=1), st.booleans())))
def test_any_batches_in_any_order_with_any_lost_answers_never_overlap(sent: list[tuple[set[int], bool]]) -> None:
    store, fleet = InMemory(), Through()
    inbox = Inbox(store, fleet)  # type: ignore[arg-type]
    highest = -1
    for numbers, forgets in sent:
        fleet.forgets = forgets
        through = inbox.keep("device", records(*sorted(numbers)))
        assert through >= max(numbers)
        highest = max(highest, through)
    found = [
        record.sequence
        for key in sorted(store.values)
        for record in decode_packed(store.values[key], TelemetryBatch).records
    ]
    assert found == sorted(set(found))
    assert (found[-1] if found else -1) == highest
    assert set(found) >= (sent[0][0] if sent else set())
