"""Whether what devices see today is what their model was made for."""

from tinymlops.drift.evidence import FeatureEvidence, GroupEvidence, Rules, SensorEvidence, scatter_of
from tinymlops.drift.values import FLEET, FeatureFinding, Level, MonitorReport, SensorFinding, Verdict
from tinymlops.drift.verdicts import verdict_of

__all__ = [
    "FLEET",
    "FeatureEvidence",
    "FeatureFinding",
    "GroupEvidence",
    "Level",
    "MonitorReport",
    "Rules",
    "SensorEvidence",
    "SensorFinding",
    "Verdict",
    "scatter_of",
    "verdict_of",
]
