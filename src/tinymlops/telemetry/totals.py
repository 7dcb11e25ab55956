"""How much has been loaded since counting began: for metrics, which restart with no process."""

from __future__ import annotations

from tinymlops.errors import StorageError
from tinymlops.store import ETag, NotFoundError, ObjectStore
from tinymlops.telemetry.values import Loaded
from tinymlops.wire.encoding import Versioned, decode, encode

_KEY = "ingest/totals.json"
_ATTEMPTS = 20


class Totals(Versioned, frozen=True, kw_only=True):
    """All loads together.

    Attributes:
        loaded: Their sum.
    """

    loaded: Loaded


def totals(store: ObjectStore) -> Loaded:
    """What was loaded so far. A loader that is killed between its work and its count is not in it."""
    return _read(store)[0]


def count(store: ObjectStore, loaded: Loaded) -> None:
    """Add a load.

    Raises:
        StorageError: The store can't be written, or others keep counting.
    """
    for _ in range(_ATTEMPTS):
        before, etag = _read(store)
        content = encode(Totals(loaded=before + loaded))
        written = store.put_if_absent(_KEY, content) if etag is None else store.put_if_match(_KEY, content, etag)
        if written is not None:
            return
    raise StorageError("others kept counting loads", "run one loader at a time")


def _read(store: ObjectStore) -> tuple[Loaded, ETag | None]:
    try:
        content, etag = store.get_tagged(_KEY)
    except NotFoundError:
        return Loaded(), None
    return decode(content, Totals, what=_KEY).loaded, etag
