"""CMSIS-NN's sources as the ``bakenn`` wheel carries them (Apache-2.0)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable

from tinymlops.errors import SetupError

INCLUDE_FOLDERS = ("cmsis_nn/Include", "cmsis_core/Include")
HEADER = "arm_nnfunctions.h"
_RELEASE = re.compile(r"^- Release version: (\S+)$", re.MULTILINE)


def _vendor() -> Traversable:
    try:
        return files("bakenn") / "backend" / "cmsis_nn" / "vendor"
    except ModuleNotFoundError as error:
        raise SetupError(
            "the package bakenn, which carries CMSIS-NN's sources, is missing",
            "install the extra `microcontroller` (`make install` installs every extra)",
        ) from error


@lru_cache(maxsize=1)
def description() -> str:
    """CMSIS-NN's release and the wheel it came in.

    Raises:
        SetupError: The wheel is missing.
    """
    provenance = (_vendor() / "cmsis_nn" / "BAKENN_PROVENANCE.md").read_text(encoding="utf-8")
    found = _RELEASE.search(provenance)
    release = found.group(1) if found else "of unknown release"
    return f"CMSIS-NN {release} (bakenn {metadata.version('bakenn')})"


@lru_cache(maxsize=1)
def _sources() -> dict[str, str]:
    """Function → path of the file that defines it, below the vendor folder."""
    folder = _vendor() / "cmsis_nn" / "Source"
    return {
        file.name.removesuffix(".c"): f"cmsis_nn/Source/{group.name}/{file.name}"
        for group in folder.iterdir()
        for file in group.iterdir()
        if file.name.startswith("arm_")
    }


def source_files(functions: Iterable[str]) -> dict[str, bytes]:
    """Relative path → content of all that ``functions`` need: sources, headers, licences.

    Raises:
        SetupError: The wheel is missing.
    """
    vendor, known = _vendor(), _sources()
    wanted, found = set(functions) & set(known), {}
    while wanted:
        path = known[wanted.pop()]
        found[path] = (vendor / path).read_bytes()
        called = set(re.findall(r"\barm_\w+(?=\()", found[path].decode("utf-8")))
        wanted |= {name for name in called & set(known) if known[name] not in found}
    for folder in INCLUDE_FOLDERS:
        found |= {f"{folder}/{file.name}": file.read_bytes() for file in (vendor / folder).iterdir()}
    for path in ("cmsis_nn/LICENSE.txt", "cmsis_nn/BAKENN_PROVENANCE.md", "cmsis_core/LICENSE.txt"):
        found[path] = (vendor / path).read_bytes()
    return dict(sorted(found.items()))
