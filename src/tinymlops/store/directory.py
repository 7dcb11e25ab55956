"""An ObjectStore in a folder: the default, without any server.

A value is written to a temporary file, brought to the disk, then linked or renamed into its place: a reader or a crash
sees the old value or the new one. Whoever replaces a value holds a lock on its key, so that a compare and its swap are
one step. Locks are the kernel's (flock), so they go with the process that held them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from tinymlops.errors import StorageError, UsageError
from tinymlops.files import sha256
from tinymlops.store.protocol import ETag, Listed, NotFoundError, Stored, checked_key

_LOCKS = 64
"""Lock files; keys share them by hash."""
_SYNCS = 16
"""Threads that wait for the disk together."""
_ABANDONED_S = 24 * 3600
"""A temporary file as old as this belongs to a process that was killed."""


class DirectoryStore:
    """Values as files under ``folder``, which is made if it is missing.

    Args:
        folder: Where the values lie. Its sub-folders ``.temporary`` and ``.locks`` are the store's own.

    Raises:
        StorageError: The folder can't be made or written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()
        self._temporary = self.folder / ".temporary"
        self._locks = self.folder / ".locks"
        with self._in_our_words():
            self._temporary.mkdir(parents=True, exist_ok=True)
            self._locks.mkdir(exist_ok=True)
            self._sweep()

    @property
    def address(self) -> str:
        """``dir:`` and the folder."""
        return f"dir:{self.folder}"

    def put(self, key: str, content: bytes) -> ETag:
        """See :class:`ObjectStore`."""
        self.put_many({key: content})
        return _etag(content)

    def put_many(self, contents: Mapping[str, bytes]) -> None:
        """See :class:`ObjectStore`. All files are brought to the disk at once, which it can do in one go."""
        paths = {key: self._path(key) for key in contents}
        with self._in_our_words(), contextlib.ExitStack() as cleaning:
            written = {key: self._written(content, cleaning) for key, content in contents.items()}
            _sync_all(written.values())
            folders = {self._made(path.parent) for path in paths.values()}
            for key, path in paths.items():
                with self._locked(key):
                    written[key].replace(path)
            _sync_all(folders)

    def put_if_absent(self, key: str, content: bytes) -> ETag | None:
        """See :class:`ObjectStore`. A hard link to a name that exists fails: that is the whole trick."""
        path = self._path(key)
        if path.is_file():  # spares the write; who comes first is decided by the link
            return None
        with self._in_our_words(), contextlib.ExitStack() as cleaning:
            temporary = self._written(content, cleaning)
            _sync(temporary)
            folder = self._made(path.parent)
            try:
                os.link(temporary, path)
            except FileExistsError:
                if path.is_dir():
                    raise
                return None
            _sync(folder)
        return _etag(content)

    def put_if_match(self, key: str, content: bytes, etag: ETag) -> ETag | None:
        """See :class:`ObjectStore`."""
        path = self._path(key)
        with self._in_our_words(), contextlib.ExitStack() as cleaning:
            temporary = self._written(content, cleaning)
            _sync(temporary)
            with self._locked(key):
                if not path.is_file() or _etag(path.read_bytes()) != etag:
                    return None
                temporary.replace(path)
            _sync(path.parent)
        return _etag(content)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """See :class:`ObjectStore`."""
        with self.open(key) as file, self._in_our_words():
            file.seek(start)
            return file.read() if length is None else file.read(length)

    def get_tagged(self, key: str) -> tuple[bytes, ETag]:
        """See :class:`ObjectStore`."""
        content = self.get(key)
        return content, _etag(content)

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """See :class:`ObjectStore`."""
        path = self._path(key)
        with self._in_our_words():
            try:
                file = path.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise NotFoundError(key, self.address) from None
        with file:
            yield file

    def head(self, key: str) -> Stored:
        """See :class:`ObjectStore`."""
        with self.open(key) as file, self._in_our_words():
            digest = hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
            return Stored(key=key, size=file.tell(), etag=ETag(digest), sha256=digest)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """See :class:`ObjectStore`."""
        if prefix:
            checked_key(prefix.rstrip("/"))
        folder = self.folder / prefix.rpartition("/")[0]
        with self._in_our_words():
            yield from (listed for listed in self._walk(folder) if listed.key.startswith(prefix))

    def delete(self, key: str) -> None:
        """See :class:`ObjectStore`."""
        path = self._path(key)
        with self._in_our_words(), self._locked(key):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            _sync(path.parent)

    def presign(self, key: str, seconds: int) -> None:
        """A folder has no URLs: whoever fronts it hands the bytes out itself."""
        del seconds
        checked_key(key)

    def _path(self, key: str) -> Path:
        return self.folder / checked_key(key)

    def _written(self, content: bytes, cleaning: contextlib.ExitStack) -> Path:
        """A temporary file with ``content``, removed when ``cleaning`` ends unless it was renamed by then."""
        descriptor, name = tempfile.mkstemp(dir=self._temporary)
        temporary = Path(name)
        cleaning.callback(temporary.unlink, missing_ok=True)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        return temporary

    def _made(self, folder: Path) -> Path:
        """``folder``, made durably with the folders above it."""
        if not folder.is_dir():
            self._made(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync(folder.parent)
        return folder

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        lock = self._locks / str(zlib.crc32(key.encode()) % _LOCKS)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _walk(self, folder: Path) -> Iterator[Listed]:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path))
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted since the folder was read
                facts = entry.stat()
                key = Path(entry.path).relative_to(self.folder).as_posix()
                yield Listed(key=key, size=facts.st_size, modified_s=facts.st_mtime)

    def _sweep(self) -> None:
        for left in self._temporary.iterdir():
            with contextlib.suppress(FileNotFoundError):  # its owner was only slow
                if time.time() - left.stat().st_mtime > _ABANDONED_S:
                    left.unlink()

    @contextlib.contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise UsageError(
                f"a key in {self.address} would be both a value and a folder of values",
                "choose keys of which none continues another one with a slash",
            ) from error
        except OSError as error:
            step = "free some space" if error.errno == errno.ENOSPC else "mend its permissions or choose another folder"
            raise StorageError(f"the store {self.address} failed ({error.strerror or error})", step) from error


def _etag(content: bytes) -> ETag:
    # Of the content, not of inode and time: file systems give both out again.
    return ETag(sha256(content))


def _sync_all(paths: Collection[Path]) -> None:
    """Bring files or folders to the disk at once: it does many in hardly more time than one."""
    if len(paths) == 1:
        _sync(*paths)
        return
    with ThreadPoolExecutor(_SYNCS) as pool:
        for _ in pool.map(_sync, paths):
            pass


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
