"""Whether a store keeps its promises, tried before anything is built on them."""

from __future__ import annotations

import secrets

from tinymlops.errors import StorageError
from tinymlops.store.protocol import ETag, ObjectStore


def probe(store: ObjectStore) -> None:
    """Write, write again under conditions, read and delete a small value.

    Several programs that speak S3 accept the header ``If-None-Match`` and then overwrite all the same (rclone 1.75,
    s3rver 3.7, nanio 0.1.7). Two publishers there would destroy each other's releases.

    Raises:
        StorageError: The store ignores a condition, or gives back something else than was put.
    """
    key = f"probe/{secrets.token_hex(8)}"
    try:
        first = store.put_if_absent(key, b"first")
        if first is None:
            raise _unfit(store, "refuses to create a value under a fresh key")
        if store.put_if_absent(key, b"second") is not None:
            raise _unfit(store, "overwrites a value although it was asked not to (If-None-Match)")
        if store.put_if_match(key, b"third", ETag('"0"')) is not None:
            raise _unfit(store, "replaces a value that has changed since it was read (If-Match)")
        if store.put_if_match(key, b"fourth", first) is None:
            raise _unfit(store, "refuses to replace a value that has not changed (If-Match)")
        if store.get(key) != b"fourth":
            raise _unfit(store, "gives back other bytes than were put")
    finally:
        store.delete(key)


def _unfit(store: ObjectStore, what: str) -> StorageError:
    return StorageError(
        f"the store {store.address} {what}, so two publishers could destroy each other's work",
        "use AWS S3, SeaweedFS, Ceph or another server with conditional writes, or a folder (dir:/path)",
    )
