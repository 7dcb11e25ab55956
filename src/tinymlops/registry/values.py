"""Where the registry is, and what registering gave."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from tinymlops.errors import UsageError
from tinymlops.project import state_folder
from tinymlops.registry.promotions import Promotion

_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where versions, files and promotions are kept.

    Attributes:
        tracking_uri: Of MLflow: ``sqlite:///…``, ``postgresql://…`` or ``http://…``.
        artifact_root: Folder or bucket for files, or None to let the MLflow server decide.
        promotion_log: Our own log.
    """

    tracking_uri: str
    artifact_root: str | None
    promotion_log: Path

    @classmethod
    def in_folder(cls, folder: Path) -> RegistrySettings:
        """A SQLite store with its files beside it."""
        return cls(
            tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
            artifact_root=(folder / "artifacts").as_uri(),
            promotion_log=folder / "promotions.jsonl",
        )

    @classmethod
    def from_environment(cls) -> RegistrySettings:
        """``MLFLOW_TRACKING_URI`` if it is set, else a SQLite store in the state folder.

        With a database that is not SQLite, ``TINYMLOPS_ARTIFACT_ROOT`` says where files go.

        Raises:
            SetupError: There is no project to keep state in.
        """
        local = cls.in_folder(state_folder() / "mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            return local
        root = os.environ.get("TINYMLOPS_ARTIFACT_ROOT") or (None if _is_server(uri) else local.artifact_root)
        return cls(tracking_uri=uri, artifact_root=root, promotion_log=local.promotion_log)


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What registering a build gave.

    Attributes:
        tracking_uri: Where to look at it.
        model: Name of the registered model.
        run_id: The MLflow run of this build.
        versions: Recipe → version, for every variant of the build.
        created: Recipes whose version is new.
        aliases: Device → version, for every device that something was selected for.
        promotions: What moved; empty if the devices keep what they had.
    """

    tracking_uri: str
    model: str
    run_id: str
    versions: dict[str, str]
    created: tuple[str, ...]
    aliases: dict[str, str]
    promotions: tuple[Promotion, ...]


def model_name(workload: str) -> str:
    """Name of the registered model; signs that MLflow does not take become dashes."""
    return f"tinymlops-{plain_name(workload)}"


def plain_name(name: str) -> str:
    """``name`` with nothing in it but what MLflow takes in every kind of name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def alias_of(device: str) -> str:
    """The alias of a device: its own name.

    Raises:
        UsageError: MLflow does not take the name as an alias.
    """
    if not _ALIAS.fullmatch(device) or _RESERVED.fullmatch(device):
        raise UsageError(
            f"the device name {device!r} can't be an alias in MLflow",
            "use letters, digits, - and _ only, and neither 'latest' nor 'v' with a number",
        )
    return device


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://", "databricks"))
