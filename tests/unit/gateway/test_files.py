"""Metadata and packages: what a device may read, in parts, from memory."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gateway.rig import ROOT, Rig, digest_name, problem
from tinymlops.gateway import files
from tinymlops.gateway.files import Cache, byte_range, metadata_key, target_key
from tinymlops.gateway.problems import Refusal
from tinymlops.store import DirectoryStore

CONTENT = bytes(range(256)) * 4


def publish(rig: Rig, content: bytes = CONTENT, name: str = "int8.tmz") -> str:
    path = f"releases/activity/1/{digest_name(content, name)}"
    rig.store.put(f"targets/{path}", content)
    return f"/v1/targets/{path}"


def test_metadata_that_never_changes_is_read_once(rig: Rig) -> None:
    device = rig.device()
    answer = device.ask("GET", "/v1/metadata/1.root.json")
    assert answer.content == ROOT
    assert "immutable" in answer.headers["cache-control"]
    rig.store.delete("metadata/1.root.json")
    assert device.ask("GET", "/v1/metadata/1.root.json").content == ROOT


def test_the_timestamp_is_always_the_newest_and_sent_once(rig: Rig) -> None:
    device = rig.device()
    rig.store.put("metadata/timestamp.json", b"first")
    first = device.ask("GET", "/v1/metadata/timestamp.json")
    etag = first.headers["etag"]
    same = device.ask("GET", "/v1/metadata/timestamp.json", headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    rig.store.put("metadata/timestamp.json", b"second")
    changed = device.ask("GET", "/v1/metadata/timestamp.json", headers={"If-None-Match": etag})
    assert (changed.status_code, changed.content) == (200, b"second")


def test_the_timestamp_may_be_believed_for_a_while(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.settings = msgspec.structs.replace(rig.settings, timestamp_ttl_s=3600.0)
    rig.restart()
    device = rig.device()
    assert device.ask("GET", "/v1/metadata/2.root.json").status_code == 404
    rig.store.put("metadata/2.root.json", b"second root")
    assert device.ask("GET", "/v1/metadata/2.root.json").status_code == 404
    rig.store.put("metadata/timestamp.json", b"first")
    assert device.ask("GET", "/v1/metadata/timestamp.json").content == b"first"
    rig.store.put("metadata/timestamp.json", b"second")
    assert device.ask("GET", "/v1/metadata/timestamp.json").content == b"first"
    rig.close()


@pytest.mark.parametrize(
    "name",
    ["root.json", "0.root.json", "1.root.json.bak", "1..json", "%2e%2e", "timestamp.json%00", "1.a%2fb.json", "1.root"],
)
def test_metadata_of_an_impossible_name_is_not_there(rig: Rig, name: str) -> None:
    rig.store.put("metadata/root.json", b"not for devices")
    assert rig.device().ask("GET", f"/v1/metadata/{name}").status_code == 404


def test_a_package_whole_and_in_parts(rig: Rig) -> None:
    device, target = rig.device(), publish(rig)
    whole = device.ask("GET", target)
    assert (whole.content, whole.headers["accept-ranges"]) == (CONTENT, "bytes")
    part = device.ask("GET", target, headers={"Range": "bytes=1000-"})
    assert (part.status_code, part.content) == (206, CONTENT[1000:])
    assert part.headers["content-range"] == f"bytes 1000-1023/{len(CONTENT)}"
    assert device.ask("GET", target, headers={"Range": "bytes=-5"}).content == CONTENT[-5:]
    behind = device.ask("GET", target, headers={"Range": "bytes=1024-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, "bytes */1024")
    problem(behind)


def test_a_large_package_is_passed_on_in_parts(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SMALL_BYTES", 100)
    monkeypatch.setattr(files, "PART_BYTES", 64)
    device, target = rig.device(), publish(rig)
    whole = device.ask("GET", target)
    assert (whole.content, whole.headers["content-length"]) == (CONTENT, "1024")
    part = device.ask("GET", target, headers={"Range": "bytes=70-899"})
    assert (part.status_code, part.content) == (206, CONTENT[70:900])


def test_a_device_reads_its_own_assignment_and_no_other(rig: Rig) -> None:
    device, other = rig.device(), rig.device()
    own = f"devices/{digest_name(b'own', device.id)}"
    rig.store.put(f"targets/{own}", b"own")
    assert device.ask("GET", f"/v1/targets/{own}").content == b"own"
    answer = other.ask("GET", f"/v1/targets/{own}")
    assert answer.status_code == 403
    assert "another device" in problem(answer).error


@pytest.mark.parametrize(
    "path",
    [
        "",
        "private/vault",
        "releases/activity/1/name.tmz",
        f"releases/activity/1/{'0' * 64}.../x",
        f"releases/../metadata/{'0' * 64}.x",
        f"releases/%2e%2e/1/{'0' * 64}.x",
        f"releases/activity/1/{'0' * 64}.x%00",
        f"releases/activity/1/{'0' * 64}.x/",
        f"releases//1/{'0' * 64}.x",
        f"/releases/activity/1/{'0' * 64}.x",
        f"devices/{'0' * 64}.{'0' * 31}",
        f"releases/activity/1/{'0' * 64}.absent",
    ],
)
def test_a_target_of_an_impossible_name_is_not_there(rig: Rig, path: str) -> None:
    device = rig.device()
    answer = device.ask("GET", f"/v1/targets/{path}")
    assert answer.status_code in {404, 401}  # 401 where the client itself shortened the path that was signed
    problem(answer)


@given(st.text())
def test_no_name_leads_out_of_the_repository(name: str) -> None:
    own = "0" * 32
    for key_of in (metadata_key, lambda path: target_key(path, own)):
        try:
            key = key_of(name)
        except Refusal:
            continue
        assert ".." not in key.split("/")
        assert key.split("/")[0] in {"metadata", "targets"}


@given(st.text() | st.from_regex(r"bytes=\d*-\d*", fullmatch=True), st.integers(0, 10_000))
def test_a_range_lies_inside_the_whole(header: str, size: int) -> None:
    found = None
    with contextlib.suppress(Refusal):
        found = byte_range(header, size)
    if found is not None:
        assert 0 <= found[0] < found[1] <= size


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=5-", (5, 10)),
        ("bytes=5-99", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("rows=0-1", None),
    ],
)
def test_ranges_as_the_standard_has_them(header: str | None, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == expected


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 600))))
def test_the_cache_never_holds_more_than_it_may(puts: list[tuple[str, int]]) -> None:
    cache = Cache(2000)
    for key, size in puts:
        cache.put(key, bytes(size))
        assert cache.get(key) == bytes(size)
        assert sum(200 + len(cache.get(one) or b"") for one in "abcdef" if cache.get(one) is not None) <= 2000


def test_a_value_that_is_too_large_is_not_kept() -> None:
    cache = Cache(300)
    cache.put("a", b"small")
    cache.put("b", bytes(1000))
    assert cache.get("b") is None


def test_of_many_devices_that_want_the_same_one_makes_the_store_work(tmp_path: Path) -> None:
    class Counting(DirectoryStore):
        reads = 0

        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            Counting.reads += key.startswith("targets/")
            return super().get(key, start=start, length=length)

    rig = Rig(tmp_path, store=Counting(tmp_path / "store"))
    crowd = [rig.device() for _ in range(12)]
    target = publish(rig)
    answers = rig.together(*(("GET", target, b"", device.signed("GET", target)) for device in crowd))
    assert {hashlib.sha256(answer.content).hexdigest() for answer in answers} == {hashlib.sha256(CONTENT).hexdigest()}
    assert Counting.reads == 1
    rig.close()


def test_a_store_that_fails_is_said_without_names(rig: Rig) -> None:
    device = rig.device()
    (rig.folder / "store" / "inbox").write_bytes(b"no folder")
    answer = device.hand_in(1)
    assert answer.status_code == 503
    assert str(rig.folder) not in answer.text
