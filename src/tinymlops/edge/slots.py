"""Two slots per workload: one runs, the other takes the next release. A tiny file says which; renaming it switches."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.edge.packages import Key, open_package
from tinymlops.edge.storage import Folder
from tinymlops.errors import FormatError, UntrustedError
from tinymlops.files import sha256
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.identity import DeviceKeys, verify
from tinymlops.wire.manifest import Manifest
from tinymlops.wire.messages import Count, Phase, Sha256, Word

MODELS = "models"
A, B = "a", "b"
_RECORD = "slot.json"
_ACTIVE = "active"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A release that does not do here. It is not tried again before another assignment asks for it.

    Attributes:
        version: Of the release.
        assignment: Counter of the assignment that offered it.
        reason: One sentence.
    """

    version: Count
    assignment: Count
    reason: Annotated[str, Meta(max_length=500)]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Self-tests of a release that were begun. One that takes the agent down with it is not begun for ever."""

    version: Count
    assignment: Count
    count: Count


class WorkloadState(Versioned, frozen=True, kw_only=True):
    """Which slot runs, and how that came about.

    Attributes:
        active: The slot that runs; empty before the first.
        phase: On trial or good.
        fallback: Whether the other slot holds a release that was good.
        assignment: Counter of the last assignment that asked for what runs.
        starts: Starts of the agent in this trial.
        queries: Counted for the running release when its trial began.
        errors: Likewise.
        failed: The last release that failed.
        testing: Self-tests begun and not ended.
    """

    active: str = ""
    phase: Phase = Phase.GOOD
    fallback: bool = False
    assignment: Count = 0
    starts: Count = 0
    queries: Count = 0
    errors: Count = 0
    failed: Failure | None = None
    testing: Attempt | None = None

    @property
    def other(self) -> str:
        """The slot that does not run."""
        return B if self.active == A else A


class InstalledVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A variant in a slot.

    Attributes:
        manifest: Digest of the manifest; its file is called after it.
        package: Digest of the sealed package; its file is called after it.
        key: Opens the package.
    """

    manifest: Sha256
    package: Sha256
    key: Key


class SlotRecord(Versioned, frozen=True, kw_only=True):
    """All that is in a slot. The device signs it once everything was verified and tested.

    Attributes:
        workload: Which task.
        release: Its version.
        assignment: Counter of the assignment that brought it.
        variants: The preferred one first.
    """

    workload: Word
    release: Count
    assignment: Count
    variants: Annotated[tuple[InstalledVariant, ...], Meta(min_length=1)]


class _Signed(msgspec.Struct, frozen=True):
    content: bytes
    signature: bytes


class Slots:
    """The two slots of a workload.

    Args:
        folder: Of the agent.
        workload: Which task.
        keys: Of the device: sign records and open packages.
    """

    def __init__(self, folder: Folder, workload: str, keys: DeviceKeys) -> None:
        self._folder = folder
        self._keys = keys
        self._home = f"{MODELS}/{workload}"
        self.workload = workload

    def state(self) -> WorkloadState:
        """What is kept about the workload.

        Where the file is lost or damaged, which takes a broken disk, the newest slot that still holds is taken.
        """
        content = self._folder.read(f"{self._home}/{_ACTIVE}")
        try:
            if content is not None:
                return decode(content, WorkloadState)
        except FormatError:
            pass
        held = [(record.assignment, slot) for slot in (A, B) if (record := self.record(slot)) is not None]
        return WorkloadState(active=max(held)[1], assignment=max(held)[0]) if held else WorkloadState()

    def save(self, state: WorkloadState) -> None:
        """Keep ``state``: at once, or not at all."""
        self._folder.write(f"{self._home}/{_ACTIVE}", encode(state))

    def record(self, slot: str) -> SlotRecord | None:
        """What a slot holds, if this device has signed it and all files are what they were; else None."""
        content = self._folder.read(f"{self._home}/{slot}/{_RECORD}") if slot else None
        if content is None:
            return None
        try:
            return self._verified(slot, content)
        except (FormatError, UntrustedError):
            return None

    def write_record(self, slot: str, record: SlotRecord) -> None:
        """Sign what a slot holds. From then on it may run."""
        content = encode(record)
        signature = self._keys.sign(_signed_text(content))
        self._folder.write(f"{self._home}/{slot}/{_RECORD}", encode(_Signed(content, signature)))

    def clear(self, slot: str, keep: set[str]) -> bool:
        """Empty a slot, the record first, of all files but those called after the digests in ``keep``."""
        place = f"{self._home}/{slot}"
        names = [name for name in self._folder.names(place) if name not in keep]
        for name in sorted(names, key=lambda name: name != _RECORD):
            self._folder.remove(f"{place}/{name}")
        return bool(names)

    def holds(self, slot: str, digest: str) -> bool:
        """Whether a slot has the file of this digest, whole."""
        content = self._folder.read(f"{self._home}/{slot}/{digest}")
        return content is not None and sha256(content) == digest

    def put(self, slot: str, content: bytes) -> str:
        """Keep a file in a slot; its digest, which is its name."""
        digest = sha256(content)
        self._folder.write(f"{self._home}/{slot}/{digest}", content)
        return digest

    def take(self, slot: str, name: str, digest: str) -> None:
        """Move a verified file into a slot."""
        self._folder.move(name, f"{self._home}/{slot}/{digest}")

    def file(self, slot: str, digest: str) -> bytes:
        """A file of a slot.

        Raises:
            UntrustedError: It is gone or changed.
        """
        content = self._folder.read(f"{self._home}/{slot}/{digest}")
        if content is None or sha256(content) != digest:
            raise UntrustedError(
                f"a file of {self.workload} in slot {slot} is damaged",
                "the agent takes the other slot and fetches anew",
            )
        return content

    def manifest(self, slot: str, variant: InstalledVariant) -> Manifest:
        """The manifest of a variant; raises `UntrustedError`, `FormatError`."""
        return decode(self.file(slot, variant.manifest), Manifest, what="a manifest")

    def model(self, slot: str, variant: InstalledVariant) -> tuple[Manifest, bytes]:
        """A variant's manifest and its model, decrypted into memory and verified.

        Raises:
            UntrustedError: Something in the slot was changed.
            FormatError: Something in it can't be read.
        """
        manifest = self.manifest(slot, variant)
        return manifest, open_package(self.file(slot, variant.package), variant.key, self._keys, manifest)

    def _verified(self, slot: str, content: bytes) -> SlotRecord:
        signed = decode(content, _Signed, what="a slot record")
        verify(self._keys.public.signing, signed.signature, _signed_text(signed.content), what="a slot record")
        record = decode(signed.content, SlotRecord, what="a slot record")
        if record.workload != self.workload:
            raise UntrustedError("a slot record belongs to another workload", "it is not used")
        for variant in record.variants:
            if not self.holds(slot, variant.manifest) or not self.holds(slot, variant.package):
                raise UntrustedError("a file of a slot is damaged", "the other slot is used")
        return record


def _signed_text(content: bytes) -> bytes:
    return b"tinymlops/slot/v1" + content
