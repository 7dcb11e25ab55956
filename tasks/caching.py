"""Cache keys by content: a step runs again only if something it depends on is different.

The key covers the step's parameters, the source of the rooms that do the work, and the versions of the
packages they stand on. Prefect keeps each result under its key; a torn result counts as none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from prefect.context import TaskRunContext

import tinymlops

_LIBRARY = Path(tinymlops.__file__).parent

KeyFunction = Callable[[TaskRunContext, dict[str, Any]], str]


def content_key(*rooms: str, packages: tuple[str, ...] = ()) -> KeyFunction:
    """A Prefect ``cache_key_fn``.

    Args:
        rooms: Files and folders of the library, such as ``"training.py"`` or ``"compression"``, whose source counts.
        packages: Distributions whose version counts.
    """

    def key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
        step = [context.task.name, parameters, _source_digest(rooms), [version(name) for name in packages]]
        return f"{context.task.name}-{hashlib.sha256(msgspec.msgpack.encode(step, order='sorted')).hexdigest()}"

    return key


@cache
def _source_digest(rooms: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for room in rooms:
        place = _LIBRARY / room
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            digest.update(file.relative_to(_LIBRARY).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
