"""Packages on their way in: kept as far as they have come, so that nothing is fetched twice."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from tinymlops.edge.link import Body, Link
from tinymlops.edge.metadata import Target
from tinymlops.edge.settings import Limits
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import UnreachableError, UntrustedError

_FOLDER = "downloads"
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class Downloads:
    """Fetches packages.

    Args:
        folder: Keeps them under the digest that they shall have.
        link: To the gateway.
        limits: How much is lost when a download breaks off.
        observe: Told of the transitions.
    """

    def __init__(self, folder: Folder, link: Link, limits: Limits, observe: Observer) -> None:
        self._folder = folder
        self._link = link
        self._limits = limits
        self._observe = observe

    def held(self, sha256: str) -> int:
        """Bytes of a package that are here already."""
        return self._folder.size(_part(sha256)) or 0

    def fetch(self, target: Target) -> str:
        """Name of the file that holds all of ``target``, verified; only what is missing is fetched.

        Raises:
            UntrustedError: What came is not what was signed; it is thrown away.
            UnreachableError: The link broke; what came is kept.
            StorageError: It does not fit on the disk.
        """
        name, start = _part(target.sha256), self.held(target.sha256)
        if start > target.length:
            self._folder.remove(name)
            start = 0
        if start < target.length:
            self._folder.require(target.length - start, target.path)
            self._receive(target, name, start)
        content = self._folder.read(name) or b""
        if len(content) != target.length or hashlib.sha256(content).hexdigest() != target.sha256:
            self._folder.remove(name)
            raise UntrustedError(f"{target.path} is not what was signed", "it was thrown away, and is fetched again")
        self._observe(Transition.PACKAGE_VERIFIED, target.path)
        return name

    def prune(self, wanted: Iterable[str]) -> None:
        """Remove all packages but those with these digests."""
        kept = {f"{digest}.part" for digest in wanted}
        unwanted = [name for name in self._folder.names(_FOLDER) if name not in kept]
        for name in unwanted:
            self._folder.remove(f"{_FOLDER}/{name}")
        if unwanted:
            self._observe(Transition.DOWNLOADS_PRUNED, f"{len(unwanted)}")

    def _receive(self, target: Target, name: str, start: int) -> None:
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._link.open("GET", target.url, most_bytes=target.length, headers=headers) as body:
            begins = _begin(body, start)
            if begins != start:
                self._folder.remove(name)
            resumed = Transition.PACKAGE_RESUMED if begins else Transition.PACKAGE_STARTED
            self._observe(resumed, f"{target.path} at {begins}")
            received = self._save(body, name, target, begins)
        if received < target.length:
            raise UnreachableError(f"{target.path} broke off at {received:,} bytes", "the rest is fetched later")
        self._observe(Transition.PACKAGE_FETCHED, target.path)

    def _save(self, body: Body, name: str, target: Target, received: int) -> int:
        """Append what arrives, a piece at a time; how much there is then."""
        pending = bytearray()
        try:
            for chunk in body.chunks:
                pending += chunk
                if received + len(pending) > target.length:
                    self._folder.remove(name)
                    pending.clear()
                    raise UntrustedError(f"{target.path} is longer than was signed", "it was thrown away")
                if len(pending) >= self._limits.saved_every_bytes:
                    received += self._append(name, pending, target)
        finally:
            received += self._append(name, pending, target) if pending else 0
        return received

    def _append(self, name: str, pending: bytearray, target: Target) -> int:
        size = len(pending)
        self._folder.append(name, bytes(pending))
        pending.clear()
        self._observe(Transition.PACKAGE_PARTIAL, target.path)
        return size


def _part(sha256: str) -> str:
    return f"{_FOLDER}/{sha256}.part"


def _begin(body: Body, asked: int) -> int:
    """Where a body begins: at ``asked``, or at 0 where the other side knows no ranges.

    Raises:
        UntrustedError: Somewhere else.
    """
    if body.status == 200:
        return 0
    told = _RANGE.fullmatch(body.headers.get("content-range", ""))
    if told is None or int(told[1]) != asked:
        raise UntrustedError("the gateway sends another part than the one we asked for", "it is asked for again")
    return asked
