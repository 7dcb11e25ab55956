"""Read a data file out of an installed package, without importing the package."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tinymlops.errors import SetupError, WorkloadError


def packaged_file(package: str, path: str, digest: str) -> Path:
    """The file ``path`` of ``package``, once its SHA-256 was found to be ``digest``.

    Raises:
        SetupError: The package or the file is not installed.
        WorkloadError: The file is not the one that was reviewed.
    """
    try:
        file = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError as error:
        raise SetupError(f"the data package {package} is not installed", "run `make install`") from error
    return verified_file(file, digest, f"run `make install` (it is part of the package {package})")


def verified_file(file: Path, digest: str, hint: str) -> Path:
    """``file`` itself, once its SHA-256 was found to be ``digest``; ``hint`` says how to get it.

    Raises:
        SetupError: There is no such file.
        WorkloadError: The file is not the one that was reviewed.
    """
    try:
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise SetupError(f"there is no data file {file}", hint) from error
    if found != digest:
        raise WorkloadError(
            f"{file.name} has the SHA-256 {found[:12]}… instead of {digest[:12]}…, so it is not read",
            "install the version that the lock file names",
        )
    return file
