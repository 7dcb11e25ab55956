"""Telemetry: what is acknowledged is durable, and nothing that was acknowledged is written again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fleet_contract import enrolled
from tests.support.segments import entries, kept
from tests.unit.gateway.rig import Rig, problem, records, value
from tinymlops.errors import StorageError
from tinymlops.fleet import Fleet, open_fleet
from tinymlops.gateway import GatewaySettings
from tinymlops.store import DirectoryStore, ETag
from tinymlops.telemetry.inbox import Delivery, Inbox
from tinymlops.telemetry.segments import PREFIX, Segment, has_consents, segment_keys
from tinymlops.telemetry.totals import count
from tinymlops.telemetry.values import Loaded
from tinymlops.wire.encoding import decode_packed, encode_packed
from tinymlops.wire.messages import Acknowledgement, Record


def test_what_is_acknowledged_is_in_the_store(rig: Rig) -> None:
    device = rig.device()
    assert value(device.hand_in(1, 2, 3), Acknowledgement).through == 3
    (entry,) = entries(rig.store)
    assert (entry.device_id, entry.received_s) == (device.id, rig.clock())
    assert entry.records == records(1, 2, 3).records


def test_what_is_sent_again_is_kept_once(rig: Rig) -> None:
    device = rig.device()
    for numbers, through in (((0,), 0), ((0, 1, 2), 2), ((1, 2), 2), ((2, 3, 9), 9), ((4, 5, 10), 10)):
        assert value(device.hand_in(*numbers), Acknowledgement).through == through
        rig.clock.now_s += 1
    assert kept(rig.store, device.id) == [0, 1, 2, 3, 9, 10]


def test_requests_that_come_together_share_an_object(rig: Rig) -> None:
    crowd = [rig.device() for _ in range(12)]
    wanted = [("POST", "/v1/telemetry", body(1, 2)) for _ in crowd]
    answers = rig.together(
        *(
            (method, target, content, one.signed(method, target, content))
            for one, (method, target, content) in zip(crowd, wanted, strict=True)
        )
    )
    assert [value(answer, Acknowledgement).through for answer in answers] == [2] * 12
    assert len(segment_keys(rig.store)) < 12
    assert all(kept(rig.store, one.id) == [1, 2] for one in crowd)


def test_a_device_whose_requests_come_together_is_kept_once(rig: Rig) -> None:
    device = rig.device()
    # whichever comes first: each begins with the oldest record that was not acknowledged, as the protocol has it
    bodies = [body(*range(end)) for end in (10, 4, 17, 7, 17, 12)]
    answers = rig.together(
        *(("POST", "/v1/telemetry", one, device.signed("POST", "/v1/telemetry", one)) for one in bodies)
    )
    found = kept(rig.store, device.id)  # two objects of one millisecond have no order
    assert sorted(found) == list(range(17))
    assert all(value(answer, Acknowledgement).through in found for answer in answers)


@pytest.mark.parametrize("numbers", [(), (2, 1), (3, 3)])
def test_numbers_that_do_not_rise_are_refused(rig: Rig, numbers: tuple[int, ...]) -> None:
    answer = rig.device().hand_in(*numbers)
    assert answer.status_code == 400
    assert "rise" in problem(answer).error


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x80", b"{}", b"\xdd\xff\xff\xff\xff"])
def test_a_body_of_another_form_is_refused(rig: Rig, content: bytes) -> None:
    assert rig.device().ask("POST", "/v1/telemetry", content).status_code == 400


def test_telemetry_that_could_not_be_kept_is_not_acknowledged(rig: Rig) -> None:
    device = rig.device()
    (rig.folder / "store" / "inbox").write_bytes(b"in the way")
    assert device.hand_in(1, 2).status_code == 503
    (rig.folder / "store" / "inbox").unlink()
    assert value(device.hand_in(1, 2), Acknowledgement).through == 2
    assert kept(rig.store, device.id) == [1, 2]


def test_more_than_fits_is_told_to_come_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path, GatewaySettings(rates=None, timestamp_ttl_s=0.0, inbox_bytes=200, segment_bytes=100))
    crowd = [rig.device() for _ in range(20)]
    answers = rig.together(
        *(("POST", "/v1/telemetry", body(1), one.signed("POST", "/v1/telemetry", body(1))) for one in crowd)
    )
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    kept_by = [one for one, answer in zip(crowd, answers, strict=True) if answer.status_code == 200]
    assert kept_by
    assert all(kept(rig.store, one.id) == [1] for one in kept_by)
    rig.close()


def test_figures_tell_what_all_loaders_did(rig: Rig) -> None:
    count(rig.store, Loaded(segments=1, windows=5, refused={"no consent": 2}))
    count(rig.store, Loaded(segments=1, windows=2, refused={"no consent": 1, "not readable": 4}))
    text = rig.operator("/metrics").text
    assert 'tinymlops_telemetry_loaded_total{what="windows"} 7.0' in text
    assert 'tinymlops_telemetry_refused_total{reason="no consent"} 3.0' in text
    assert 'tinymlops_telemetry_refused_total{reason="not readable"} 4.0' in text
    assert "tinymlops_telemetry_waiting_bytes 0.0" in text


class Forgetful(Fleet):
    """Loses its connection between the store and the database."""

    def advance_telemetry(self, marks: Mapping[str, int]) -> None:
        raise StorageError("the database is gone", "wait")


def test_a_crash_between_store_and_database_loses_nothing(tmp_path: Path) -> None:
    with open_fleet(f"sqlite:///{tmp_path / 'fleet.sqlite'}") as fleet:
        device_id, store = enrolled(fleet), DirectoryStore(tmp_path / "store")
        broken, whole = Inbox(store, Forgetful(fleet._database), Ticks()), Inbox(store, fleet, Ticks(100))
        with pytest.raises(StorageError):
            broken.keep([Delivery(device_id, records(1, 2, 3).records)])
        assert whole.keep([Delivery(device_id, records(1, 2, 3, 4).records)]) == (4,)
        assert kept(store, device_id) == [1, 2, 3, 1, 2, 3, 4]  # loading leaves the second ones out
        assert fleet.telemetry_through(device_id) == 4


def test_the_key_of_a_segment_tells_of_consents() -> None:
    store = InMemory()
    for kind in ("consent", "window"):
        inbox = Inbox(store, Marks(), Ticks())  # type: ignore[arg-type]
        inbox.keep([Delivery("0" * 32, (Record(1, kind, b""),))])
    assert sorted(has_consents(key) for key in store.values) == [False, True]


class Ticks:
    """A clock that moves on whenever somebody looks."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


class InMemory:
    """The method of a store that the inbox uses."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def put(self, key: str, content: bytes) -> ETag:
        assert key not in self.values
        self.values[key] = content
        return ETag("")


class Marks:
    """The two methods of a fleet that the inbox uses; forgets at will."""

    def __init__(self) -> None:
        self.marks: dict[str, int] = {}
        self.forgets = False

    def telemetry_marks(self, device_ids: Collection[str]) -> dict[str, int]:
        return {name: self.marks[name] for name in device_ids if name in self.marks}

    def advance_telemetry(self, marks: Mapping[str, int]) -> None:
        if not self.forgets:
            self.marks |= {name: max(through, self.marks.get(name, -1)) for name, through in marks.items()}


def numbers_in(store: InMemory) -> Iterator[tuple[str, int]]:
    for key in sorted(store.values):
        for entry in decode_packed(store.values[key], Segment).entries:
            for record in entry.records:
                yield entry.device_id, record.sequence


_SENT = st.lists(
    st.tuples(st.sampled_from(["a" * 32, "b" * 32]), st.sets(st.integers(0, 40), min_size=1, max_size=8)),
    min_size=1,
    max_size=4,
)


@given(st.lists(st.tuples(_SENT, st.booleans()), max_size=6))
@settings(max_examples=50)
def test_everything_that_is_acknowledged_is_there_and_is_not_written_again(
    rounds: list[tuple[list[tuple[str, set[int]]], bool]],
) -> None:
    store, fleet = InMemory(), Marks()
    inbox = Inbox(store, fleet, Ticks())  # type: ignore[arg-type]
    remembered: set[tuple[str, int]] = set()
    for sent, forgets in rounds:
        fleet.forgets = forgets
        before = dict(fleet.marks)
        already = len(list(numbers_in(store)))
        through = inbox.keep([Delivery(name, records(*sorted(numbers)).records) for name, numbers in sent])
        new = list(numbers_in(store))[already:]
        assert len(set(new)) == len(new)
        assert not remembered & set(new)
        for (name, numbers), number in zip(sent, through, strict=True):
            assert number >= max(numbers)
            assert (name, number) in set(numbers_in(store)) or number == before.get(name)
        if not forgets:
            remembered |= set(new)
    assert all(key.startswith(PREFIX) for key in store.values)


def body(*numbers: int) -> bytes:
    return encode_packed(records(*numbers))
