from __future__ import annotations

from pathlib import Path

import pytest

from tinymlops.errors import StorageError, UsageError
from tinymlops.exporting.folder import MANIFEST, check, manifest, replace

FIRST = {"model.c": b"one", "kernels/softmax.c": b"soft", "main.c": b"example"}
SECOND = {"model.c": b"two", "main.c": b"example"}


def with_manifest(files: dict[str, bytes]) -> dict[str, bytes]:
    return files | {MANIFEST: manifest(files)}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    replace(tmp_path / "out", with_manifest(FIRST))
    return tmp_path / "out"


def test_a_folder_is_written_whole(out: Path) -> None:
    assert content(out) == with_manifest(FIRST)
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check(tmp_path / "empty")
    replace(tmp_path / "empty", with_manifest(FIRST))
    assert content(tmp_path / "empty") == with_manifest(FIRST)


def test_an_earlier_export_is_replaced_and_what_else_is_there_stays(out: Path) -> None:
    (out / "build").mkdir()
    (out / "build" / "notes.txt").write_text("mine")
    (out / "kernels" / "mine.c").write_text("mine too")
    check(out)
    replace(out, with_manifest(SECOND))
    assert content(out) == with_manifest(SECOND) | {"build/notes.txt": b"mine", "kernels/mine.c": b"mine too"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(UsageError, match="not empty and not an earlier export"):
        check(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', "\xff"])
def test_a_manifest_that_is_none_makes_no_export(out: Path, text: str) -> None:
    (out / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="not an earlier export"):
        check(out)


def test_changed_files_of_an_export_are_named_and_left_alone(out: Path) -> None:
    (out / "main.c").write_text("int main(void) { return 0; }")
    with pytest.raises(UsageError, match=r"main\.c was changed since it was exported"):
        check(out)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        check(tmp_path / "out")


def test_a_folder_that_cant_be_written_stays_as_it_was(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if Path(target) == out and self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(StorageError, match="No space left"):
        replace(out, with_manifest(SECOND))
    assert content(out) == with_manifest(FIRST)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
