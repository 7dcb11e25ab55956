"""The ledger of what this device has given away: noise hides one query in one window, and many windows add up.

What is spent is on the disk before anything leaves for it, so that no crash and no restart gives privacy back. When the
budget of thirty days is spent, no more histograms leave.
"""

from __future__ import annotations

import msgspec

from tinymlops.edge.noise import MICRO
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import FormatError
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.fields import Count, Moment

FILE = "privacy.json"
PERIOD_S = 30 * 86_400.0


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """One release of histograms: when, and its ε in millionths."""

    at_s: Moment
    micro_epsilon: Count


class _Book(Versioned, frozen=True, kw_only=True):
    budget: Count
    spent: tuple[Spent, ...] = ()


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """How a ledger stands.

    Attributes:
        spent: ε of the last thirty days.
        budget: Of thirty days.
    """

    spent: float
    budget: float


class Ledger:
    """What may still be given away.

    Args:
        folder: Of the agent.
        budget: ε of thirty days.
        observe: Told of the transitions.
    """

    def __init__(self, folder: Folder, budget: float, observe: Observer) -> None:
        self._folder, self._observe = folder, observe
        self._budget = round(budget * MICRO)

    def spend(self, micro_epsilon: int, now_s: float) -> bool:
        """Spend so much, durably; False, and nothing is spent, where the budget does not reach.

        Args:
            micro_epsilon: ε in millionths.
            now_s: Seconds since 1970.

        Raises:
            StorageError: It can't be noted; nothing may leave for it.
        """
        recent = self._recent(now_s)
        if sum(one.micro_epsilon for one in recent) + micro_epsilon > self._budget:
            return False
        book = _Book(budget=self._budget, spent=(*recent, Spent(now_s, micro_epsilon)))
        self._folder.write(FILE, encode(book))
        self._observe(Transition.PRIVACY_SPENT, f"{micro_epsilon / MICRO:g}")
        return True

    def _recent(self, now_s: float) -> tuple[Spent, ...]:
        """What counts still; also what is noted for a time to come, since a clock may have been put back."""
        content = self._folder.read(FILE)
        if content is None:
            return ()
        try:
            book = decode(content, _Book, what="the privacy ledger")
        except FormatError:
            # Nobody knows what was spent. All of it, then: in thirty days that is true
            lost = (Spent(now_s, self._budget),)
            self._folder.write(FILE, encode(_Book(budget=self._budget, spent=lost)))
            self._observe(Transition.PRIVACY_SPENT, "the ledger is damaged: nothing leaves for thirty days")
            return lost
        return tuple(one for one in book.spent if one.at_s > now_s - PERIOD_S)


def balance_in(folder: Folder, now_s: float) -> Balance | None:
    """How the ledger in an agent's folder stands; reads only. None before the first window, and where it is damaged."""
    content = folder.read(FILE)
    if content is None:
        return None
    try:
        book = decode(content, _Book, what="the privacy ledger")
    except FormatError:
        return None
    recent = sum(one.micro_epsilon for one in book.spent if one.at_s > now_s - PERIOD_S)
    return Balance(spent=recent / MICRO, budget=book.budget / MICRO)
