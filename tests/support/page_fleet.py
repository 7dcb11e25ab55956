"""A made-up fleet, written into a record at once."""

from __future__ import annotations

import os

from tinymlops.fleet import Fleet, tables
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.messages import Phase, ReleaseHealth

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
