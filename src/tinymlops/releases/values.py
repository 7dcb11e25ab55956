"""What goes into the repository, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Target(msgspec.Struct, frozen=True):
    """A file that devices may fetch.

    Attributes:
        content: Its bytes.
        custom: Facts about it for people and the server; signed, but no device acts on them.
    """

    content: bytes
    custom: Mapping[str, Any] | None = None


class TargetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the signed metadata says of a target.

    Attributes:
        path: Its name.
        size: Bytes.
        sha256: Hexadecimal.
        custom: See `Target`.
    """

    path: str
    size: int
    sha256: str
    custom: Mapping[str, Any] | None = None


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit made.

    Attributes:
        timestamp: Version that devices see from now on.
        snapshot: Version that belongs to it.
        attempts: 1, or more if other publishers came first.
    """

    timestamp: int
    snapshot: int
    attempts: int
