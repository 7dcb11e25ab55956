"""What the pages show, gathered from the records."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from tinymlops.drift.values import Level, Verdict
from tinymlops.fleet import Device, Fleet, HealthOf, Incident, IssuedVoucher, PastReport
from tinymlops.gateway.pages.consents import Agreement, Agreements
from tinymlops.gateway.pages.drawing import Chart, drift_chart, effect_of
from tinymlops.monitoring.records import MonitorRecords
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.retraining.values import RetrainingRecord
from tinymlops.rollouts import Rollout
from tinymlops.store import ObjectStore
from tinymlops.wire.encoding import decode

LOOKS, RETRAININGS, INCIDENTS, ROLLOUTS = 90, 5, 10, 8
PAGE = 100
_DAY_S = 86_400
_TTL_S = 30.0
"""Looks and retrainings come hours apart, and each is an object of the store."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Devices of a profile that say the same of a release.

    Attributes:
        profile: Their kind.
        release: Workload and version, or empty where none is there yet.
        phases: Phase → how many.
        devices: All of them.
    """

    profile: str
    release: str
    phases: dict[str, int]
    devices: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A roll-out.

    Attributes:
        rollout: As it is kept.
        reached: Devices that it has come to.
        good: Of them, those that run its release well.
        members: All of its devices.
        updated_s: When it was last changed.
    """

    rollout: Rollout
    reached: int
    good: int
    members: int
    updated_s: float


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that somebody looks at.

    Attributes:
        workload: Which task.
        ended_s: Of the newest look's windows.
        verdicts: Of the newest look, with their effects; hidden ones are left out.
        hidden: Groups of which nothing may be shown.
        chart: Drift over time, or None.
        retrainings: The newest first.
    """

    workload: str
    ended_s: float | None
    verdicts: tuple[tuple[Verdict, float | None], ...]
    hidden: int
    chart: Chart | None
    retrainings: tuple[RetrainingRecord, ...]


class Metered(msgspec.Struct, frozen=True, kw_only=True):
    """Pay per query.

    Attributes:
        month: This one.
        use: (customer, model) → queries settled in it.
        vouchers: That still pay for something.
        incidents: The newest first, some of them.
        all_incidents: How many there are.
    """

    month: str
    use: dict[tuple[str, str], int]
    vouchers: int
    incidents: tuple[Incident, ...]
    all_incidents: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The first page.

    Attributes:
        devices: That are let in.
        heard: Of them, those that were heard in the last day.
        revoked: That were shut out.
        kinds: By profile and release.
        rollouts: The one that was changed last first.
        watched: Workloads with drift or retraining.
        agreement: Consents and privacy; None without tables.
        metered: None where nothing is sold.
    """

    devices: int
    heard: int
    revoked: int
    kinds: tuple[Kind, ...]
    rollouts: tuple[Progress, ...]
    watched: tuple[Watched, ...]
    agreement: Agreement | None
    metered: Metered | None


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Some devices.

    Attributes:
        rows: Each with its releases.
        after: For the next page, or None.
        profiles: That there are.
        regions: Likewise.
    """

    rows: tuple[tuple[Device, tuple[HealthOf, ...]], ...]
    after: str | None
    profiles: tuple[str, ...]
    regions: tuple[str, ...]


class OneDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device: what it says of itself, and what it is sold. Nothing of what it observes.

    Attributes:
        device: As it is recorded.
        releases: By its newest report.
        reports: The last ones, the newest first.
        vouchers: In the order of their use.
        incidents: The newest first.
    """

    device: Device
    releases: tuple[HealthOf, ...]
    reports: tuple[PastReport, ...]
    vouchers: tuple[IssuedVoucher, ...]
    incidents: tuple[Incident, ...]


class Facts:
    """Asks the records.

    Args:
        fleet: Of the devices.
        telemetry: Store of reports and retrainings.
        agreements: Of the people, or None without tables.
    """

    def __init__(self, fleet: Fleet, telemetry: ObjectStore, agreements: Agreements | None) -> None:
        self._fleet, self._agreements = fleet, agreements
        self._monitor, self._retrainings = MonitorRecords(telemetry), RetrainingRecords(telemetry)
        self._lock = threading.Lock()
        self._looked: tuple[Watched, ...] | None = None
        self._looked_at = 0.0

    def overview(self, now_s: float) -> Overview:
        """The first page."""
        everyone, health = self._fleet.devices(revoked=True), self._fleet.health()
        devices = [one for one in everyone if one.revoked_s is None]
        return Overview(
            devices=len(devices),
            heard=sum(one.seen_s is not None and now_s - one.seen_s < _DAY_S for one in devices),
            revoked=len(everyone) - len(devices),
            kinds=_kinds(devices, health),
            rollouts=self._rollouts(health),
            watched=self._all_watched(),
            agreement=self._agreements.now() if self._agreements is not None else None,
            metered=self._metered(now_s),
        )  # fmt: skip

    def devices(self, *, profile: str, region: str, tag: str, after: str) -> Chosen:
        """A page of devices; empty words choose nothing."""
        found = self._fleet.devices(
            profiles=[profile] * bool(profile), regions=[region] * bool(region), tags=[tag] * bool(tag),
            revoked=True, after=after, limit=PAGE + 1,
        )  # fmt: skip
        shown = found[:PAGE]
        releases: dict[str, list[HealthOf]] = {one.device_id: [] for one in shown}
        for one in self._fleet.health(device_ids=releases):
            releases[one.device_id].append(one)
        everyone = self._fleet.devices(revoked=True)
        return Chosen(
            rows=tuple((one, tuple(releases[one.device_id])) for one in shown),
            after=shown[-1].device_id if len(found) > PAGE else None,
            profiles=tuple(sorted({one.profile for one in everyone})),
            regions=tuple(sorted({one.region for one in everyone if one.region})),
        )

    def device(self, device_id: str) -> OneDevice | None:
        """All of a device, or None where there is none."""
        device = self._fleet.find_device(device_id)
        if device is None:
            return None
        return OneDevice(
            device=device,
            releases=self._fleet.health(device_ids=[device_id]),
            reports=self._fleet.history(device_id)[::-1],
            vouchers=self._fleet.till.vouchers(device_id=device_id),
            incidents=self._fleet.till.incidents([device_id]),
        )

    def _rollouts(self, health: Sequence[HealthOf]) -> tuple[Progress, ...]:
        good = {
            (one.device_id, one.health.workload, one.health.version) for one in health if one.health.phase == "good"
        }
        found = []
        for stored in self._fleet.rollouts()[:ROLLOUTS]:
            rollout = decode(stored.document, Rollout, what="a roll-out")
            names = [(one.device_id, rollout.workload, rollout.version) for one in rollout.reached()]
            progress = Progress(
                rollout=rollout, reached=len(names), good=sum(name in good for name in names),
                members=len(rollout.members), updated_s=stored.updated_s,
            )  # fmt: skip
            found.append(progress)
        return tuple(found)

    def _all_watched(self) -> tuple[Watched, ...]:
        with self._lock:
            if self._looked is None or time.monotonic() - self._looked_at > _TTL_S:
                names = sorted({*self._monitor.workloads(), *self._retrainings.workloads()})
                self._looked, self._looked_at = tuple(self._watched(name) for name in names), time.monotonic()
            return self._looked

    def _watched(self, workload: str) -> Watched:
        history = self._monitor.history(workload, LOOKS)
        newest = history[-1].verdicts if history else ()
        return Watched(
            workload=workload,
            ended_s=history[-1].ended_s if history else None,
            verdicts=tuple((one, effect_of(one)) for one in newest if one.level is not Level.HIDDEN),
            hidden=sum(one.level is Level.HIDDEN for one in newest),
            chart=drift_chart(history),
            retrainings=self._retrainings.history(workload, RETRAININGS)[::-1],
        )

    def _metered(self, now_s: float) -> Metered | None:
        vouchers = self._fleet.till.vouchers()
        if not vouchers:
            return None
        month = time.strftime("%Y-%m", time.gmtime(now_s))
        use: Counter[tuple[str, str]] = Counter()
        for (account, _, workload), units in self._fleet.till.use(month).items():
            use[account, workload] += units
        incidents = self._fleet.till.incidents()
        alive = (one for one in vouchers if one.revoked_s is None and one.ends_s > now_s)
        return Metered(
            month=month, use=dict(use), vouchers=sum(one.mark.used < one.quota for one in alive),
            incidents=incidents[:INCIDENTS], all_incidents=len(incidents),
        )  # fmt: skip


def _kinds(devices: Iterable[Device], health: Iterable[HealthOf]) -> tuple[Kind, ...]:
    """Devices by profile and release; those without any stand under an empty release."""
    profiles = {one.device_id: one.profile for one in devices}
    counts: dict[tuple[str, str], Counter[str]] = {}
    silent = set(profiles)
    for one in health:
        silent.discard(one.device_id)
        key = (profiles.get(one.device_id, "?"), f"{one.health.workload} {one.health.version}")
        counts.setdefault(key, Counter())[one.health.phase.value] += 1
    for device_id in silent:
        counts.setdefault((profiles[device_id], ""), Counter())["no release yet"] += 1
    return tuple(
        Kind(profile=profile, release=release, phases=dict(sorted(phases.items())), devices=phases.total())
        for (profile, release), phases in sorted(counts.items())
    )
