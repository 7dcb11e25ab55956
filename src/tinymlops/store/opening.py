"""A store from its address."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from tinymlops.errors import UsageError
from tinymlops.store.directory import DirectoryStore
from tinymlops.store.protocol import ObjectStore


def open_store(address: str, *, endpoint: str | None = None) -> ObjectStore:
    """The store at ``address``.

    Args:
        address: ``dir:/path`` or a plain path for a folder, ``s3://bucket`` or ``s3://bucket/prefix`` for a bucket.
        endpoint: Address of an S3 server other than AWS; else ``TINYMLOPS_S3_ENDPOINT``, else what boto3 itself
            reads (``AWS_ENDPOINT_URL_S3``, its configuration files). Credentials always come from boto3's own chain.

    Raises:
        UsageError: The address is of no known kind.
        StorageError: The folder or bucket can't be used.
        SetupError: boto3 is not installed.
    """
    if address.startswith("s3://"):
        from tinymlops.store.s3 import S3Store

        parts = urlsplit(address)
        chosen = endpoint or os.environ.get("TINYMLOPS_S3_ENDPOINT")
        return S3Store(parts.netloc, prefix=parts.path.strip("/"), endpoint=chosen)
    path = address.removeprefix("dir:")
    if not path or "://" in path:
        raise UsageError(f"{address!r} is not the address of a store", "write dir:/path, a plain path or s3://bucket")
    return DirectoryStore(path)
