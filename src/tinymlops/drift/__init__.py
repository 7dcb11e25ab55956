"""Whether what devices see today is what their model was made for."""

from tinymlops.drift.values import FLEET, FeatureFinding, Level, MonitorReport, SensorFinding, Verdict

__all__ = ["FLEET", "FeatureFinding", "Level", "MonitorReport", "SensorFinding", "Verdict"]
