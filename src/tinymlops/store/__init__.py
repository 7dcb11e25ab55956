"""Where bytes are kept: one small protocol, a folder or an S3 bucket behind it."""

from tinymlops.store.directory import DirectoryStore
from tinymlops.store.opening import open_store
from tinymlops.store.probe import probe
from tinymlops.store.protocol import ETag, Listed, NotFoundError, ObjectStore, Stored

__all__ = ["DirectoryStore", "ETag", "Listed", "NotFoundError", "ObjectStore", "Stored", "open_store", "probe"]
