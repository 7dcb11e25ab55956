"""Roots: which keys count. Drafted on one machine, signed wherever the keys are, published when enough have signed.

A draft is the root's metadata with the signatures it has so far, so that it can be carried from machine to machine on
a stick, or copied to several and put together again: root keys never need to meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Root

from tinymlops.errors import ReleaseError
from tinymlops.releases.metadata_files import parse, to_bytes
from tinymlops.releases.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Lifetimes

ROOT_ROLES = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)


class RootStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a draft is.

    Attributes:
        version: Of the root.
        expires: When it runs out.
        threshold: Signatures that its own keys must give.
        keys: Ids of the keys of each role.
        signed_by: Ids of the keys whose signatures hold.
        missing: Signatures still needed, counting those of the root before it; 0 when it can be published.
    """

    version: int
    expires: datetime
    threshold: int
    keys: Mapping[str, tuple[str, ...]]
    signed_by: tuple[str, ...]
    missing: int


def first_root(
    keys: Mapping[str, Sequence[Key]], *, threshold: int, now: datetime, lifetimes: Lifetimes | None = None
) -> bytes:
    """An unsigned first root.

    Args:
        keys: Public keys of root, targets, snapshot and timestamp.
        threshold: How many of the root keys must sign a root.
        now: The time.
        lifetimes: See `Lifetimes`.

    Raises:
        ReleaseError: Fewer root keys than the threshold, or a threshold below 1.
    """
    root = Root(version=1, expires=_end(now, lifetimes), consistent_snapshot=True)
    for role in ROOT_ROLES:
        for key in keys[role]:
            root.add_key(key, role)
    return _with_threshold(root, threshold)


def next_root(
    current: bytes,
    *,
    now: datetime,
    add: Mapping[str, Sequence[Key]] | None = None,
    remove: Mapping[str, Sequence[str]] | None = None,
    threshold: int | None = None,
    lifetimes: Lifetimes | None = None,
) -> bytes:
    """An unsigned root that may follow ``current``; without any change, one that lives longer.

    Args:
        current: The newest root that is published.
        now: The time.
        add: Public keys by role.
        remove: Ids of keys by role.
        threshold: Of the root keys, if it shall change.
        lifetimes: See `Lifetimes`.

    Raises:
        ReleaseError: A key that is not there, or a role that is left with too few.
    """
    root = parse(current, Root, "the current root").signed
    root.version += 1
    root.expires = _end(now, lifetimes)
    for role, keys in (add or {}).items():
        for key in keys:
            root.add_key(key, role)
    for role, key_ids in (remove or {}).items():
        for key_id in key_ids:
            _remove(root, role, key_id)
    return _with_threshold(root, root.roles[ROOT].threshold if threshold is None else threshold)


def sign_root(draft: bytes, signers: Iterable[Signer]) -> bytes:
    """``draft`` with the signatures of ``signers`` added; nothing else changes."""
    metadata = parse(draft, Root, "the draft")
    for signer in signers:
        metadata.sign(signer, append=True)
    return to_bytes(metadata)


def combine_roots(drafts: Sequence[bytes]) -> bytes:
    """One draft with the signatures of all of them.

    Raises:
        ReleaseError: They are copies of different drafts.
    """
    first, *others = (parse(draft, Root, "a draft") for draft in drafts)
    for other in others:
        if other.signed_bytes != first.signed_bytes:
            raise ReleaseError("these are copies of different drafts", "sign copies of one and the same draft")
        first.signatures.update(other.signatures)
    return to_bytes(first)


def root_status(draft: bytes, previous: bytes | None = None) -> RootStatus:
    """How far ``draft`` is on its way from the root ``previous``, or as a first one."""
    metadata = parse(draft, Root, "the root")
    root = metadata.signed
    before = parse(previous, Root, "the root before it").signed if previous is not None else root
    results = [
        each.get_verification_result(ROOT, metadata.signed_bytes, metadata.signatures) for each in (before, root)
    ]
    return RootStatus(
        version=root.version,
        expires=root.expires,
        threshold=root.roles[ROOT].threshold,
        keys={role: tuple(root.roles[role].keyids) for role in ROOT_ROLES},
        signed_by=tuple(dict.fromkeys(key_id for result in results for key_id in result.signed)),
        missing=max(result.missing for result in results),
    )


def _remove(root: Root, role: str, key_id: str) -> None:
    try:
        root.revoke_key(key_id, role)
    except ValueError as error:
        raise ReleaseError(
            f"the {role} role has no key {key_id[:8]}", f"its keys are {', '.join(root.roles[role].keyids)}"
        ) from error


def _with_threshold(root: Root, threshold: int) -> bytes:
    root.roles[ROOT].threshold = threshold
    for role in ROOT_ROLES:
        have, need = len(root.roles[role].keyids), root.roles[role].threshold
        if not 1 <= need <= have:
            raise ReleaseError(f"{need} signatures of {have} {role} keys can't be", "give as many keys as must sign")
    return to_bytes(Metadata(root))


def _end(now: datetime, lifetimes: Lifetimes | None) -> datetime:
    return (now + (lifetimes or Lifetimes()).of(ROOT)).replace(microsecond=0)
