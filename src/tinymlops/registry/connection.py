"""The way to MLflow: a client, quiet, whose errors are one sentence."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinymlops.errors import StorageError
from tinymlops.registry.values import RegistrySettings


def _quiet() -> None:
    """Before MLflow is imported: no usage reports, no chatter, no minutes of trying a server that is not there."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def connect(settings: RegistrySettings) -> Any:
    """An ``MlflowClient``; an SQLite file that is not there yet is made whole."""
    import mlflow

    if settings.tracking_uri.startswith("sqlite:///"):
        _create_whole(Path(settings.tracking_uri.removeprefix("sqlite:///")))
    return mlflow.MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)


def all_versions(client: Any, model: str) -> list[Any]:
    """Every version of a registered model."""
    found, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{model}'", max_results=1000, page_token=token)
        found += list(page)
        token = page.token
        if not token:
            return found


def newest_versions(client: Any, model: str) -> dict[tuple[str, str], Any]:
    """(recipe, sha256) → the newest version of that content."""
    versions = sorted(all_versions(client, model), key=lambda one: int(one.version))
    return {(one.tags.get("recipe", ""), one.tags.get("sha256", "")): one for one in versions}


def _create_whole(database: Path) -> None:
    """Make MLflow's SQLite file under another name first: killed between two of its migrations, it can't go on."""
    import mlflow

    if database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".new-") as folder:
        new = Path(folder) / database.name
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
        new.replace(database)


@contextlib.contextmanager
def plain_errors(uri: str) -> Iterator[None]:
    """MLflow's and the disk's errors as one sentence."""
    _quiet()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    retries = logging.getLogger("urllib3.connectionpool")
    before, place = retries.level, _without_password(uri)
    retries.setLevel(logging.ERROR)
    step = "check MLFLOW_TRACKING_URI, that its server runs and that its disk has room, then run the same command again"
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        said = _without_password(str(error).splitlines()[0])
        raise StorageError(f"MLflow at {place} refused ({said})", step) from error
    except OSError as error:
        raise StorageError(f"MLflow at {place} can't be written ({error.strerror or error})", step) from error
    finally:
        retries.setLevel(before)


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//…@", text)
