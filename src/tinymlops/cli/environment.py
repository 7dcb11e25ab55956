"""Embedded defaults: with nothing set, runs and models are kept in the project's own state folder.

Whoever runs a Prefect or MLflow server sets ``PREFECT_API_URL`` or ``MLFLOW_TRACKING_URI``; what is set, stays.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from tinymlops.errors import StorageError
from tinymlops.project import project_root, state_folder


def embedded_settings() -> dict[str, str]:
    """Environment variables for Prefect and MLflow, before what the user has set."""
    state = state_folder()
    return {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(state / "results"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def use_embedded_defaults(*, quiet: bool) -> Path:
    """Make the state folder, set what the user has not set, and return the folder.

    Args:
        quiet: Prefect logs to its pages alone.

    Raises:
        StorageError: The folder can't be made.
    """
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)  # Prefect makes its own folder, but not those above it
    except OSError as error:
        raise StorageError(
            f"{folder} can't be made ({error.strerror})", "set TINYMLOPS_STATE to a folder that can be written"
        ) from error
    for name, value in embedded_settings().items():
        os.environ.setdefault(name, value)
    if quiet:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    return folder


def load_from_project(module: str) -> Any:
    """Import a module of the project's upper floors, as Prefect does: by its place under the project root."""
    root = str(project_root())
    if root not in sys.path:
        sys.path.insert(0, root)
    return importlib.import_module(module)
