"""A folder that is written whole or not at all, and never over anybody's work."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from tinymlops.errors import StorageError, UsageError
from tinymlops.files import sha256

MANIFEST = "export.json"
"""Names every file of an export with its hash: how a later export knows what it may replace."""


def manifest(files: dict[str, bytes]) -> bytes:
    """The content of MANIFEST."""
    hashes = {path: sha256(content) for path, content in sorted(files.items())}
    return (json.dumps({"tinymlops-export": 1, "files": hashes}, indent=1) + "\n").encode()


def check(out: Path) -> None:
    """Make sure that ``out`` may be written.

    Raises:
        UsageError: It is a file, holds something that is no export, or files of the export were changed.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", "choose a folder with --out")
    if not out.is_dir() or not any(out.iterdir()):
        return
    for path, expected in _exported(out).items():
        target = out / path
        if target.is_file() and sha256(target.read_bytes()) != expected:
            raise UsageError(f"{target} was changed since it was exported", "move it away or choose another folder")


def _exported(out: Path) -> dict[str, str]:
    """Path → hash of what an earlier export wrote.

    Raises:
        UsageError: There was none.
    """
    try:
        found = json.loads((out / MANIFEST).read_bytes())
        files = {str(path): str(digest) for path, digest in found["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{out} is not empty and not an earlier export", "choose an absent or empty folder with --out"
        ) from error
    return files


def replace(out: Path, files: dict[str, bytes]) -> None:
    """Put ``files`` into ``out``; what else is there, such as a build folder, stays.

    Raises:
        StorageError: It can't be written; ``out`` is as it was.
    """
    stage: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        fresh = stage / "new"
        if out.is_dir():
            _keep_others(out, fresh)
        for path, content in files.items():
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        if out.is_dir():
            out.rename(stage / "old")
        _into_place(fresh, out, stage / "old")
    except OSError as error:
        raise StorageError(
            f"{out} can't be written ({error.strerror or error})", "free some space or choose another folder with --out"
        ) from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def _into_place(fresh: Path, out: Path, old: Path) -> None:
    """Rename the new folder into place; the old one comes back where that fails."""
    try:
        fresh.rename(out)
    except OSError:
        if old.is_dir():
            old.rename(out)
        raise


def _keep_others(out: Path, fresh: Path) -> None:
    """Copy what no export wrote."""
    written = set(_exported(out)) | {MANIFEST} if any(out.iterdir()) else set()

    def ignored(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(out)
        return {name for name in names if (inside / name).as_posix() in written}

    shutil.copytree(out, fresh, ignore=ignored, symlinks=True)
