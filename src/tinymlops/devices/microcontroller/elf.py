"""How large the sections of a program are, read from its ELF file (System V ABI, chapter 4, "Sections")."""

from __future__ import annotations

import struct

from tinymlops.errors import EngineError

_HEADERS = {1: ("<I", 0x20, "<HHH", 0x2E, "<IIIIIIIIII"), 2: ("<Q", 0x28, "<HHH", 0x3A, "<IIQQQQIIQQ")}
"""By class (32 or 64 bits): offset of the section headers and where it stands; their size, number and names' index and
where these stand; one header."""


def section_sizes(content: bytes) -> dict[str, int]:
    """Name → bytes of every section of a little-endian ELF file.

    Raises:
        EngineError: It is none; our own linker wrote it, so the disk or the image is at fault.
    """
    try:
        return _sections(content)
    except (struct.error, KeyError, IndexError, ValueError) as error:
        raise EngineError("the linker wrote no readable program", "free some disk space, then run it again") from error


def _sections(content: bytes) -> dict[str, int]:
    offset_format, offset_at, counts_format, counts_at, header_format = _HEADERS[content[4]]
    (table,) = struct.unpack_from(offset_format, content, offset_at)
    size, count, names_index = struct.unpack_from(counts_format, content, counts_at)
    headers = [struct.unpack_from(header_format, content, table + i * size) for i in range(count)]
    names = headers[names_index][4]
    return {_text(content, names + header[0]): header[5] for header in headers}


def _text(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode("ascii")
