"""A new reference out of what devices saw: after a promotion, or once a shift is the new normal."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from tinymlops.drift.evidence import FeatureEvidence
from tinymlops.drift.findings import tally_of
from tinymlops.drift.statistics import excess_between_slices, simplex, variance_of_shares
from tinymlops.errors import UsageError
from tinymlops.wire.observations import Feature


def rebased(evidence: FeatureEvidence) -> Feature:
    """The feature with the shares of ``evidence`` as its reference.

    Its rows are as many as would leave the shares as uncertain as they are as a forecast of one slice to come: by noise
    and chance, by how devices differ, and by how much one slice differed from the next. So give it slices as long as
    the spans that it will be held against: what ordinary weeks do to each other is no drift then.

    Raises:
        UsageError: The counts do not stand out of the noise.
    """
    tally = tally_of(evidence)
    if not tally.clear:
        raise UsageError(f"the counts of {evidence.feature.name!r} do not stand out of their noise", "sum more windows")
    shares = simplex(tally.total / tally.rows)
    rows = float(np.sum(shares * (1 - shares))) / (variance_of_shares(tally) + excess_between_slices(tally))
    reference = tuple(round(float(share), 6) for share in shares)
    return msgspec.structs.replace(evidence.feature, reference=reference, rows=max(int(rows), 1))


def rebased_all(evidence: Iterable[FeatureEvidence]) -> tuple[Feature, ...]:
    """`rebased`, feature by feature."""
    return tuple(rebased(one) for one in evidence)
