"""A TUF repository in memory that signs when it is asked, so that a test can make it say anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

TOP = ("root", "timestamp", "snapshot", "targets")
DEVICES = "devices"
NOW_S = 1_800_000_000.0


class RepositorySimulator:
    """Metadata of all roles as it stands; `answer` signs it with the keys that stand for each role.

    Args:
        now_s: Expiry counts from here.
        root_threshold: Signatures that a root needs, of three keys.
    """

    def __init__(self, now_s: float = NOW_S, root_threshold: int = 2) -> None:
        self.expires = datetime.fromtimestamp(now_s, UTC).replace(microsecond=0) + timedelta(days=30)
        self.root = Root(expires=self.expires, consistent_snapshot=True)
        self.root.roles["root"].threshold = root_threshold
        self.timestamp = Timestamp(expires=self.expires)
        self.snapshot = Snapshot(expires=self.expires)
        self.targets = Targets(expires=self.expires)
        self.delegates: dict[str, Targets] = {}
        self.signers: dict[str, list[Signer]] = {}
        self.roots: list[bytes] = []
        self.files: dict[str, bytes] = {}
        self.history: dict[str, bytes] = {}
        self.with_hashes = False
        for role in TOP:
            for _ in range(3 if role == "root" else 1):
                self.add_key(role)
        self.delegate("targets", DEVICES, ["devices/*"], terminating=True)
        self.publish_root(1)
        self.snapshot.meta["targets.json"] = MetaFile(self.targets.version)

    # --- keys and delegations

    def add_key(self, role: str, delegator: Root | Targets | None = None) -> CryptoSigner:
        signer = CryptoSigner.generate_ed25519()
        (delegator or self.root).add_key(signer.public_key, role)
        self.signers.setdefault(role, []).append(signer)
        return signer

    def delegate(self, parent: str, name: str, paths: list[str], *, terminating: bool = False) -> Targets:
        owner = self.targets if parent == "targets" else self.delegates[parent]
        if owner.delegations is None:
            owner.delegations = Delegations({}, {})
        assert owner.delegations.roles is not None
        owner.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, paths)
        if name not in self.delegates:
            self.delegates[name] = Targets(expires=self.expires)
            self.snapshot.meta[f"{name}.json"] = MetaFile(1)
        if name in self.signers:
            for signer in self.signers[name]:
                owner.add_key(signer.public_key, name)
        else:
            self.add_key(name, owner)
        return self.delegates[name]

    # --- publishing

    def publish_root(self, version: int | None = None, signers: list[Signer] | None = None) -> None:
        self.root.version = version or self.root.version + 1
        self.roots.append(self.signed(self.root, signers or self.signers["root"]))

    def publish(self, *roles: str) -> None:
        """New versions of targets roles, and of snapshot and timestamp over them."""
        for role in roles:
            signed = self.targets if role == "targets" else self.delegates[role]
            self._keep(role, signed)
            signed.version += 1
            self.snapshot.meta[f"{role}.json"] = self._meta(signed, role)
        self.update_snapshot()

    def _keep(self, role: str, signed: Signed) -> None:
        """A consistent snapshot goes on serving what it had, to devices that are in the middle of it."""
        self.history[f"{signed.version}.{role}"] = self.signed(signed, self.signers[role])

    def update_snapshot(self) -> None:
        self._keep("snapshot", self.snapshot)
        self.snapshot.version += 1
        self.update_timestamp()

    def update_timestamp(self) -> None:
        self.timestamp.snapshot_meta = self._meta(self.snapshot, "snapshot")
        self.timestamp.version += 1

    def add_target(self, role: str, path: str, content: bytes) -> TargetFile:
        signed = self.targets if role == "targets" else self.delegates[role]
        file = TargetFile.from_data(path, content, ["sha256"])
        signed.targets[path] = file
        folder, _, name = path.rpartition("/")
        self.files[f"{folder}/{file.hashes['sha256']}.{name}".lstrip("/")] = content
        return file

    def _meta(self, signed: Signed, role: str) -> MetaFile:
        if not self.with_hashes:
            return MetaFile(signed.version)
        return MetaFile.from_data(signed.version, self.signed(signed, self.signers[role]), ["sha256"])

    # --- serving

    @staticmethod
    def signed(signed: Signed, signers: list[Signer]) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def metadata(self, role: str, version: int | None = None) -> bytes | None:
        """A file as the repository serves it, or None."""
        if role == "root":
            return self.roots[version - 1] if version and 0 < version <= len(self.roots) else None
        known: dict[str, Signed] = {
            "timestamp": self.timestamp, "snapshot": self.snapshot, "targets": self.targets, **self.delegates
        }  # fmt: skip
        signed = known.get(role)
        return None if signed is None else self.signed(signed, self.signers[role])

    def answer(self, name: str) -> bytes | None:
        """Content of a metadata file by its name at the gateway, such as ``3.snapshot.json``."""
        role = name.removesuffix(".json")
        number, _, rest = role.partition(".")
        return self.history.get(role) or (self.metadata(rest, int(number)) if number.isdigit() else self.metadata(role))
