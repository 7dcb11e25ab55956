"""JSON and MessagePack of wire values: strict about types, deaf to unknown fields, clear about unknown versions."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from tinymlops.errors import FormatError

T = TypeVar("T", bound=msgspec.Struct)


class Versioned(msgspec.Struct, frozen=True, kw_only=True):
    """A value that is kept or sent, and so may be read by another release of this software.

    Attributes:
        v: Version of the form. A reader refuses any but its own; fields may be added without a new version.
    """

    v: int = 1


def encode(value: msgspec.Struct) -> bytes:
    """``value`` as JSON with sorted keys: equal values give equal bytes. Byte strings become base64."""
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
    try:
        return _of_known_version(msgspec.json.decode(content, type=kind), kind, what)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(kind, what, error) from error


def encode_packed(value: msgspec.Struct) -> bytes:
    """``value`` as MessagePack with sorted keys."""
    return msgspec.msgpack.encode(value, order="sorted")


def decode_packed(content: bytes | bytearray | memoryview, kind: type[T], *, what: str = "") -> T:
    """The value of type ``kind`` that MessagePack ``content`` holds.

    Raises:
        FormatError: It is not MessagePack, not a ``kind``, or of a version that is not known.
    """
    try:
        return _of_known_version(msgspec.msgpack.decode(content, type=kind), kind, what)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(kind, what, error) from error


def _of_known_version(value: T, kind: type[T], what: str) -> T:
    if isinstance(value, Versioned):
        known = next(field.default for field in msgspec.structs.fields(kind) if field.name == "v")
        if value.v != known:
            raise FormatError(
                f"{what or kind.__name__} is of version {value.v}, and this software knows version {known}",
                "update the older side of the two",
            )
    return value


def _unreadable(kind: type[msgspec.Struct], what: str, error: Exception) -> FormatError:
    return FormatError(
        f"{what or kind.__name__} can't be read ({error})", "it is damaged, or written by other software: ask again"
    )
