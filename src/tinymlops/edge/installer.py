"""From an offer to a slot that may run: manifests and packages fetched, verified, opened in memory, tested, signed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tinymlops import __version__
from tinymlops.edge import self_test
from tinymlops.edge.context import Context
from tinymlops.edge.downloads import Downloads
from tinymlops.edge.link import Link
from tinymlops.edge.metadata import Metadata, Target
from tinymlops.edge.packages import Key, open_package, seal_again
from tinymlops.edge.slots import InstalledVariant, SlotRecord, Slots
from tinymlops.edge.tensors import check_tensors
from tinymlops.edge.transitions import Transition
from tinymlops.errors import DoesNotRunError, FormatError, TinyMLOpsError, UntrustedError
from tinymlops.files import sha256
from tinymlops.wire.assignment import Offer, PackageOffer, VariantOffer
from tinymlops.wire.encoding import decode
from tinymlops.wire.manifest import Manifest

_MOST_MANIFEST_BYTES = 16 * 1024 * 1024
_VERSION = re.compile(r"\d{1,6}(?:\.\d{1,6}){0,3}")
FindBase = Callable[[str], Callable[[], bytes] | None]
"""A way to the model of this digest, where the running release has it."""


class BrokenReleaseError(DoesNotRunError):
    """A release that does not do on this device, however often it is fetched."""


@contextmanager
def definitive() -> Iterator[None]:
    """Inside, what was signed is looked at: what is wrong with it stays wrong."""
    try:
        yield
    except BrokenReleaseError:
        raise
    except (FormatError, UntrustedError, DoesNotRunError) as error:
        raise BrokenReleaseError(error.cause, error.next_step) from error


class Source:
    """Where an install gets its files from.

    Args:
        metadata: Says what is signed.
        link: To the gateway.
        downloads: Fetches packages.
    """

    def __init__(self, metadata: Metadata, link: Link, downloads: Downloads) -> None:
        self._metadata = metadata
        self._link = link
        self.downloads = downloads

    def target(self, path: str) -> Target:
        """What is signed about a target.

        Raises:
            BrokenReleaseError: Nobody has signed it: the offer names something that the owner never released.
        """
        found = self._metadata.find(path)
        if found is None:
            raise BrokenReleaseError(f"{path} is not signed by the owner", "the owner has to look into the assignment")
        return found

    def file(self, target: Target) -> bytes:
        """The content of a small target.

        Raises:
            UntrustedError: What came is not what was signed.
            UnreachableError: Nothing came.
        """
        if target.length > _MOST_MANIFEST_BYTES:
            raise BrokenReleaseError(f"{target.path} is too large", "the owner has to release it anew")
        content = self._link.get(target.url, most_bytes=target.length)
        if sha256(content) != target.sha256:
            raise UntrustedError(f"{target.path} is not what was signed", "it was thrown away, and is fetched again")
        return content


class Installer:
    """Fills the slot that does not run.

    Args:
        context: Of the agent.
        slots: Of the workload.
        source: Of the files.
        find_base: Finds what a difference starts from.
        counted: Notes that a self-test begins; refuses one that took the agent down too often.
    """

    def __init__(
        self,
        context: Context,
        slots: Slots,
        source: Source,
        find_base: FindBase,
        counted: Callable[[], None],
    ) -> None:
        self._context = context
        self._slots = slots
        self._source = source
        self._find_base = find_base
        self._counted = counted

    def install(self, slot: str, offer: Offer, assignment: int, manifests: Sequence[Target]) -> SlotRecord:
        """Fill ``slot`` with a release; what an earlier try has left of it there is used.

        Args:
            slot: That does not run.
            offer: What to install.
            assignment: Counter of the assignment that the offer is from.
            manifests: What is signed about the manifest of each variant.

        Raises:
            BrokenReleaseError: The release does not do here.
            UnreachableError: The gateway went away; what came is kept.
            UntrustedError: What came is not what was signed.
            StorageError: It does not fit on the disk.
        """
        packages = {package.path: self._source.target(package.path) for v in offer.variants for package in v.packages}
        wanted = {target.sha256 for target in (*manifests, *packages.values())}
        if self._slots.clear(slot, wanted):
            self._context.observe(Transition.SLOT_CLEARED, slot)
        self._source.downloads.prune(target.sha256 for target in packages.values())
        installed = []
        for variant, target in zip(offer.variants, manifests, strict=True):
            manifest = self._manifest(slot, offer, target)
            package, key = self._package(slot, variant, manifest, packages)
            installed.append(InstalledVariant(manifest=target.sha256, package=package, key=key))
        record = SlotRecord(
            workload=offer.workload, release=offer.version, assignment=assignment, variants=tuple(installed)
        )
        self._slots.write_record(slot, record)
        self._context.observe(Transition.RECORD_SIGNED, f"{offer.workload} {offer.version} in {slot}")
        self._slots.clear(slot, {"slot.json", *(name for v in installed for name in (v.manifest, v.package))})
        self._source.downloads.prune(())
        return record

    def _manifest(self, slot: str, offer: Offer, target: Target) -> Manifest:
        here = self._slots.holds(slot, target.sha256)
        content = self._slots.file(slot, target.sha256) if here else self._source.file(target)
        if not here:
            self._context.observe(Transition.MANIFEST_FETCHED, target.path)
        with definitive():
            manifest = decode(content, Manifest, what="a manifest")
            self._check(manifest, offer)
        self._context.observe(Transition.MANIFEST_VERIFIED, target.path)
        if not here:
            self._slots.put(slot, content)
            self._context.observe(Transition.MANIFEST_SAVED, target.path)
        return manifest

    def _check(self, manifest: Manifest, offer: Offer) -> None:
        """Hold a manifest against the offer, this device and this software."""
        if (manifest.workload, manifest.version) != (offer.workload, offer.version):
            raise BrokenReleaseError(
                f"the manifest describes {manifest.workload} {manifest.version}, and "
                f"{offer.workload} {offer.version} was offered",
                "the owner has to look into the assignment",
            )
        if manifest.profile != self._context.profile():
            raise BrokenReleaseError(
                f"the model was made for {manifest.profile}, and this is a {self._context.profile()}",
                "the owner has to assign it another one",
            )
        if _numbers(manifest.minimum_agent) > _OWN_NUMBERS:
            raise BrokenReleaseError(
                f"the model needs agent {manifest.minimum_agent}, and this is {__version__}", "update the agent"
            )
        check_tensors(manifest)

    def _package(
        self, slot: str, variant: VariantOffer, manifest: Manifest, targets: dict[str, Target]
    ) -> tuple[str, Key]:
        """Digest and key of a variant's package, tested and in its slot."""
        offers = sorted(variant.packages, key=lambda package: self._missing(slot, package, targets[package.path]))
        usable = [package for package in offers if not package.base or self._find_base(package.base)]
        if not usable:
            raise BrokenReleaseError(
                "only differences are offered, from models that this device does not have", "offer the whole one too"
            )
        for package in usable[:-1]:
            try:
                return self._install(slot, package, manifest, targets[package.path])
            except BrokenReleaseError as error:
                self._note(package, error)
        return self._install(slot, usable[-1], manifest, targets[usable[-1].path])

    def _missing(self, slot: str, package: PackageOffer, target: Target) -> int:
        """Bytes that have yet to be fetched of a package."""
        if not package.base and self._slots.holds(slot, target.sha256):
            return -1
        return target.length - self._source.downloads.held(target.sha256)

    def _install(self, slot: str, package: PackageOffer, manifest: Manifest, target: Target) -> tuple[str, Key]:
        observe, key = self._context.observe, Key(package.key_id, package.wrapped_key)
        if not package.base and self._slots.holds(slot, target.sha256):
            model = self._open(self._slots.file(slot, target.sha256), key, manifest, package)
            self._test(manifest, model)
            return target.sha256, key
        name = self._source.downloads.fetch(target)
        model = self._open(self._context.folder.read(name) or b"", key, manifest, package)
        self._test(manifest, model)
        if package.base:
            sealed, key = seal_again(model, manifest, self._context.keys)
            observe(Transition.RESEALED, key.key_id)
            digest = self._slots.put(slot, sealed)
        else:
            digest = target.sha256
            self._slots.take(slot, name, digest)
        observe(Transition.PACKAGE_SAVED, package.path)
        return digest, key

    def _open(self, content: bytes, key: Key, manifest: Manifest, package: PackageOffer) -> bytes:
        with definitive():
            model = open_package(content, key, self._context.keys, manifest, self._find_base(package.base))
        self._context.observe(Transition.DELTA_APPLIED if package.base else Transition.PACKAGE_UNSEALED, package.path)
        return model

    def _test(self, manifest: Manifest, model: bytes) -> None:
        """Run the self-test.

        A model that takes the process down with it must not be tried for ever: the tries are counted on the disk.
        """
        observe, about = self._context.observe, f"{manifest.workload} {manifest.version} {manifest.recipe}"
        self._counted()
        observe(Transition.SELF_TEST_STARTED, about)
        try:
            with definitive():
                self_test.run(manifest, self._context.interpreter(model))
        except BrokenReleaseError:
            observe(Transition.SELF_TEST_FAILED, about)
            raise
        observe(Transition.SELF_TEST_PASSED, about)

    def _note(self, package: PackageOffer, error: TinyMLOpsError) -> None:
        self._context.observe(Transition.PACKAGE_REJECTED, f"{package.path}: {error.cause}")


def _numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that compare.

    Raises:
        FormatError: It is none.
    """
    if _VERSION.fullmatch(version) is None:
        raise FormatError(f"{version!r} is not a version of the agent", "the owner has to release it anew")
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


_OWN_NUMBERS = _numbers(re.match(r"\d+(?:\.\d+){0,3}", __version__)[0])  # type: ignore[index] # ours begins with digits
