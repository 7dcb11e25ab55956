"""The keys that one machine holds, found by the ids that metadata names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, Role

from tinymlops.errors import ReleaseError


class RoleKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The signers of a new repository, by role.

    Attributes:
        root: Any number; ``threshold`` of them must sign a root.
        targets: Offline. Lists what exists.
        devices: Online. Says which device is offered what.
        snapshot: Online.
        timestamp: Online.
    """

    root: tuple[Signer, ...]
    targets: Signer
    devices: Signer
    snapshot: Signer
    timestamp: Signer

    @classmethod
    def generate(cls, *, root_keys: int = 3) -> RoleKeys:
        """Fresh Ed25519 keys, in memory only."""
        root = tuple(CryptoSigner.generate_ed25519() for _ in range(root_keys))
        targets, devices, snapshot, timestamp = (CryptoSigner.generate_ed25519() for _ in range(4))
        return cls(root=root, targets=targets, devices=devices, snapshot=snapshot, timestamp=timestamp)

    def keyring(self) -> Keyring:
        """All of them."""
        return Keyring((*self.root, self.targets, self.devices, self.snapshot, self.timestamp))


class Keyring:
    """Signers by the id of their public key.

    Which of them signs what is never the keyring's own idea: root and delegations name key ids, and the keyring has
    them or not. So a key that was rotated out signs nothing more, wherever it still lies.

    Args:
        signers: Of any roles.
    """

    def __init__(self, signers: Iterable[Signer] = ()) -> None:
        self._signers = {signer.public_key.keyid: signer for signer in signers}

    def with_(self, *signers: Signer) -> Keyring:
        """This keyring and ``signers``."""
        return Keyring((*self._signers.values(), *signers))

    def without(self, *key_ids: str) -> Keyring:
        """This keyring but for some keys."""
        return Keyring(signer for key_id, signer in self._signers.items() if key_id not in key_ids)

    def require(self, name: str, *roles: Role) -> None:
        """Check that enough keys are here.

        Args:
            name: Of what is to be signed, for the error.
            roles: Every one must be satisfied.

        Raises:
            ReleaseError: Too few of a role's keys are here.
        """
        for role in roles:
            if len(self.signers_of(role.keyids)) < role.threshold:
                raise _missing(name, role, len(self.signers_of(role.keyids)))

    def sign(self, metadata: Metadata[Any], *roles: Role) -> None:
        """Replace the signatures of ``metadata``: by every key here that one of ``roles`` names."""
        metadata.signatures.clear()
        for signer in self.signers_of(dict.fromkeys(key_id for role in roles for key_id in role.keyids)):
            metadata.sign(signer, append=True)

    def signers_of(self, key_ids: Iterable[str]) -> list[Signer]:
        """Those of ``key_ids`` that are here."""
        return [self._signers[key_id] for key_id in key_ids if key_id in self._signers]


def _missing(name: str, role: Role, have: int) -> ReleaseError:
    ids = ", ".join(key_id[:8] for key_id in role.keyids)
    return ReleaseError(
        f"the {name} metadata needs {role.threshold} of the keys {ids}, and {have} of them are here",
        "name the folder that holds them with --keys, or sign where they are",
    )
