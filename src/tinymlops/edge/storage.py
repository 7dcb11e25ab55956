"""The agent's state folder: files that are whole or absent, durable before anything relies on them, within a quota."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinymlops.errors import StorageError

_TEMPORARY = "~"  # no name of a workload or a digest ends like this
_LOCK = "lock"


class Folder:
    """A folder that one agent owns. Names in it are relative, with slashes.

    Args:
        root: Made, for its owner alone, on the first write.
        quota_bytes: What all files in it may take together, or None for all that the disk has.
        durable: False skips fsync: for tests with a thousand agents, never on a device.
    """

    def __init__(self, root: Path, *, quota_bytes: int | None = None, durable: bool = True) -> None:
        self.root = root
        self._quota = quota_bytes
        self._durable = durable
        self._used: int | None = None
        self._lock = threading.Lock()

    def path(self, name: str) -> Path:
        """Where ``name`` is kept."""
        return self.root / name

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None where there is none.

        Raises:
            StorageError: It is there and can't be read.
        """
        try:
            return self.path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failed(name, "read", error) from error

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""
        try:
            return self.path(name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders in ``folder``, sorted; none where it does not exist."""
        try:
            return sorted(path.name for path in self.path(folder).iterdir() if not path.name.endswith(_TEMPORARY))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write(self, name: str, content: bytes | bytearray) -> None:
        """Write a file so that a reader, a crash or a power cut sees the old one or the new one.

        Raises:
            StorageError: The disk is full or broken; the old file is as it was.
        """
        self.require(len(content), name)
        target = self.path(name)
        temporary = target.with_name(target.name + _TEMPORARY)
        before = self.size(name) or 0
        try:
            self._make(target.parent)
            self._fill(temporary, content, os.O_TRUNC)
            temporary.replace(target)
            self._sync_folder(target.parent)
        except OSError as error:
            _discard(temporary, None)
            raise self._failed(name, "written", error) from error
        self._count(len(content) - before)

    def append(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Add to the end of a file; after a crash the end may be torn, so the reader must see that by itself.

        Args:
            name: Made where it does not exist.
            content: What is added.
            durable: Wait until it is on the disk.

        Raises:
            StorageError: The disk is full or broken; the file is as it was.
        """
        self.require(len(content), name)
        target = self.path(name)
        before = self.size(name)
        try:
            self._make(target.parent)
            self._fill(target, content, os.O_APPEND, durable=durable)
            if before is None:
                self._sync_folder(target.parent)
        except OSError as error:
            _discard(target, before)
            raise self._failed(name, "written", error) from error
        self._count(len(content))

    def sync(self, name: str) -> None:
        """Wait until what was appended to a file is on the disk."""
        if self._durable and self.path(name).exists():
            descriptor = os.open(self.path(name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def truncate(self, name: str, size: int) -> None:
        """Cut a file to ``size`` bytes."""
        before = self.size(name)
        if before is not None and before > size:
            os.truncate(self.path(name), size)
            self._count(size - before)

    def move(self, old: str, new: str) -> None:
        """Give a file another name, at once.

        Raises:
            StorageError: The disk refuses.
        """
        replaced = self.size(new) or 0
        try:
            self._make(self.path(new).parent)
            self.path(old).replace(self.path(new))
            self._sync_folder(self.path(new).parent)
        except OSError as error:
            raise self._failed(new, "written", error) from error
        self._count(-replaced)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        size = self.size(name)
        if size is not None:
            self.path(name).unlink(missing_ok=True)
            self._sync_folder(self.path(name).parent)
            self._count(-size)

    def require(self, size: int, what: str) -> None:
        """Check that ``size`` more bytes fit.

        Raises:
            StorageError: They do not.
        """
        if self._quota is not None and self.used() + size > self._quota:
            raise StorageError(
                f"{what} does not fit: the agent may use {self._quota:,} bytes and {self.used():,} are taken",
                "give it more with --quota-mib, or let it send what it holds; the model goes on serving",
            )

    def used(self) -> int:
        """Bytes of all files."""
        if self._used is None:
            self._used = sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
        return self._used

    def free(self) -> int | None:
        """Bytes that are left of quota and disk, or None before the folder exists."""
        try:
            facts = os.statvfs(self.root)
        except FileNotFoundError:
            return None
        on_disk = facts.f_bavail * facts.f_frsize
        return on_disk if self._quota is None else max(0, min(on_disk, self._quota - self.used()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other agents out of the folder.

        Raises:
            StorageError: Another one is in it.
        """
        try:
            self._make(self.root)
            descriptor = os.open(self.path(_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed(_LOCK, "written", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StorageError(
                f"another agent is using {self.root}", "stop it first, or give this one a --state of its own"
            ) from error
        try:
            self._sweep()
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Wait until no other process, nor thread, holds the lock file ``name``, and hold it.

        Raises:
            StorageError: The folder can't be written.
        """
        try:
            self._make(self.root)
            descriptor = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed(name, "written", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def in_use(self) -> bool:
        """Whether an agent is in the folder now; what a killed one left behind does not count."""
        try:
            descriptor = os.open(self.path(_LOCK), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._failed(_LOCK, "read", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _sweep(self) -> None:
        """Remove what a crash in the middle of a write has left."""
        for path in self.root.rglob(f"*{_TEMPORARY}"):
            path.unlink(missing_ok=True)
        self._used = None

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != self.root:
            self._make(folder.parent)
        folder.mkdir(mode=0o700, parents=folder == self.root, exist_ok=True)
        self._sync_folder(folder.parent)

    def _fill(self, path: Path, content: bytes | bytearray, flags: int, *, durable: bool = True) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable and self._durable:
                os.fsync(file.fileno())

    def _sync_folder(self, folder: Path) -> None:
        if self._durable:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _count(self, change: int) -> None:
        with self._lock:
            if self._used is not None:
                self._used += change

    def _failed(self, name: str, verb: str, error: OSError) -> StorageError:
        return StorageError(
            f"{self.path(name)} can't be {verb} ({error.strerror or error})",
            "free some space or mend the disk; the last good model goes on serving",
        )


def _discard(path: Path, size: int | None) -> None:
    """Take back what a failed write has left, as far as the disk still lets us: a sweep or the reader does the rest."""
    with contextlib.suppress(OSError):
        if size is None:
            path.unlink(missing_ok=True)
        else:
            os.truncate(path, size)
