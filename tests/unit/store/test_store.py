"""Opening, probing and failing: what a person meets of a store."""

from __future__ import annotations

import errno
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tinymlops.errors import SetupError, StorageError, UsageError
from tinymlops.store import DirectoryStore, ETag, NotFoundError, ObjectStore, open_store, probe


class Overwriting(DirectoryStore):
    """Accepts the condition and ignores it, as rclone, s3rver and nanio do."""

    def put_if_absent(self, key: str, content: bytes) -> ETag | None:
        return self.put(key, content)


class Careless(DirectoryStore):
    """Replaces what it should compare first."""

    def put_if_match(self, key: str, content: bytes, etag: ETag) -> ETag | None:
        del etag
        return self.put(key, content)


class Stubborn(DirectoryStore):
    """Knows no compare-and-swap at all."""

    def put_if_match(self, key: str, content: bytes, etag: ETag) -> None:
        del key, content, etag


class Forgetful(DirectoryStore):
    """Gives back something else."""

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return super().get(key, start=start, length=length)[:-1]


class Taken(DirectoryStore):
    """Creates nothing."""

    def put_if_absent(self, key: str, content: bytes) -> None:
        del key, content


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (Overwriting, "If-None-Match"),
        (Careless, "replaces a value that has changed"),
        (Stubborn, "refuses to replace a value that has not changed"),
        (Forgetful, "other bytes than were put"),
        (Taken, "refuses to create"),
    ],
)
def test_the_probe_refuses_a_store_that_breaks_a_promise(kind: type[DirectoryStore], what: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"{what}.*use AWS S3, SeaweedFS, Ceph"):
        probe(kind(tmp_path))
    assert list(DirectoryStore(tmp_path).list()) == []


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for address in (f"dir:{tmp_path}/store", str(tmp_path / "store"), "store", "dir:store"):
        store = open_store(address)
        assert isinstance(store, ObjectStore)
        assert store.address == f"dir:{tmp_path}/store"
        assert store.presign("a", 60) is None


@pytest.mark.parametrize("address", ["", "dir:", "http://somewhere", "gs://bucket"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a store"):
        open_store(address)


def test_s3_without_boto3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SetupError, match="pip install"):
        open_store("s3://bucket/prefix")


def test_a_store_can_not_lie_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError):
        DirectoryStore(tmp_path / "file")


def test_a_key_can_not_be_a_folder_too(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("a", b"value")
    store.put("b/c", b"value")
    for key in ("a/below", "b"):
        for put in (store.put, store.put_if_absent):
            if put is store.put_if_absent and key == "b":
                assert put(key, b"") is None
                continue
            with pytest.raises(UsageError, match="both a value and a folder"):
                put(key, b"")
    assert sorted(found.key for found in store.list()) == ["a", "b/c"]
    assert not list((tmp_path / ".temporary").iterdir())


def test_a_full_disk_keeps_the_old_value_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path)
    etag = store.put("a", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writes: tuple[Callable[[], object], ...] = (
        lambda: store.put("a", b"new"),
        lambda: store.put_if_match("a", b"new", etag),
        lambda: store.put_if_absent("b", b"new"),
    )
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        for write in writes:
            with pytest.raises(StorageError, match="No space left on device.*free some space"):
                write()
    assert store.get("a") == b"old"
    assert [found.key for found in store.list()] == ["a"]
    assert not list((tmp_path / ".temporary").iterdir())


def test_what_a_killed_process_left_is_swept_after_a_day(tmp_path: Path) -> None:
    DirectoryStore(tmp_path)
    old, young = tmp_path / ".temporary" / "old", tmp_path / ".temporary" / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    DirectoryStore(tmp_path)
    assert not old.exists()
    assert young.exists()


def test_a_missing_key_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(NotFoundError("a", "dir:/b")))
    assert (error.key, error.store, str(error)) == (
        "a",
        "dir:/b",
        "there is no 'a' in dir:/b: check the key, or publish it first.",
    )
