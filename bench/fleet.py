"""A thousand devices roll a release out, with a tenth of the messages lost and a fiftieth of the rounds crashing.

Prints how long it took against the same fleet without bad luck, and whether every device ended with the verified
release after a start without network.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import structlog

from tests.support.owner import FEATURES, PROFILES, WORKLOAD, make_owner, tiny_model
from tinymlops.files import sha256
from tinymlops.fleet import CodeTerms
from tinymlops.gateway import GatewayKey, GatewaySettings, create_app
from tinymlops.rollouts import Limits, RolloutStatus
from tinymlops.testing import NO_FAULTS, FakeFleet, Faults, SimulatedTime

START_S = 1_800_000_000.0
DAY_S = 86_400.0
BAD_LUCK = Faults(lost_request=0.05, lost_answer=0.05, crash=0.02)


def roll_out(devices: int, faults: Faults, folder: Path) -> tuple[float, int]:
    """Seconds that the whole took here, and how many devices ended with the release."""
    begun = time.perf_counter()
    (folder / "owner").mkdir()
    now = SimulatedTime(START_S)
    owner, key = make_owner(folder / "owner", bin_bits=8, clock=now), GatewayKey.generate()
    settings = GatewaySettings(rates=None, timestamp_ttl_s=0.0, poll_s=3600.0)
    app = create_app(settings, owner.fleet, owner.publisher.repository.store, key, clock=now)
    terms = CodeTerms(expires_s=START_S + DAY_S, root_version=1)
    codes = [owner.fleet.new_code(terms, root=owner.root, gateway_key=key.public) for _ in range(devices)]
    with FakeFleet(app, now, folder / "devices", faults=faults) as fleet:
        fleet.join((PROFILES[number % 2] for number in range(devices)), codes, within_s=300.0)
        # Asked rarely: looking at a thousand devices costs more than a request.
        fleet.run(until=lambda: now() >= START_S + 400.0, most_s=DAY_S)
        owner.release(1)
        state = owner.steering.start(WORKLOAD, limits=Limits(silence_s=7 * DAY_S), rollout_id="bench")
        state_now = [state]

        def step() -> None:
            state_now[0] = owner.steering.step("bench")

        fleet.every(300.0, step)
        ended = fleet.run(until=lambda: state_now[0].status.is_final, most_s=7 * DAY_S)
        took_s = time.perf_counter() - begun
        good = 0
        for device in fleet.devices:
            device.switch_off_and_on()
            model = device.agent.models[WORKLOAD]
            model.predict([0.0] * FEATURES)
            good += model.manifest().sha256 == sha256(tiny_model(1))
        crashes = sum(sum(device.crashes.values()) for device in fleet.devices)
    if not ended or state_now[0].status is not RolloutStatus.DONE:
        raise SystemExit(f"The roll-out did not end: {state_now[0].status}, {state_now[0].reason}")
    simulated_h = (now() - START_S) / 3600
    print(
        f"  {devices} devices, {crashes} crashes: {took_s:.0f} s here, {simulated_h:.1f} h of theirs, {good} verified"
    )
    return took_s, good


def main() -> None:
    """Both fleets, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    devices = parser.parse_args().devices
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    memory = Path("/dev/shm")  # noqa: S108 - a thousand small folders would wait for the disk
    took = {}
    for name, faults in (("no bad luck", NO_FAULTS), ("10 % lost, 2 % of the rounds crash", BAD_LUCK)):
        print(name)
        with tempfile.TemporaryDirectory(prefix="tinymlops-fleet-", dir=memory if memory.is_dir() else None) as folder:
            took[name], good = roll_out(devices, faults, Path(folder))
        if good != devices:
            raise SystemExit(f"Only {good} of {devices} devices ended with the verified release.")
    plain, lossy = took.values()
    print(f"bad luck / none: {lossy / plain:.2f}")


if __name__ == "__main__":
    main()
