"""Who was given which variant, when and why: an append-only log, since MLflow's aliases keep no history.

One JSON object a line. Each line carries the digest of the line before it, so a line that was changed, removed or put
in between breaks the chain. What the chain can't show is the loss of its newest lines: keep a copy elsewhere for that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tinymlops.errors import StorageError
from tinymlops.files import sha256

_START = "0" * 64
"""Stands where the digest of a previous line would, in the first."""


class Promotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device kind was given another version.

    Attributes:
        who: The person or service that promoted.
        when: ISO 8601 with its zone.
        why: The selection's reason, in words.
        device: Name of the device profile, and so of the alias.
        model: Name of the registered model.
        version: The version that the alias moves to.
        recipe: Of that version.
        sha256: Digest of its ``.tflite``.
        previous: The version that the alias pointed to, or None.
        release: Number of the release that took this version out to devices; None for a promotion in the registry.
    """

    who: str
    when: str
    why: str
    device: str
    model: str
    version: str
    recipe: str
    sha256: str
    previous: str | None = None
    release: int | None = None


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    number: int
    follows: str
    promotion: Promotion


class PromotionLog(msgspec.Struct, frozen=True):
    """What a log holds.

    Attributes:
        promotions: Oldest first.
        torn: Whether a crash left a part of a line at the end. It counts for nothing, and the next append cuts it off.
    """

    promotions: tuple[Promotion, ...]
    torn: bool


def verify_log(path: Path) -> PromotionLog:
    """Read a log and check that every line follows from the one before; a missing file is an empty log.

    Raises:
        StorageError: It can't be read, or a line was changed, removed or put in between.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise StorageError(f"{path} can't be read ({error.strerror})", "check its permissions") from error
    whole = _whole(content)
    return PromotionLog(tuple(line.promotion for line in _lines(path, whole)), torn=len(whole) < len(content))


def append(path: Path, promotion: Promotion) -> None:
    """Add a promotion; when this returns, it is on the disk. Any number of processes may append at once.

    Raises:
        StorageError: The log can't be written (it is left as it was), or its chain is broken.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path) as descriptor:
            content = _read(descriptor)
            whole = _whole(content)
            if len(whole) < len(content):
                os.ftruncate(descriptor, len(whole))
            lines = _lines(path, whole)
            follows = sha256(whole.splitlines()[-1]) if lines else _START
            line = _Line(number=len(lines) + 1, follows=follows, promotion=promotion)
            _write(descriptor, msgspec.json.encode(line) + b"\n", len(whole))
            _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"the promotion log {path} can't be written ({error.strerror or error})",
            "free some space or mend its permissions, then run the same command again; no alias was moved",
        ) from error


def _whole(content: bytes) -> bytes:
    """``content`` up to its last whole line."""
    return content[: content.rfind(b"\n") + 1]


def _lines(path: Path, whole: bytes) -> list[_Line]:
    follows, lines = _START, []
    for number, raw in enumerate(whole.splitlines(), start=1):
        try:
            line = msgspec.json.decode(raw, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _broken(path, number, "is not a promotion") from error
        if (line.number, line.follows) != (number, follows):
            raise _broken(path, number, "does not follow from the line before it")
        follows = sha256(raw)
        lines.append(line)
    return lines


def _broken(path: Path, number: int, what: str) -> StorageError:
    return StorageError(
        f"line {number} of the promotion log {path} {what}: the log was changed after it was written",
        "restore it from a copy, or move it aside to start a new one",
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    size, offset, parts = os.fstat(descriptor).st_size, 0, []
    while offset < size and (part := os.pread(descriptor, size - offset, offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _write(descriptor: int, line: bytes, size_before: int) -> None:
    try:
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    except OSError:
        # A line that nobody was told of must not stay: the alias did not move.
        os.ftruncate(descriptor, size_before)
        raise


def _sync_folder(folder: Path) -> None:
    # A new file is only safe once its folder's entry is.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
