"""What observing keeps on the disk: one file, whole or absent, so that no count is in two places at once."""

from __future__ import annotations

import contextlib

import msgspec

from tinymlops.edge.samples import Taken
from tinymlops.edge.storage import Folder
from tinymlops.edge.tallies import SavedTally
from tinymlops.errors import FormatError
from tinymlops.wire.encoding import Versioned, decode_packed, encode_packed
from tinymlops.wire.fields import Count
from tinymlops.wire.observations import RecordName

FILE = "observed"


class Outgoing(msgspec.Struct, frozen=True):
    """A record on its way from the counts to the spool."""

    name: RecordName
    content: bytes


class Observed(Versioned, frozen=True, kw_only=True):
    """Counts of windows that are not over, and what has left them.

    Attributes:
        applied: Number of the last consent that was followed and queued.
        taken: Samples that have left on the last day.
        outbox: Closed, noisy and paid for, and perhaps in the spool already.
        tallies: Of windows that are not closed.
    """

    applied: Count = 0
    taken: Taken = Taken()
    outbox: tuple[Outgoing, ...] = ()
    tallies: tuple[SavedTally, ...] = ()


def read_observed(folder: Folder) -> Observed:
    """What was kept. Damaged counts, which no crash of ours can make, are given up: they can't be told from others."""
    content = folder.read(FILE)
    with contextlib.suppress(FormatError):
        return Observed() if content is None else decode_packed(content, Observed, what="the counts of observations")
    return Observed()


def write_observed(folder: Folder, observed: Observed) -> None:
    """Keep it; raises `StorageError` where the disk is full, and the old file is as it was."""
    folder.write(FILE, encode_packed(observed))
