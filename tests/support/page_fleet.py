"""A made-up fleet, written into a record at once."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tinymlops.billing.invoices import Account
from tinymlops.drift.values import FeatureFinding, Level, MonitorReport, Verdict
from tinymlops.fleet import Fleet, VoucherTerms, tables
from tinymlops.monitoring.records import MonitorRecords
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.retraining.values import Outcome, RetrainingRecord, Trigger
from tinymlops.store import ObjectStore
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.messages import Phase, ReleaseHealth

_DAY_S = 86_400
PROFILES = ("raspberry-pi-zero-2", "raspberry-pi-5", "x86-gateway", "raspberry-pi-3-32bit")
REGIONS = ("north", "south", "harbour")


def fill(fleet: Fleet, count: int, *, now_s: float, workload: str = "activity") -> list[str]:
    """Devices with a release each, past the gateway; their ids."""
    ids = [f"{number:08x}{os.urandom(12).hex()}" for number in range(count)]
    devices = [
        {
            "device_id": device_id, "signing_key": os.urandom(32), "sealing_key": os.urandom(32),
            "profile": PROFILES[number % 4], "cipher": "chacha20-poly1305", "key_protection": "file",
            "region": REGIONS[number % 3], "agent_version": "0.1.0", "enrolled_s": now_s - 9e6, "revoked_s": None,
            "seen_s": now_s - number % 200 * 600.0, "sequence": 40, "battery": None if number % 5 else 0.6,
            "free_bytes": 10**9, "dropped_observations": 0,
        }
        for number, device_id in enumerate(ids)
    ]  # fmt: skip
    said = [
        ReleaseHealth(
            workload=workload, version=3 if number % 10 else 2, assignment=1, recipe="pruned-int8", queries=number,
            phase=Phase.FAILED if number % 97 == 5 else Phase.TRIAL if number % 23 == 4 else Phase.GOOD,
        )
        for number in range(count)
    ]  # fmt: skip
    health = [
        {
            "device_id": device_id, "workload": one.workload, "version": one.version, "phase": one.phase.value,
            "reported_s": now_s - 60, "content": encode_packed(one),
        }
        for device_id, one in zip(ids, said, strict=True)
    ]  # fmt: skip
    with fleet._database.writing() as connection:
        connection.execute(tables.devices.insert(), devices)
        connection.execute(tables.health.insert(), health)
    return ids


def tell(fleet: Fleet, telemetry: ObjectStore, devices: list[str], *, now_s: float) -> None:
    """Six weeks of looks with a drift in one region, a retraining, and a customer."""
    records = MonitorRecords(telemetry)
    for day in range(42):
        records.keep(_look(day, now_s - (41 - day) * _DAY_S, len(devices)))
    RetrainingRecords(telemetry).keep(
        RetrainingRecord(
            workload="activity", key="drift-1", trigger=Trigger.DRIFT, began_s=now_s - 9 * _DAY_S,
            why="region=harbour drifts: channel 3 mean moved (0.31) for three looks", ended_s=now_s - 9 * _DAY_S + 900,
            table_version=17, outcome=Outcome.PROMOTED, release=3, champion=2, metric="accuracy",
            reason="Better on recent rows by 0.021 (0.012 to 0.030), on held-out rows by 0.004 (0.001 to 0.008); no "
            "group is harmed.",
        )
    )  # fmt: skip
    fleet.till.save_account(Account(name="acme"), now_s=now_s)
    key = Ed25519PrivateKey.generate()
    for device_id in devices[:3]:
        terms = VoucherTerms(
            serial=os.urandom(16).hex(), device_id=device_id, workload="activity", account="acme", quota=50_000,
            life_s=90 * _DAY_S,
        )  # fmt: skip
        fleet.till.issue(terms, key.sign, now_s=now_s)


def _look(day: int, ended_s: float, devices: int) -> MonitorReport:
    moved = max(0.0, min(1.0, (day - 20) / 8)) if day < 34 else 0.1
    groups = (
        ("fleet", devices, 0.012 + 0.09 * moved), ("region=north", devices // 3, 0.014),
        ("region=south", devices // 3, 0.018), ("region=harbour", devices // 3, 0.02 + 0.29 * moved),
    )  # fmt: skip
    shown = [_verdict(group, count, effect + 0.006 * (day * 7 % 5), ended_s) for group, count, effect in groups]
    hidden = Verdict(
        workload="activity", release=3, group="region=islet", began_s=ended_s - 7 * _DAY_S, ended_s=ended_s,
        level=Level.HIDDEN, why="fewer than 20 devices",
    )  # fmt: skip
    return MonitorReport(
        workload="activity", began_s=ended_s - 7 * _DAY_S, ended_s=ended_s, made_s=ended_s, table_version=day,
        verdicts=(*shown, hidden),
    )  # fmt: skip


def _verdict(group: str, devices: int, effect: float, ended_s: float) -> Verdict:
    level = Level.DRIFT if effect > 0.2 else Level.WATCH if effect > 0.08 else Level.NONE
    words = {Level.DRIFT: "channel 3 mean moved", Level.WATCH: "channel 3 mean moved a little"}
    finding = FeatureFinding(feature="channel 3 mean", kind="input", p_value=0.01, adjusted=0.02, effect=effect)
    return Verdict(
        workload="activity", release=3, group=group, began_s=ended_s - 7 * _DAY_S, ended_s=ended_s, level=level,
        why=words.get(level, "no feature moved more than noise and chance explain"), devices=devices,
        queries=devices * 900, features=(finding,),
    )  # fmt: skip
