"""Small values to select from and report on."""

from __future__ import annotations

import hashlib

from tinymlops.devices.profile import Budgets, DeviceProfile, Runtime
from tinymlops.measurement import Figure, Measurement, Provenance, Scores, Status, VariantFacts


def profile(name: str = "board", budgets: Budgets | None = None, *, native: bool = False) -> DeviceProfile:
    return DeviceProfile(
        name=name,
        title=name.replace("-", " ").title(),
        kind="linux",
        architecture="amd64" if native else "arm64",
        cpu="native" if native else "cortex-a53",
        clock_mhz=1000,
        cores=1,
        memory_mib=64,
        runtime=Runtime(name="litert", kernels="builtin"),
        budgets=budgets or Budgets(),
        sources=("https://example.org/board",),
    )


def variant(recipe: str, *, model_bytes: int = 50_000, gzip_bytes: int = 40_000, vetoed: str = "") -> VariantFacts:
    return VariantFacts(
        recipe=recipe,
        sha256=hashlib.sha256(recipe.encode()).hexdigest(),
        model_bytes=model_bytes,
        gzip_bytes=gzip_bytes,
        vetoed=vetoed,
    )


def measurement(
    recipe: str = "int8",
    *,
    validation: float | None = 0.84,
    test: float = 0.82,
    higher_is_better: bool = True,
    instructions: float | None = 1_000_000,
    latency_us: float | None = None,
    memory_kib: float | None = 60.0,
    facts: VariantFacts | None = None,
    device: str = "board",
) -> Measurement:
    metric = "accuracy" if higher_is_better else "mean absolute error"
    return Measurement(
        variant=facts or variant(recipe),
        device=device,
        runtime="litert 2.3.0, builtin",
        status=Status.OK,
        scores=None if validation is None else Scores(metric, higher_is_better, validation, test),
        instructions=None if instructions is None else Figure(instructions, "instructions"),
        latency_p50=None if latency_us is None else Figure(latency_us, "us"),
        peak_memory=None if memory_kib is None else Figure(memory_kib * 1024, "B", Provenance.MEASURED),
    )


def failed(recipe: str, status: Status, reason: str, device: str = "board") -> Measurement:
    return Measurement(
        variant=variant(recipe), device=device, runtime="litert 2.3.0, builtin", status=status, reason=reason
    )
