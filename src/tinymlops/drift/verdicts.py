"""From evidence to a verdict."""

from __future__ import annotations

from tinymlops.drift.evidence import GroupEvidence, Rules, SensorEvidence
from tinymlops.drift.findings import Judged, judge
from tinymlops.drift.performance import Performance, performance_of
from tinymlops.drift.values import Level, SensorFinding, Verdict

_MOST_NAMED = 3
_SENSORS = {
    "missing": "sent no values on some channel",
    "stuck": "sent the same value again and again",
    "silent": "sent windows before and send none any more",
    "new": "sent their first window",
}


def verdict_of(evidence: GroupEvidence, rules: Rules | None = None) -> Verdict:
    """What the windows of a group say.

    Drift is a shift that is significant (Holm over the features), at least ``rules.effect`` large, and still there
    when its strongest slices of time are left out; one that lacks size or duration makes one watch. Nothing at all is
    told of a group of fewer than ``rules.k`` devices, and no number of sensors that is below it.

    Args:
        evidence: Of the group.
        rules: When to speak of drift; the defaults of `Rules` if not given.
    """
    rules = rules or Rules()
    if evidence.devices < rules.k:
        return _verdict(evidence, Level.HIDDEN, f"fewer than {rules.k} devices: nothing is shown of them")
    judged = judge(evidence, rules)
    level, why = _summary(evidence, judged, rules)
    return _verdict(
        evidence,
        level,
        why,
        judged=judged,
        sensors=_sensors(evidence.sensors, rules.k),
        performance=performance_of(evidence, rules),
    )


def _verdict(
    evidence: GroupEvidence,
    level: Level,
    why: str,
    *,
    judged: tuple[Judged, ...] = (),
    sensors: tuple[SensorFinding, ...] = (),
    performance: Performance | None = None,
) -> Verdict:
    hidden = level is Level.HIDDEN
    return Verdict(
        workload=evidence.workload,
        release=evidence.release,
        group=evidence.group,
        began_s=evidence.began_s,
        ended_s=evidence.ended_s,
        level=level,
        why=why,
        devices=0 if hidden else evidence.devices,
        queries=0 if hidden else evidence.queries,
        features=tuple(one.finding for one in judged),
        sensors=sensors,
        performance=performance.value if performance else None,
        performance_low=performance.low if performance else None,
        performance_high=performance.high if performance else None,
        performance_reference=performance.reference if performance else None,
    )


def _summary(evidence: GroupEvidence, judged: tuple[Judged, ...], rules: Rules) -> tuple[Level, str]:
    if evidence.queries < rules.least_queries:
        return Level.UNKNOWN, f"{evidence.queries:,} queries; {rules.least_queries:,} are needed to tell"
    if not judged:
        return Level.UNKNOWN, "too few counts stand out of the devices' noise to tell"
    for level, how in ((Level.DRIFT, "and stays"), (Level.WATCH, "but too little or not for long enough")):
        blamed = [one.finding for one in judged if one.level is level]
        if blamed:
            named = ", ".join(f"{one.feature} (stability index {one.effect:.2g})" for one in blamed[:_MOST_NAMED])
            more = f" and {len(blamed) - _MOST_NAMED} more" if len(blamed) > _MOST_NAMED else ""
            return level, f"{named}{more} moved, {how}"
    return Level.NONE, f"none of {len(judged)} features moved by more than chance, noise and differences of devices"


def _sensors(sensors: SensorEvidence, k: int) -> tuple[SensorFinding, ...]:
    counted = {kind: getattr(sensors, kind) for kind in _SENSORS}
    return tuple(
        SensorFinding(
            kind=kind,
            devices=devices if devices >= k else 0,
            what=f"{f'{devices:,}' if devices >= k else f'fewer than {k}'} devices {_SENSORS[kind]}",
        )
        for kind, devices in counted.items()
        if devices
    )
