"""Exchanging keys while devices go on updating.

A device that has followed the new root refuses a timestamp that only the old key signed, and one that has not refuses
what only the new key signed. So what both will meet is signed by both keys first; then the root is published, which is
the moment of the exchange; then everything is signed once more. A crash between two of these steps leaves a repository
that every device can use, and the same call goes on from there.
"""

from __future__ import annotations

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Root

from tinymlops.errors import ReleaseError
from tinymlops.releases.edition import Edition
from tinymlops.releases.metadata_files import key_of
from tinymlops.releases.repository import Repository
from tinymlops.releases.roles import DEVICES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from tinymlops.releases.roots import ROOT_ROLES, next_root, root_status, sign_root
from tinymlops.releases.values import Published


def publish_root(repository: Repository, root: bytes, *, old_keys_lost: bool = False) -> Published:
    """Put a signed root into force. After a crash, the same call goes on from there.

    Args:
        repository: With the new keys of every online role whose keys change, and the old ones unless they are lost;
            likewise of the targets role if its keys change.
        root: The next version, signed by enough keys of the root before it and of its own.
        old_keys_lost: Go on without signatures of the old keys. Devices that refresh between the root and the commit
            after it, some milliseconds, fail once and try again later.

    Raises:
        ReleaseError: A key is missing, or another root came first.
        UntrustedError: Too few signatures.
    """
    files = repository.files
    newest = files.root()
    before, after = (files.previous, newest) if files.root_bytes == root else (newest, files.check_next_root(root))
    changed = [TARGETS] if after.roles[TARGETS] != before.roles[TARGETS] else []
    for role in (SNAPSHOT, TIMESTAMP, *changed):
        repository.keyring.require(role, after.roles[role])

    def sign_anew(edition: Edition) -> None:
        for role in changed:
            edition.change(role)

    if before is newest:
        if not old_keys_lost:
            repository.edit(sign_anew, sign_with=(before, after))
        if repository.store.put_if_absent(key_of(ROOT, after.version), root) is None:
            raise ReleaseError(f"another root of version {after.version} came first", "draft it again from that one")
        files.root()
    return repository.edit(sign_anew, verify_with=(after, before), sign_with=(after,))


def rotate(repository: Repository, role: str, signer: Signer, *, replaces: str | None = None) -> Published:
    """Exchange a key on a machine that has all keys it takes; `tinymlops.releases.roots` does it in several sittings.

    Args:
        repository: Its keyring gains ``signer``. For root, targets, snapshot and timestamp it must hold enough root
            keys, for targets and devices the targets key.
        role: Whose key.
        signer: The new key.
        replaces: Id of the old key; needed where a role has several.

    Raises:
        ReleaseError: A key is missing, or it is not clear which one goes.
    """
    repository.keyring = repository.keyring.with_(signer)
    if role == DEVICES:
        return repository.edit(lambda edition: _exchange_devices_key(edition, signer.public_key))
    if role not in ROOT_ROLES:
        raise ReleaseError(f"there is no role {role!r}", f"choose one of {', '.join((*ROOT_ROLES, DEVICES))}")
    root = repository.files.root()
    draft = next_root(
        repository.files.root_bytes,
        now=repository.now(),
        add={role: [signer.public_key]},
        remove={role: [_replaced(root, role, replaces)]},
        lifetimes=repository.settings.lifetimes,
    )
    signed = sign_root(draft, repository.keyring.signers_of((*root.roles[ROOT].keyids, signer.public_key.keyid)))
    missing = root_status(signed, repository.files.root_bytes).missing
    if missing:
        raise ReleaseError(
            f"{missing} more of the root keys must sign", "draft the root here, and have it signed where they are"
        )
    return publish_root(repository, signed)


def _replaced(root: Root, role: str, replaces: str | None) -> str:
    key_ids: list[str] = root.roles[role].keyids
    if replaces is None and len(key_ids) == 1:
        return key_ids[0]
    found = [key_id for key_id in key_ids if replaces and key_id.startswith(replaces)]
    if len(found) != 1:
        raise ReleaseError(f"it is not clear which key of the {role} role goes", f"name one of {', '.join(key_ids)}")
    return found[0]


def _exchange_devices_key(edition: Edition, key: Key) -> None:
    """One commit: the delegations name the new key, and everything below them is signed by it."""
    for name in edition.bins():
        edition.change(name)  # read while the old key still verifies them
    devices, targets = edition.change(DEVICES), edition.change(TARGETS)
    (old,) = targets.get_delegated_role(DEVICES).keyids
    targets.add_key(key, DEVICES)
    targets.revoke_key(old, DEVICES)
    devices.add_key(key)
    devices.revoke_key(old)
