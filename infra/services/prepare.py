"""Makes the secrets of infra/compose.yaml, one file each, readable by nobody else; prints where they are, for Compose.

    python infra/services/prepare.py [--folder FOLDER]

What is there already stays, so running it again changes nothing; remove a file and run it again to exchange a secret.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from tinymlops.files import write_atomic
from tinymlops.gateway.webhook_signatures import Secret
from tinymlops.project import state_folder

CONTAINER_USER = 10001
"""Who the containers run as where root starts them; else they run as the person who does."""
DATABASES = {
    "prefect": "postgresql+asyncpg",  # each speaks to PostgreSQL with a driver of its own
    "mlflow": "postgresql+psycopg",
    "fleet": "postgresql",
}
BUCKETS_OF = {
    "gateway": ("Read:repository", "List:repository", "Write:repository/probe/*", "telemetry"),
    "worker": ("repository", "private", "telemetry"),
    "mlflow": ("mlflow",),
}
"""Who may do what in which bucket; a bucket alone means all of it. The gateway changes nothing that is signed."""


def main() -> None:
    """Make what is missing; print the variables that infra/compose.yaml reads."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=state_folder() / "compose", help="where they are kept")
    folder: Path = parser.parse_args().folder.absolute()
    for name, value in prepare(folder).items():
        print(f"{name}={value}")


def prepare(folder: Path) -> dict[str, str]:
    """Make what is missing.

    Args:
        folder: Gets ``secrets`` and ``root-keys``.

    Returns:
        Variables for Compose. They name files and say nothing of what is in them.
    """
    user, group = (os.getuid(), os.getgid()) if os.getuid() else (CONTAINER_USER, CONTAINER_USER)
    place = Secrets(folder / "secrets", user, group)
    for name, driver in DATABASES.items():
        password = place.kept(f"postgresql_{name}", _password)
        place.put(f"{name}_database", f"{driver}://{name}:{password}@postgresql/{name}")
    keys = {name: place.kept(f"s3_{name}", _password) for name in BUCKETS_OF}
    place.put("s3_identities", json.dumps(identities(keys), indent=1))
    place.kept("prefect_login", lambda: f"admin:{_password()}")
    place.kept("operator_token", _password)
    place.kept("webhook_secrets", lambda: Secret.generate().text())
    place.kept("keys_passphrase", _password)
    for name in ("mqtt_devices", "mqtt_bridge"):
        place.kept(name, _password)
    root_keys = folder / "root-keys"
    _private_folder(root_keys, user, group)
    return {
        "TINYMLOPS_SECRETS": str(place.folder),
        "TINYMLOPS_ROOT_KEYS": str(root_keys),
        "TINYMLOPS_USER": f"{user}:{group}",
    }


def identities(keys: dict[str, str]) -> dict[str, object]:
    """SeaweedFS's table of users: each with its key, and what it may do."""
    return {
        "identities": [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": key}], "actions": actions(BUCKETS_OF[name])}
            for name, key in keys.items()
        ]
    }


def actions(rights: tuple[str, ...]) -> list[str]:
    """Rights as SeaweedFS writes them."""
    found: list[str] = []
    for right in rights:
        found += [right] if ":" in right else [f"{verb}:{right}" for verb in ("Read", "Write", "List", "Tagging")]
    return found


class Secrets:
    """A folder of secrets.

    Args:
        folder: Made if it is not there.
        user: Who may read them, and nobody else.
        group: Of that user.
    """

    def __init__(self, folder: Path, user: int, group: int) -> None:
        self.folder, self._user, self._group = folder, user, group
        _private_folder(folder, user, group)

    def kept(self, name: str, make: Callable[[], str]) -> str:
        """The secret of that name; made if there is none."""
        path = self.folder / name
        if not path.exists():
            self.put(name, make())
        return path.read_text().strip()

    def put(self, name: str, content: str) -> None:
        """Write a secret, unless it is there just so."""
        path = self.folder / name
        if not path.exists() or path.read_text() != f"{content}\n":
            write_atomic(path, f"{content}\n".encode())
        path.chmod(0o600)
        os.chown(path, self._user, self._group)


def _private_folder(folder: Path, user: int, group: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    os.chown(folder, user, group)


def _password() -> str:
    return secrets.token_urlsafe(32)


if __name__ == "__main__":
    os.umask(0o077)
    main()
