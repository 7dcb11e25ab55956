"""Counts the four MLPerf-Tiny-shaped networks on every board with published results, and says how far its rate carries.

    python bench/calibration.py

The counts belong into ``[[calibration.points]]`` of the board's profile; a test holds them to what is counted.
"""

from __future__ import annotations

from bench.mlperf_tiny import networks
from tinymlops.benchmarking import benchmark, random_inputs
from tinymlops.devices.calibration import energy_rate, latency_rate
from tinymlops.devices.catalogue import profiles
from tinymlops.devices.profile import DeviceProfile
from tinymlops.measurement import facts_of
from tinymlops.model_file import read_model

ROWS = 4


def count(model: bytes, profile: DeviceProfile) -> float:
    """Instructions per inference, mean over a few random inputs."""
    inputs = random_inputs(read_model(model, "network"), ROWS, seed=7)
    measurement = benchmark(model, inputs, profile, facts_of(model, "network")).measurement
    if measurement.instructions is None:
        raise SystemExit(f"{profile.name}: {measurement.status}: {measurement.reason}")
    return measurement.instructions.value


def main() -> None:
    """Print counts and errors."""
    made = networks()
    for profile in profiles():
        if profile.calibration is None:
            continue
        print(f"{profile.name}: {profile.calibration.source}")
        for point in profile.calibration.points:
            found = count(made[point.task], profile)
            cycles = point.latency_ms * 1000 * profile.clock_mhz / found
            words = f"{found:13,.0f} instructions, {cycles:.2f} cycles each"
            print(f"  {point.task:4} {words} (written: {point.instructions:,})")
        for name, rate in (
            ("latency", latency_rate(profile.calibration)),
            ("energy", energy_rate(profile.calibration)),
        ):
            if rate is not None:
                print(f"  {name}: {rate.words()}")


if __name__ == "__main__":
    main()
