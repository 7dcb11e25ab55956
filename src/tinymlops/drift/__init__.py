"""Whether what devices see today is what their model was made for."""

from tinymlops.drift.evidence import FeatureEvidence, GroupEvidence, Rules, SensorEvidence, scatter_of
from tinymlops.drift.rebasing import rebased, rebased_all
from tinymlops.drift.sensors import DeviceHistory, SensorMasks, sensors_of
from tinymlops.drift.suppression import suppress
from tinymlops.drift.values import FLEET, FeatureFinding, Level, MonitorReport, SensorFinding, Verdict
from tinymlops.drift.verdicts import verdict_of

__all__ = [
    "FLEET",
    "DeviceHistory",
    "FeatureEvidence",
    "FeatureFinding",
    "GroupEvidence",
    "Level",
    "MonitorReport",
    "Rules",
    "SensorEvidence",
    "SensorFinding",
    "SensorMasks",
    "Verdict",
    "rebased",
    "rebased_all",
    "scatter_of",
    "sensors_of",
    "suppress",
    "verdict_of",
]
