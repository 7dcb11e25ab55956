"""What loading did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a load did.

    Attributes:
        segments: That are gone from the inbox.
        windows: New in the table.
        samples: Likewise.
        consents: Likewise.
        again: Rows that the tables had already.
        quarantined: Not believed, and kept apart.
        refused: Reason → records that are not kept anywhere.
    """

    segments: int = 0
    windows: int = 0
    samples: int = 0
    consents: int = 0
    again: int = 0
    quarantined: int = 0
    refused: Mapping[str, int] = msgspec.field(default_factory=dict)

    @property
    def numbers(self) -> Mapping[str, int]:
        """All but what was refused."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "refused"}

    def __add__(self, other: Loaded) -> Loaded:
        sums = {name: number + other.numbers[name] for name, number in self.numbers.items()}
        return Loaded(**sums, refused=dict(Counter(self.refused) + Counter(other.refused)))
