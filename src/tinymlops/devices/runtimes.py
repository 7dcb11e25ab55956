"""The interpreters that devices have: one TOML file each in ``infra/runtimes``, with the operators they know."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec

from tinymlops.devices.toml import read_toml
from tinymlops.errors import UnknownNameError
from tinymlops.project import project_root


class RuntimeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An interpreter and what it can run.

    Attributes:
        name: Same as the stem of its file; what a profile's ``runtime.name`` says.
        title: Name and version for people.
        package: Distribution on the package index.
        version: Exact version of that distribution.
        module: Python module that holds ``Interpreter``.
        operators: Built-in operator to the newest version that the interpreter accepts (``infra/runtimes/probe.py``
            asks the interpreter itself).
        custom_operators: Custom codes that it resolves.
        generated: True where models become C: there is no table, the generator itself knows what it can do.
    """

    name: str
    title: str
    package: str
    version: str
    module: str = ""
    operators: dict[str, int] = {}
    custom_operators: tuple[str, ...] = ()
    generated: bool = False


def load_runtime(name: str) -> RuntimeTable:
    """The runtime called ``name``.

    Raises:
        UnknownNameError: There is no such runtime.
        ProfileError: Its file does not parse.
    """
    folder = project_root() / "infra" / "runtimes"
    known = {path.stem: path for path in folder.glob("*.toml")}
    if name not in known:
        raise UnknownNameError("runtime", name, known)
    return _read(known[name], known[name].stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _read(path: Path, _written_ns: int) -> RuntimeTable:
    return read_toml(path, RuntimeTable)
