"""Small values to select from and report on."""

from __future__ import annotations

import hashlib

import msgspec

from tinymlops.devices.profile import Budgets, DeviceProfile, Runtime
from tinymlops.measurement import Figure, Measurement, Provenance, Scores, Status, VariantFacts
from tinymlops.reporting import BuildReport, RecipeFailure
from tinymlops.selection import select


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


_RECIPES: dict[str, tuple[float, float, float, float, float]] = {
    # validation, model KiB, gzip KiB, work relative to int8, sparsity
    "float32": (0.8442, 137.2, 121.8, 2.31, 0.0),
    "float16": (0.8440, 74.9, 68.0, 2.35, 0.0),
    "dynamic-range": (0.8436, 57.6, 45.1, 1.62, 0.01),
    "int8": (0.8421, 52.1, 43.3, 1.00, 0.01),
    "int16x8": (0.8438, 54.4, 44.9, 1.71, 0.01),
    "pruned-int8": (0.8330, 52.1, 24.6, 1.00, 0.75),
    "structured-int8": (0.8316, 52.1, 33.0, 1.00, 0.50),
    "clustered-int8": (0.7902, 52.1, 21.7, 1.00, 0.02),
    "qat": (0.8433, 53.4, 44.0, 1.02, 0.01),
    "pqat": (0.8391, 53.4, 25.3, 1.02, 0.75),
    "cqat": (0.8377, 53.4, 22.4, 1.02, 0.02),
    "pcqat": (0.8289, 53.4, 18.9, 1.02, 0.75),
}


def _facts(recipe: str) -> VariantFacts:
    validation, model_kib, gzip_kib, _, sparsity = _RECIPES[recipe]
    return VariantFacts(
        recipe=recipe,
        sha256=hashlib.sha256(recipe.encode()).hexdigest(),
        model_bytes=int(model_kib * 1024),
        gzip_bytes=int(gzip_kib * 1024),
        promises=("75 % of every kernel is zero",) if sparsity >= 0.75 else (),
        vetoed="validation accuracy 0.7902 is 0.0540 below float, allowed are 0.0200" if validation < 0.80 else "",
        sparsity=sparsity,
        float_score=0.8442,
    )


def _run(recipe: str, board: DeviceProfile, *, slowness: float) -> Measurement:
    validation, model_kib, _, work, _ = _RECIPES[recipe]
    base = Measurement(variant=_facts(recipe), device=board.name, runtime="litert 2.3.0, builtin", status=Status.OK)
    replace = msgspec.structs.replace
    if recipe == "float32" and board.memory_mib < 100:
        return replace(base, status=Status.OUT_OF_MEMORY, reason="the container was killed at its limit of 64 MiB")
    if recipe == "int16x8" and board.architecture == "armhf":
        return replace(base, status=Status.UNSUPPORTED_OPERATOR, reason="litert has no int16 CONV_2D for armhf")
    note = "includes the emulator" if board.emulated else ""
    return replace(
        base,
        scores=Scores("accuracy", True, validation - 0.0007 * (slowness > 1.2), validation - 0.021),
        instructions=Figure(int(1_932_032 * work * slowness), "instructions") if board.emulated else None,
        latency_p50=None if board.emulated else Figure(213.4 * work, "us"),
        latency_p95=None if board.emulated else Figure(301.9 * work, "us"),
        peak_memory=Figure((21_000 + 2 * model_kib) * 1024, "B", note=note),
        model_memory=Figure(3.2 * model_kib * 1024, "B"),
        energy=Figure(812.0 * work, "uJ", Provenance.CALIBRATED, "from instructions and a published board", 0.25)
        if board.architecture == "armhf"
        else None,
    )


def build_report(**changes: object) -> BuildReport:
    """Twelve recipes on four devices: one runs out of memory, one lacks an operator, one variant is vetoed."""
    boards = (
        profile("x86-gateway", native=True),
        msgspec.structs.replace(profile("raspberry-pi-zero-2"), budgets=Budgets(flash_kib=128, ram_kib=21_140)),
        msgspec.structs.replace(profile("raspberry-pi-5"), cpu="cortex-a76", memory_mib=4096),
        msgspec.structs.replace(
            profile("raspberry-pi-3-32bit"), architecture="armhf", budgets=Budgets(latency_us=5000)
        ),
    )
    runs = tuple(
        _run(recipe, board, slowness=slowness)
        for board, slowness in zip(boards, (1.0, 1.1, 0.97, 1.44), strict=True)
        for recipe in _RECIPES
    )
    report = BuildReport(
        workload="activity",
        title="Activity from a wrist-worn sensor",
        metric="accuracy",
        higher_is_better=True,
        labels=("walk", "run", "stairs", "sit"),
        rows_train=5120,
        rows_validation=1180,
        rows_test=2240,
        seed=7,
        float_scores=Scores("accuracy", True, 0.8442, 0.8231),
        reference_name="random forest",
        reference_scores=Scores("accuracy", True, 0.7911, 0.7852),
        measurements=runs,
        selections=tuple(select(runs, board) for board in boards),
        profiles=boards,
        versions={"tinymlops": "0.1.0", "tensorflow": "2.21.0", "ai-edge-litert": "2.3.0"},
        command="tinymlops build activity --seed 7",
        failures=(
            RecipeFailure(recipe="gru-int8", reason="the converter was stopped by signal 11", applicable=True),
            RecipeFailure(recipe="2:4", reason="no kernel is wide enough", applicable=False),
        ),
        notes=("microcontrollers were left out: no container engine",),
        credit="Motion data: someone (BSD-3-Clause)",
        created="2026-11-23T17:40:00+00:00",
    )
    return msgspec.structs.replace(report, **changes)
