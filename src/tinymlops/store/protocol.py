"""What every store can do, and what a key may look like.

A store keeps whole values under keys. A reader sees an old value or a new one, never a part. Two promises carry
everything that is built on it: ``put_if_absent`` has one winner, and ``put_if_match`` never overwrites a value that
its caller has not seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NewType, Protocol, runtime_checkable

import msgspec

from tinymlops.errors import StorageError, UsageError

ETag = NewType("ETag", str)
"""Changes whenever the value under a key changes. Opaque: only compare it."""

_LONGEST_KEY = 1024
"""Bytes of UTF-8: the limit of S3."""
_LONGEST_SEGMENT = 255
"""Bytes of UTF-8 between two slashes: the limit of Linux file names."""


class NotFoundError(StorageError):
    """A key that the store does not hold."""

    def __init__(self, key: str, store: str) -> None:
        super().__init__(f"there is no {key!r} in {store}", "check the key, or publish it first")
        self.key = key
        self.store = store

    def __reduce__(self) -> tuple[object, ...]:
        return (NotFoundError, (self.key, self.store))


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one value.

    Attributes:
        key: Its key.
        size: Bytes.
        etag: For ``put_if_match``.
        sha256: Hexadecimal digest of the content; None if another program put it there and the store keeps none.
    """

    key: str
    size: int
    etag: ETag
    sha256: str | None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a listing.

    Attributes:
        key: Its key.
        size: Bytes.
        modified_s: When it was put, in seconds since 1970 by the store's clock.
    """

    key: str
    size: int
    modified_s: float


@runtime_checkable
class ObjectStore(Protocol):
    """A place for whole values under keys. Every method is safe to call from many threads and processes.

    Every method raises ``UsageError`` for a key that no store could hold, ``StorageError`` for a place that can't be
    read or written, ``UnreachableError`` for a server that does not answer, ``RefusedError`` for one that says no.
    """

    @property
    def address(self) -> str:
        """Where it is, for people and for ``open_store``."""
        ...

    def put(self, key: str, content: bytes) -> ETag:
        """Store ``content``, whatever was there before. Durable when this returns."""
        ...

    def put_many(self, contents: Mapping[str, bytes]) -> None:
        """``put`` each; much faster than one by one. After a crash, any part of them is there, each one whole."""
        ...

    def put_if_absent(self, key: str, content: bytes) -> ETag | None:
        """Store ``content`` if nothing is there; None if something is. Of any number of callers at once one wins."""
        ...

    def put_if_match(self, key: str, content: bytes, etag: ETag) -> ETag | None:
        """Replace the value that has this ``etag``; None if it has another by now or is gone."""
        ...

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """The value, or ``length`` bytes of it from ``start`` (fewer at its end, none behind it).

        Raises:
            NotFoundError: There is no such key.
        """
        ...

    def get_tagged(self, key: str) -> tuple[bytes, ETag]:
        """The value and the tag that belongs to exactly these bytes.

        Raises:
            NotFoundError: There is no such key.
        """
        ...

    def open(self, key: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """The value as a stream, for what should not lie in memory at once.

        Raises:
            NotFoundError: There is no such key.
        """
        ...

    def head(self, key: str) -> Stored:
        """What is known of the value, without the value.

        Raises:
            NotFoundError: There is no such key.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """All keys that begin with ``prefix``, each once, fetched page by page; servers differ in the order."""
        ...

    def delete(self, key: str) -> None:
        """Forget the value; nothing happens if there is none."""
        ...

    def presign(self, key: str, seconds: int) -> str | None:
        """A URL that anybody can read this one value from, for a while; None where a store has no such thing."""
        ...


def checked_key(key: str) -> str:
    """``key`` as given, if every store can hold it.

    Raises:
        UsageError: It is empty or too long, climbs out (``..``), hides (a segment with a leading full stop), has an
            empty segment, a backslash or a control character.
    """
    segments = key.split("/")
    if (
        not _fits(key, _LONGEST_KEY)
        or not all(_fits(segment, _LONGEST_SEGMENT) for segment in segments)
        or any(segment.startswith(".") for segment in segments)
        or any(character < " " or character in "\x7f\\" for character in key)
    ):
        raise UsageError(
            f"{key[:80]!r} is not a key",
            "use segments of 1 to 255 bytes with single slashes between them, without control characters, backslashes "
            "or leading full stops, 1,024 bytes in all",
        )
    return key


def _fits(text: str, limit: int) -> bool:
    try:
        return 0 < len(text.encode()) <= limit
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
