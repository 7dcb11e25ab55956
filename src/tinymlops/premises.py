"""The owner's premises: where the repository, the private store, the database and the keys of this process are.

Everything lies in the state folder unless the environment says otherwise:

    TINYMLOPS_STORE           the signed repository, which the gateway serves: a folder or s3://bucket/prefix
    TINYMLOPS_PRIVATE_STORE   records of releases and content keys, which no device may read
    TINYMLOPS_DATABASE        devices, health, roll-outs
    TINYMLOPS_TELEMETRY       what devices told: inbox, tables, verdicts, retrainings; never served to devices
    TINYMLOPS_KEYS            the folder that `tinymlops keys create` made, or its part ``online``
    TINYMLOPS_PASSPHRASE_FILE opens the encrypted ones in flows
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import SetupError, StorageError
from tinymlops.fleet import Fleet, database_address, open_fleet
from tinymlops.project import state_folder
from tinymlops.releases.key_files import VAULT_FILE, Passphrase, open_repository
from tinymlops.releases.publishing import Publisher
from tinymlops.releases.records import Records
from tinymlops.releases.repository import Repository
from tinymlops.releases.vault import Vault
from tinymlops.steering import Steering
from tinymlops.store import ObjectStore, open_store

if TYPE_CHECKING:
    from tinymlops.telemetry.tables import Tables

PASSPHRASE_FILE = "TINYMLOPS_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable


def passphrase_from_environment(key: Path) -> bytes:
    """The passphrase in the file that ``TINYMLOPS_PASSPHRASE_FILE`` names: for flows, which nobody can ask.

    Raises:
        SetupError: The variable is not set.
        StorageError: The file can't be read.
    """
    named = os.environ.get(PASSPHRASE_FILE)
    if not named:
        raise SetupError(f"{key} is encrypted", f"put its passphrase into a file and name it with {PASSPHRASE_FILE}")
    try:
        return Path(named).read_bytes().strip()
    except OSError as error:
        raise StorageError(f"{named} can't be read ({error.strerror})", f"check {PASSPHRASE_FILE}") from error


class Premises(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses; nothing is opened before it is asked for.

    Attributes:
        store: Of the repository.
        private: Of records and content keys.
        database: Of the fleet.
        telemetry: Of what devices told, and what was made of it.
        keys: Folder of the keys that this process has.
    """

    store: str
    private: str
    database: str
    telemetry: str
    keys: Path

    @classmethod
    def from_environment(cls) -> Premises:
        """As the environment says, else in the state folder."""
        state = state_folder()
        return cls(
            store=os.environ.get("TINYMLOPS_STORE") or str(state / "repository"),
            private=os.environ.get("TINYMLOPS_PRIVATE_STORE") or str(state / "private"),
            database=database_address(),
            telemetry=os.environ.get("TINYMLOPS_TELEMETRY") or str(state / "telemetry"),
            keys=Path(os.environ.get("TINYMLOPS_KEYS") or state / "keys"),
        )

    def repository(self, passphrase: Passphrase | None = None) -> Repository:
        """The repository, with every key that is here.

        Raises:
            ReleaseError: There are no keys, or one does not open.
        """
        return open_repository(self._public(), self._keys(), passphrase=passphrase)

    def fleet(self) -> Fleet:
        """The record of devices."""
        return open_fleet(self.database)

    def records(self) -> Records:
        """Of all releases."""
        return Records(self._private())

    def vault(self) -> Vault:
        """Content keys.

        Raises:
            SetupError: The vault key is not here.
        """
        return Vault(self._private(), self._vault_key())

    def publisher(self, passphrase: Passphrase | None = None) -> Publisher:
        """What publishing needs; the targets key opens with ``passphrase``."""
        return Publisher(self.repository(passphrase), self.vault(), self.records())

    def steering(self) -> Steering:
        """What driving roll-outs needs: online keys are enough."""
        online = self._keys() / "online"
        repository = open_repository(self._public(), online if online.is_dir() else self._keys())
        return Steering(self.fleet(), repository, self.vault(), self.records())

    def telemetry_store(self) -> ObjectStore:
        """The place of everything that devices told."""
        return open_store(self.telemetry)

    def tables(self) -> Tables:
        """Windows, samples and consents."""
        from tinymlops.telemetry.tables import Tables  # half a second, and only some ask

        return Tables(self.telemetry)

    def _public(self) -> ObjectStore:
        return open_store(self.store)

    def _private(self) -> ObjectStore:
        return open_store(self.private)

    def _keys(self) -> Path:
        if not self.keys.is_dir():
            raise SetupError(
                f"there are no keys in {self.keys}",
                "make them with `tinymlops keys create`, or name their folder with TINYMLOPS_KEYS",
            )
        return self.keys

    def _vault_key(self) -> bytes:
        for place in (self.keys / "online" / VAULT_FILE, self.keys / VAULT_FILE):
            try:
                return place.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(f"{place} can't be read ({error.strerror})", "check its permissions") from error
        raise SetupError(
            f"there is no {VAULT_FILE} in {self.keys}",
            "make the keys with `tinymlops keys create`, or restore the file",
        )
