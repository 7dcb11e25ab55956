from __future__ import annotations

import os
from pathlib import Path

import pytest

from tinymlops.edge.storage import Folder
from tinymlops.errors import StorageError


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "state", quota_bytes=1000)


def test_what_is_written_is_read_by_its_owner_alone(folder: Folder) -> None:
    folder.write("a/b", b"content")
    assert folder.read("a/b") == b"content"
    assert folder.names("a") == ["b"]
    assert oct(folder.path("a/b").stat().st_mode & 0o777) == "0o600"
    assert oct(folder.root.stat().st_mode & 0o777) == "0o700"
    assert folder.read("missing") is None
    assert folder.size("missing") is None
    assert folder.names("missing") == []


@pytest.mark.parametrize("operation", ["write", "append"])
def test_a_full_quota_leaves_the_old_file(folder: Folder, operation: str) -> None:
    folder.write("file", bytes(600))
    with pytest.raises(StorageError, match="does not fit"):
        getattr(folder, operation)("file", bytes(500))
    assert folder.read("file") == bytes(600)
    assert folder.free() == 400
    folder.remove("file")
    folder.remove("file")
    assert folder.used() == 0


@pytest.mark.parametrize("operation", ["write", "append"])
@pytest.mark.parametrize("existed", [True, False])
def test_a_full_disk_in_the_middle_leaves_the_old_file(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, operation: str, existed: bool
) -> None:
    if existed:
        folder.write("file", b"old")
    folder.write("other", b"x")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        getattr(folder, operation)("file", b"new")
    monkeypatch.undo()
    assert folder.read("file") == (b"old" if existed else None)
    assert len(folder.names("")) == 1 + existed


def test_append_truncate_and_move_are_counted(folder: Folder) -> None:
    assert folder.used() == 0
    folder.append("log", b"one")
    folder.append("log", b"two", durable=False)
    folder.sync("log")
    folder.sync("missing")
    assert folder.read("log") == b"onetwo"
    folder.truncate("log", 3)
    folder.truncate("log", 30)
    assert (folder.read("log"), folder.used()) == (b"one", 3)
    folder.write("other", b"12345")
    folder.move("log", "other")
    assert (folder.read("other"), folder.used()) == (b"one", 3)
    with pytest.raises(StorageError):
        folder.move("missing", "other")


def test_one_agent_at_a_time(folder: Folder) -> None:
    with folder.locked(), pytest.raises(StorageError, match="another agent"), Folder(folder.root).locked():
        pass
    folder.path("torn~").write_bytes(b"half")
    with folder.locked():
        assert not folder.path("torn~").exists()


def test_a_folder_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    folder = Folder(tmp_path / "file" / "state")
    assert folder.read("x") is None
    with pytest.raises(StorageError):
        folder.write("x", b"")
    with pytest.raises(StorageError), folder.locked():
        pass
    (tmp_path / "state" / "x").mkdir(parents=True)
    with pytest.raises(StorageError):
        Folder(tmp_path / "state").read("x")
