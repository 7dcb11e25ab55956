"""What matters most in a report: the release that devices are meant to run, and whether it calls for another."""

from __future__ import annotations

from tinymlops.drift import FLEET, Level, MonitorReport, Verdict

_JUDGED = frozenset({Level.NONE, Level.WATCH, Level.DRIFT})


def leading(report: MonitorReport, k: int) -> Verdict | None:
    """The fleet's verdict of the newest release that could be judged; None where nothing may be shown.

    A release in its first stage of a roll-out has too few devices to be judged: the one before it leads until then.

    Args:
        report: Of any look, perhaps one with a smaller k.
        k: Devices that anything shown now must rest on.
    """
    fleets = [one for one in shown(report, k) if one.group == FLEET]
    judged = [one for one in fleets if one.level in _JUDGED] or fleets
    return max(judged, key=lambda one: one.release, default=None)


def alarm(report: MonitorReport, k: int) -> Verdict | None:
    """The verdict to act on: drift of the leading release, in the fleet or else in the group that moved furthest.

    Drift of a release that another has replaced calls for nothing: its devices are on their way.
    """
    ahead = leading(report, k)
    if ahead is None:
        return None
    drifted = [one for one in shown(report, k) if one.release == ahead.release and one.level is Level.DRIFT]
    return max(drifted, key=lambda one: (one.group == FLEET, effect_of(one)), default=None)


def shown(report: MonitorReport, k: int) -> tuple[Verdict, ...]:
    """Verdicts that rest on at least k devices."""
    return tuple(one for one in report.verdicts if one.level is not Level.HIDDEN and one.devices >= k)


def effect_of(verdict: Verdict) -> float:
    """The largest effect of any feature."""
    return max((one.effect for one in verdict.features), default=0.0)
