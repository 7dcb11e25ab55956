"""Instructions per multiply-accumulate, by operator and core: the device's own kernels against our portable ones.

    python bench/kernels.py

Over the four networks of ``bench/mlperf_tiny.py``; ADD, MEAN, pooling and softmax multiply little and are left out.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from bench.mlperf_tiny import networks
from tinymlops.benchmarking import benchmark, random_inputs
from tinymlops.devices.catalogue import profiles
from tinymlops.devices.profile import DeviceProfile
from tinymlops.measurement import OperatorCost, facts_of
from tinymlops.model_file import read_model

OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def costs(model: bytes, profile: DeviceProfile) -> tuple[OperatorCost, ...]:
    """Operators of one network on one core."""
    inputs = random_inputs(read_model(model, "network"), 1, seed=7)
    measurement = benchmark(model, inputs, profile, facts_of(model, "network")).measurement
    if not measurement.operators:
        raise SystemExit(f"{profile.name}: {measurement.status}: {measurement.reason}")
    return measurement.operators


def per_mac(models: list[bytes], profile: DeviceProfile) -> dict[str, float]:
    """Operator → instructions for each multiply-accumulate, over all networks."""
    instructions, macs = defaultdict[str, float](float), defaultdict[str, int](int)
    for cost in (cost for model in models for cost in costs(model, profile) if cost.operator in OPERATORS):
        instructions[cost.operator] += cost.instructions
        macs[cost.operator] += cost.macs
    return {name: instructions[name] / macs[name] for name in OPERATORS}


def main() -> None:
    """Print one line for each core and kernel set."""
    models = list(networks().values())
    print(f"{'instructions per MAC':38}", *(f"{name:>18}" for name in OPERATORS))
    for profile in profiles():
        if profile.kind not in {"microcontroller", "compiled"}:
            continue
        for kernels in dict.fromkeys((profile.runtime.kernels, "portable")):
            runtime = msgspec.structs.replace(profile.runtime, kernels=kernels)
            found = per_mac(models, msgspec.structs.replace(profile, runtime=runtime))
            name = f"{profile.name} ({profile.cpu}), {kernels}"
            print(f"{name:38}", *(f"{found[operator]:18.2f}" for operator in OPERATORS))


if __name__ == "__main__":
    main()
