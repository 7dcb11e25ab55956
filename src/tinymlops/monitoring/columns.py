"""Where each bin of each feature of a release is kept while windows are summed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from tinymlops.monitoring.references import References, Variant
from tinymlops.wire.observations import Feature

_Place = tuple[str, str, tuple[float, ...]]
Columns = NDArray[np.int64]


class Space:
    """All features of a release beside each other, each once: variants that count alike share their columns.

    Args:
        references: Of the release.
    """

    def __init__(self, references: References) -> None:
        self._references = references
        self._places: dict[_Place, int] = {}
        self.features: list[Feature] = []
        for layout in references.layouts.values():
            for feature in layout:
                if self._places.setdefault(_place(feature), len(self.features)) == len(self.features):
                    self.features.append(feature)

    @cached_property
    def starts(self) -> Columns:
        """First column of each feature, and behind the last one how many there are: shape (features + 1,)."""
        return np.concatenate([[0], np.cumsum([len(one.reference) for one in self.features], dtype=np.int64)])

    def of(self, feature: int) -> slice:
        """Columns of a feature."""
        return slice(int(self.starts[feature]), int(self.starts[feature + 1]))

    @property
    def width(self) -> int:
        """How many columns there are."""
        return int(self.starts[-1])

    def layout(self, layout: str) -> tuple[Columns, Columns]:
        """Which features a layout has, and the column of each of its bins; shapes (its features,) and (its bins,).

        Raises:
            KeyError: No variant of the release has it.
        """
        features = np.array([self._places[_place(one)] for one in self._references.layouts[layout]], np.int64)
        parts = [np.arange(self.starts[one], self.starts[one + 1]) for one in features]
        return features, np.concatenate(parts) if parts else np.empty(0, np.int64)

    def expected(self, queries: Mapping[tuple[Variant, str], float]) -> tuple[Feature, ...]:
        """The features with the references that a group's mix of variants has.

        Args:
            queries: Variant and layout → queries that it answered in the group.
        """
        return tuple(self._mixed(feature, queries) for feature in self.features)

    def _mixed(self, feature: Feature, queries: Mapping[tuple[Variant, str], float]) -> Feature:
        place = _place(feature)
        known = [
            (one, count)
            for (variant, layout), count in queries.items()
            for one in self._references.features(variant, layout)
            if count and _place(one) == place
        ]
        if not known:
            return feature
        weights = np.array([count for _, count in known], np.float64)
        shares = np.average([one.reference for one, _ in known], axis=0, weights=weights)
        # The share of each variant's reference was counted on its own rows: take the least, which promises least.
        return msgspec.structs.replace(feature, reference=_fractions(shares), rows=min(one.rows for one, _ in known))


def _place(feature: Feature) -> _Place:
    return feature.name, str(feature.kind), feature.edges


def _fractions(shares: Iterable[float]) -> tuple[float, ...]:
    return tuple(min(max(float(share), 0.0), 1.0) for share in shares)
