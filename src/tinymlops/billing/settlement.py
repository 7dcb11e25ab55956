"""What becomes of a checkpoint: a decision table, and nothing else.

| the device's checkpoint …                                  | verdict   | billed                         |
|------------------------------------------------------------|-----------|--------------------------------|
| ends at a place that we know                               | stale     | nothing                        |
| ends before our last place, at another head                | fork      | nothing; evidence is kept      |
| starts behind our last place                               | gap       | nothing; it is asked for again |
| passes our last place at another head                      | fork      | nothing; evidence is kept      |
| passes our last place at our head                          | billed    | the difference                 |
| likewise, and goes beyond the quota                        | overspent | the difference up to the quota |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from tinymlops.errors import FormatError
from tinymlops.wire.metering import RECORD_BYTES, Checkpoint, Mark, Verdict, end_of, walk

HeadAt = Callable[[int], bytes | None]
"""The head at a sequence number that is settled already."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about a checkpoint.

    Attributes:
        verdict: For the device.
        mark: Our place in the chain afterwards.
        records: Those that are new to us.
        units: Queries to bill.
        excess: Queries beyond the quota, in these records.
    """

    verdict: Verdict
    mark: Mark
    records: bytes = b""
    units: int = 0
    excess: int = 0

    @property
    def is_incident(self) -> bool:
        """Whether a person has to look at it."""
        return self.verdict in {Verdict.FORK, Verdict.OVERSPENT}


def decide(known: Mark, quota: int, checkpoint: Checkpoint, records: bytes, head_at: HeadAt) -> Decision:
    """What becomes of a checkpoint whose signature and records hold.

    Args:
        known: Our place in the voucher's chain.
        quota: Of the voucher.
        checkpoint: As `tinymlops.wire.metering.checked_report` gave it.
        records: Of the same report.
        head_at: Heads that we have passed; asked for a place up to ``known`` only.

    Raises:
        FormatError: The checkpoint counts other queries than its chain holds.
    """
    start, end = checkpoint.start, checkpoint.end
    if end.seq <= known.seq:
        same = (known.head if end.seq == known.seq else head_at(end.seq)) == end.head
        return Decision(verdict=Verdict.STALE if same else Verdict.FORK, mark=known)
    if start.seq > known.seq:
        return Decision(verdict=Verdict.GAP, mark=known)
    cut = (known.seq - start.seq) * RECORD_BYTES
    passed = end_of(start, records[:cut])
    if passed.head != known.head:
        return Decision(verdict=Verdict.FORK, mark=known)
    # The records lead from `passed` to the end: that was checked, and the digest of a place binds all before it.
    after = Mark(end.seq, known.used + end.used - passed.used, end.head)
    if after != end:
        raise FormatError("the checkpoint counts other queries than its chain holds", "send the count of the records")
    units = min(after.used, quota) - min(known.used, quota)
    excess = after.used - known.used - units
    verdict = Verdict.OVERSPENT if excess else Verdict.BILLED
    return Decision(verdict=verdict, mark=after, records=records[cut:], units=units, excess=excess)


def heads_of(start: Mark, records: bytes) -> Iterator[tuple[int, bytes]]:
    """Sequence number and head of every place behind ``start``."""
    for mark in walk(start, records):
        yield mark.seq, mark.head
