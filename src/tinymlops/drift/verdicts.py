"""From evidence to a verdict."""

from __future__ import annotations

from tinymlops.drift.evidence import GroupEvidence, Rules
from tinymlops.drift.values import Verdict


def verdict_of(evidence: GroupEvidence, rules: Rules | None = None) -> Verdict:
    """What the windows of a group say.

    Args:
        evidence: Of the group.
        rules: When to speak of drift; the defaults of `Rules` if not given.
    """
    raise NotImplementedError
