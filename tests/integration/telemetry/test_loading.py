"""From what devices hand in to rows: each once, and only what somebody agreed to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from tests.support.observations import HOUR_S, NOW_S, Teller, consent, sample, window
from tinymlops.errors import StorageError
from tinymlops.fleet import Fleet, open_fleet
from tinymlops.store import DirectoryStore
from tinymlops.telemetry.inbox import Delivery, Inbox
from tinymlops.telemetry.loading import DAMAGED, Loader
from tinymlops.telemetry.segments import PREFIX, segment_keys
from tinymlops.telemetry.tables import Tables
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.messages import Record
from tinymlops.wire.observations import ChannelHealth, Consent, Purpose, Sample, Window

Told = Consent | Window | Sample


class Site:
    """An inbox, tables, and devices that hand in."""

    def __init__(self, folder: Path) -> None:
        self.store = DirectoryStore(folder)
        self.fleet: Fleet = open_fleet(f"sqlite:///{folder / 'fleet.sqlite'}")
        self.tables = Tables(str(folder))
        self.inbox = Inbox(self.store, self.fleet, lambda: NOW_S + 30)
        self.loader = Loader(self.store, self.fleet, self.tables)

    def hand_in(self, device: Teller, *told: Told | Record) -> None:
        records = tuple(one if isinstance(one, Record) else device.tell(one)[0] for one in told)
        self.inbox.keep([Delivery(device.id, records)])

    def windows(self) -> pl.DataFrame:
        return self.tables.windows("activity", began_s=0, ended_s=2 * NOW_S).sort("sequence").collect()

    def samples(self) -> pl.DataFrame:
        return self.tables.samples("activity").sort("sequence").collect()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.fleet.close()


def test_a_window_becomes_a_row_with_its_devices_groups(site: Site) -> None:
    device = Teller.of(site.fleet, region="north", tags=("school", "b"))
    told = window(channels=(ChannelHealth(channel=2, missing=4), ChannelHealth(channel=5, stuck=60)), labelled=7)
    site.hand_in(device, consent(), told)
    loaded = site.loader.load()
    assert (loaded.segments, loaded.consents, loaded.windows, loaded.refused) == (1, 1, 1, {})
    (row,) = site.windows().to_dicts()
    assert row == {
        "device_id": device.id,
        "sequence": 2,
        "date": "2030-03-17",
        "received_s": NOW_S + 30,
        "workload": "activity",
        "release": 3,
        "recipe": "int8",
        "layout": "0123456789abcdef",
        "profile": "raspberry-pi-5",
        "region": "north",
        "tags": ["b", "school"],
        "began_s": NOW_S - 6 * HOUR_S,
        "ended_s": NOW_S,
        "consent": 1,
        "epsilon": 1.0,
        "histograms": [[40, 60], [10, 20, 70]],
        "queries": 100,
        "errors": 0,
        "labelled": 7,
        "latencies": [0, 90, 10],
        "memory_kib": 9000,
        "energy_uj": 5.5,
        "missing": [2],
        "stuck": [5],
    }
    assert segment_keys(site.store) == []


def test_a_sample_becomes_a_row(site: Site) -> None:
    site.hand_in(Teller.of(site.fleet), consent(), sample(), sample(truth=None))
    assert site.loader.load().samples == 2
    first, second = site.samples().to_dicts()
    assert np.allclose(first["inputs"], [0.5, -1.0, 2.0])
    assert (first["output"], first["truth"], second["truth"]) == ([0.25, 0.75], [1.0], None)


def test_a_consent_is_kept_with_its_proof(site: Site) -> None:
    device = Teller.of(site.fleet)
    (record,) = device.tell(consent())
    site.hand_in(device, record)
    site.loader.load()
    (row,) = site.tables.scan("consents").collect().to_dicts()
    assert (row["number"], row["subject"], row["message"]) == (1, "household-1", record.content)
    assert row["purposes"] == ["operations", "drift", "samples"]


def test_what_is_not_agreed_to_is_in_no_table(site: Site) -> None:
    silent, partly = Teller.of(site.fleet), Teller.of(site.fleet)
    site.hand_in(silent, window(), sample())
    site.hand_in(partly, consent(purposes=(Purpose.OPERATIONS,)), window(), sample())
    loaded = site.loader.load()
    assert (loaded.windows, loaded.samples, loaded.refused) == (1, 0, {"no consent": 3})
    (row,) = site.windows().to_dicts()
    assert (row["device_id"], row["histograms"], row["epsilon"], row["queries"]) == (partly.id, [], 0.0, 100)


def test_a_window_for_drift_alone_tells_nothing_of_how_the_device_does(site: Site) -> None:
    told = window(errors=3, channels=(ChannelHealth(channel=1, missing=3),))
    site.hand_in(Teller.of(site.fleet), consent(purposes=(Purpose.DRIFT,)), told)
    site.loader.load()
    (row,) = site.windows().to_dicts()
    assert (row["latencies"], row["memory_kib"], row["energy_uj"]) == ([], None, None)
    assert (row["errors"], row["missing"], row["stuck"]) == (0, [], [])
    assert row["histograms"] == [[40, 60], [10, 20, 70]]


def test_a_withdrawal_holds_for_everything_that_is_sent_after_it(site: Site) -> None:
    device = Teller.of(site.fleet)
    site.hand_in(device, consent(), window(), consent(number=2, purposes=()), window(), window(consent=2))
    assert site.loader.load().refused == {"no consent": 2}
    assert site.windows()["sequence"].to_list() == [2]


def test_a_consent_that_another_device_signed_is_none(site: Site) -> None:
    device, other = Teller.of(site.fleet), Teller.of(site.fleet)
    (foreign,) = other.tell(consent())
    site.hand_in(device, Record(0, foreign.kind, foreign.content), window())
    assert site.loader.load().refused == {"not signed by its device": 1, "no consent": 1}


def test_a_consent_in_a_later_segment_than_its_window_is_found(site: Site) -> None:
    # two gateways whose clocks differ: the segments sort the other way round
    device = Teller.of(site.fleet)
    late, early = Inbox(site.store, site.fleet, lambda: NOW_S + 60), Inbox(site.store, site.fleet, lambda: NOW_S)
    late.keep([Delivery(device.id, device.tell(consent()))])
    early.keep([Delivery(device.id, device.tell(window()))])
    assert site.loader.load().windows == 1


def test_what_can_not_be_is_set_apart(site: Site) -> None:
    device = Teller.of(site.fleet)
    site.hand_in(device, consent(given_s=0), window(queries=2**50), window(epsilon=0.0), sample(at_s=0.0), window())
    loaded = site.loader.load()
    assert (loaded.windows, loaded.quarantined) == (1, 3)
    rows = site.tables.scan("quarantine").sort("sequence").collect().to_dicts()
    assert [row["reason"] for row in rows] == ["too many queries", "no noise", "too old"]
    assert [row["content"] is None for row in rows] == [False, True, False]


def test_what_can_not_be_read_is_counted_and_stops_nothing(site: Site) -> None:
    device = Teller.of(site.fleet)
    site.hand_in(device, consent(), Record(7, "window", b"\xc1"), Record(8, "song", b"la"), Record(9, "consent", b""))
    device.sequence = 9
    site.hand_in(device, window())
    site.store.put(f"{PREFIX}000000000000000-damaged-plain", b"no segment")
    loaded = site.loader.load()
    assert loaded.windows == 1
    assert loaded.refused == {"not readable": 1, "unknown kind": 1, "not signed by its device": 1}
    assert [found.key for found in site.store.list(DAMAGED)] == [f"{DAMAGED}{PREFIX}000000000000000-damaged-plain"]


def test_windows_of_older_and_newer_agents_are_rows_like_all(site: Site) -> None:
    device = Teller.of(site.fleet)
    told = msgspec.to_builtins(window())
    old = {name: told[name] for name in told if name not in {"labelled", "memory_kib", "energy_uj", "channels"}}
    new = told | {"temperature": 31.5, "layout": "f" * 16, "histograms": [[100]]}
    site.hand_in(
        device,
        consent(),
        *(Record(place, "window", msgspec.msgpack.encode(one)) for place, one in ((5, old), (6, new))),
    )
    assert site.loader.load().windows == 2
    first, second = site.windows().to_dicts()
    assert (first["memory_kib"], first["missing"], second["layout"]) == (None, [], "f" * 16)


def test_what_came_twice_is_loaded_once(site: Site) -> None:
    device = Teller.of(site.fleet)
    records = device.tell(consent(), window(), sample())
    forgetful = Inbox(site.store, site.fleet, lambda: NOW_S + 30)
    forgetful._fleet = Forgetful(site.fleet._database)
    for _ in range(2):
        with pytest.raises(StorageError):
            forgetful.keep([Delivery(device.id, records)])
    loaded = site.loader.load()
    assert (loaded.windows, loaded.samples, loaded.consents, loaded.again) == (1, 1, 1, 2)
    with pytest.raises(StorageError):  # the device never heard, and comes again when all is loaded
        forgetful.keep([Delivery(device.id, (*records, *device.tell(window())))])
    loaded = site.loader.load()
    assert (loaded.windows, loaded.samples, loaded.consents, loaded.again) == (1, 0, 0, 2)
    assert site.windows()["sequence"].to_list() == [2, 4]


class Forgetful(Fleet):
    """A database that fails after the segment was written."""

    def advance_telemetry(self, marks: object) -> None:
        raise StorageError("the database is gone", "wait")


def test_a_load_that_was_stopped_after_its_commit_is_finished_by_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Teller.of(site.fleet)
    site.hand_in(device, consent(), window())

    def killed(_key: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(site.store, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            site.loader.load()
    loaded = site.loader.load()
    assert (loaded.windows, loaded.again, loaded.segments) == (0, 1, 1)
    assert len(site.windows()) == 1


def test_a_device_that_was_shut_out_keeps_what_it_had_handed_in(site: Site) -> None:
    device = Teller.of(site.fleet)
    site.hand_in(device, consent(), window())
    site.fleet.revoke(device.id, now_s=NOW_S)
    assert site.loader.load().windows == 1


def test_an_empty_inbox_is_no_work(site: Site) -> None:
    assert site.loader.load().segments == 0
    assert encode_packed(site.loader.load())
