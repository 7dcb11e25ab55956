"""TOML files that become frozen values, or one sentence that says what is wrong in them."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from tinymlops.errors import ProfileError

_T = TypeVar("_T", bound=msgspec.Struct)
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<key>[^`]*)`(?: - at `\$\.?(?P<where>[^`]*)`)?")


def read_toml(path: Path, kind: type[_T]) -> _T:
    """Read ``path`` as a value of ``kind``, strictly: a key that means nothing is an error.

    Raises:
        ProfileError: The file can't be read, is not TOML, or has a misspelt key, a missing key or a wrong type.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), kind, strict=True)
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} can't be read ({error})", "check the path and its permissions") from error
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path} is not TOML ({error})", "mend that line") from error
    except msgspec.ValidationError as error:
        raise ProfileError(f"{path}: {_lower_first(str(error))}", _advice(str(error), kind)) from error


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _advice(message: str, kind: type[msgspec.Struct]) -> str:
    """What to do about a validation error; for a misspelt key the nearest one that exists."""
    found = _UNKNOWN_FIELD.search(message)
    if found is None:
        return "compare the file with docs/devices.md"
    known = _fields_at(kind, (found["where"] or "").split("."))
    near = difflib.get_close_matches(found["key"], known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}" if near else f"the keys there are {', '.join(known)}"


def _fields_at(kind: Any, where: list[str]) -> list[str]:
    """Names of the fields of the struct that lies at the dotted path ``where`` inside ``kind``."""
    for step in filter(None, where):
        annotation = {field.name: field.type for field in msgspec.structs.fields(kind)}[step.partition("[")[0]]
        kind = next((a for a in (annotation, *get_args(annotation)) if _is_struct(a)), kind)
    return sorted(field.encode_name for field in msgspec.structs.fields(kind))


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)
