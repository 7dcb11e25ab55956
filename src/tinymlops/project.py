"""Where the project lies: flows, device profiles and images are files beside the library, not inside it."""

from __future__ import annotations

import os
from pathlib import Path

from tinymlops.errors import SetupError

_MARK = Path("infra") / "devices"


def project_root() -> Path:
    """The folder that holds ``flows/`` and ``infra/``.

    Looked for in ``TINYMLOPS_PROJECT``, then upwards from the current folder, then beside an
    editable install.

    Raises:
        SetupError: None of these holds a project.
    """
    chosen = os.environ.get("TINYMLOPS_PROJECT")
    here = Path.cwd()
    candidates = [Path(chosen)] if chosen else [here, *here.parents, Path(__file__).resolve().parents[2]]
    for folder in candidates:
        if (folder / _MARK).is_dir():
            return folder.resolve()
    raise SetupError(
        f"no TinyMLOps project in {candidates[0]}",
        "run this inside a clone of the project, or set TINYMLOPS_PROJECT to its folder",
    )


def state_folder() -> Path:
    """Where run histories, caches and the embedded MLflow store live (``TINYMLOPS_STATE``, else ``.tinymlops``)."""
    chosen = os.environ.get("TINYMLOPS_STATE")
    return Path(chosen).resolve() if chosen else project_root() / ".tinymlops"


def kept_workloads() -> tuple[str, ...]:
    """Workloads that are watched and retrained by themselves: ``TINYMLOPS_WORKLOADS``, with commas; else activity."""
    named = os.environ.get("TINYMLOPS_WORKLOADS") or "activity"
    return tuple(dict.fromkeys(name.strip() for name in named.split(",") if name.strip()))
