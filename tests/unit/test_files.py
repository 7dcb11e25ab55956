"""Files are whole or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tinymlops.errors import SetupError, StorageError
from tinymlops.files import write_atomic
from tinymlops.project import project_root, state_folder


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b.txt", b"content")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"content"
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    file.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device.*: free some space"):
        write_atomic(file, b"new")
    assert file.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(StorageError, match="can't be written"):
        write_atomic(tmp_path / "out" / "report.html", b"")


def test_the_project_is_found_from_a_folder_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "infra" / "devices").mkdir(parents=True)
    monkeypatch.delenv("TINYMLOPS_PROJECT", raising=False)
    monkeypatch.delenv("TINYMLOPS_STATE", raising=False)
    monkeypatch.chdir(tmp_path / "infra")
    assert project_root() == tmp_path.resolve()
    assert state_folder() == tmp_path.resolve() / ".tinymlops"


def test_a_wrong_project_setting_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYMLOPS_PROJECT", str(tmp_path))
    with pytest.raises(SetupError, match="set TINYMLOPS_PROJECT to its folder"):
        project_root()
