"""JSON and MessagePack of wire values: strict about types, deaf to unknown fields, clear about unknown versions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from tinymlops.errors import FormatError

T = TypeVar("T", bound=msgspec.Struct)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Versioned(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is kept or sent, and so may be read by another release of this software.

    Attributes:
        v: Version of the form. A reader refuses any but its own; fields may be added without a new version.
    """

    v: int = 1


def encode(value: msgspec.Struct) -> bytes:
    """``value`` as JSON with sorted keys: values of equal fields and types give equal bytes.

    Byte strings become base64 (RFC 4648 §4, padded). JSON has no NaN and no infinity: they become null, which a reader
    refuses unless the field may be empty.
    """
    return msgspec.json.encode(value, order="sorted")


def decode(content: bytes | bytearray | memoryview, kind: type[T], *, what: str = "") -> T:
    """The value of type ``kind`` that JSON ``content`` holds.

    Args:
        content: As `encode` wrote it.
        kind: What is expected.
        what: Words for the error; the type's name unless given.

    Raises:
        FormatError: It is not JSON, not a ``kind``, or of a version that is not known.
    """
    return _decode(msgspec.json.decode, content, kind, what)


def encode_packed(value: msgspec.Struct) -> bytes:
    """``value`` as MessagePack with sorted keys."""
    return msgspec.msgpack.encode(value, order="sorted")


def decode_packed(content: bytes | bytearray | memoryview, kind: type[T], *, what: str = "") -> T:
    """The value of type ``kind`` that MessagePack ``content`` holds.

    Raises:
        FormatError: It is not MessagePack, not a ``kind``, or of a version that is not known.
    """
    return _decode(msgspec.msgpack.decode, content, kind, what)


def _decode(decoder: Callable[..., Any], content: bytes | bytearray | memoryview, kind: type[T], what: str) -> T:
    try:
        value: T = decoder(content, type=kind)
    except _UNREADABLE as error:
        refuse_unknown_version(_version_of(decoder, content), kind, what)
        raise FormatError(
            f"{what or kind.__name__} can't be read ({error})", "it is damaged, or written by other software: ask again"
        ) from error
    refuse_unknown_version(value, kind, what)
    return value


def _version_of(decoder: Callable[..., Any], content: bytes | bytearray | memoryview) -> Versioned | None:
    # Another version may have other fields; its number is the better thing to say then.
    try:
        found: Versioned = decoder(content, type=Versioned)
    except _UNREADABLE:
        return None
    return found


def refuse_unknown_version(value: object, kind: type[msgspec.Struct], what: str) -> None:
    """Raise `FormatError` where ``value`` is of another version than this software's ``kind``."""
    if not isinstance(value, Versioned) or not issubclass(kind, Versioned):
        return
    known = _known_version(kind)
    if value.v != known:
        raise FormatError(
            f"{what or kind.__name__} is of version {value.v}, and this software knows version {known}",
            "update the older side of the two",
        )


@functools.cache
def _known_version(kind: type[msgspec.Struct]) -> Any:
    # Kept: to read the fields of a type takes a hundred times as long as to decode a value of it.
    return next(field.default for field in msgspec.structs.fields(kind) if field.name == "v")
