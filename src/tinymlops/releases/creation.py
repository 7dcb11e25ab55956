"""The beginning of a repository."""

from __future__ import annotations

from securesystemslib.signer import Signer
from tuf.api.metadata import DelegatedRole, Delegations, SuccinctRoles, Targets

from tinymlops.errors import ReleaseError
from tinymlops.releases.edition import Basis, Clock, Edition, Signing, utc_now
from tinymlops.releases.keyring import Keyring
from tinymlops.releases.metadata_files import TIMESTAMP_KEY, MetadataFiles, key_of
from tinymlops.releases.repository import Repository
from tinymlops.releases.roles import BIN_PREFIX, DEVICE_PATHS, DEVICES, ROOT, TARGETS, RepositorySettings
from tinymlops.store.protocol import NotFoundError, ObjectStore


def create_repository(
    store: ObjectStore,
    keyring: Keyring,
    *,
    root: bytes,
    devices_key: Signer,
    settings: RepositorySettings | None = None,
    now: Clock = utc_now,
) -> Repository:
    """Begin a repository in an empty ``store``. A crash on the way leaves nothing that devices see; call it again.

    Args:
        store: Where metadata and targets will lie, under ``metadata/`` and ``targets/``.
        keyring: Must hold the targets, devices, snapshot and timestamp keys.
        root: The signed first root.
        devices_key: Signs what devices are offered.
        settings: Bins and lifetimes.
        now: The clock.

    Raises:
        ReleaseError: There is a repository already, or a key is missing.
        UntrustedError: ``root`` has too few signatures.
    """
    settings = settings or RepositorySettings()
    files = MetadataFiles(store, root)
    if store.put_if_absent(key_of(ROOT, 1), root) is None and store.get(key_of(ROOT, 1)) != root:
        raise _exists(store)
    keyring = keyring.with_(devices_key)
    edition = Edition(Basis.nothing(files.root()), files, Signing(keyring, settings.lifetimes, now))
    for name, signed in _first_roles(devices_key, settings.bin_bits).items():
        edition.bring_in(name, signed)
    if not edition.commit():
        raise _exists(store)
    return Repository(store, keyring, trusted_root=root, settings=settings, now=now)


def refuse_repository(store: ObjectStore) -> None:
    """Check that a repository can begin in ``store``.

    Raises:
        ReleaseError: There is one.
    """
    try:
        store.head(TIMESTAMP_KEY)
    except NotFoundError:
        return
    raise _exists(store)


def _first_roles(devices_key: Signer, bin_bits: int) -> dict[str, Targets]:
    key = devices_key.public_key
    role = DelegatedRole(DEVICES, [key.keyid], 1, terminating=True, paths=[DEVICE_PATHS])
    bins = SuccinctRoles([key.keyid], 1, bin_bits, BIN_PREFIX)
    targets = Targets(delegations=Delegations({key.keyid: key}, roles={DEVICES: role}))
    devices = Targets(delegations=Delegations({key.keyid: key}, succinct_roles=bins))
    return {name: Targets() for name in bins.get_roles()} | {DEVICES: devices, TARGETS: targets}


def _exists(store: ObjectStore) -> ReleaseError:
    return ReleaseError(f"there is a repository in {store.address} already", "open it, or choose another store")
