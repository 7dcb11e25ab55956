"""A manifest for each variant that a kind of device gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinymlops.benchmarking import Workbench
from tinymlops.devices.backend import Progress, silent
from tinymlops.devices.profile import DeviceProfile
from tinymlops.errors import ReleaseError
from tinymlops.manifests.histograms import histograms_of
from tinymlops.manifests.output_features import of_classes, of_values
from tinymlops.manifests.self_test import choose_rows, host_outputs, make_self_test
from tinymlops.manifests.temperature import fit_temperature, tempered
from tinymlops.measurement import Measurement
from tinymlops.model_file import ModelFile, TensorSpec, read_model
from tinymlops.selection import ACCURATE, FAST, DeviceState, costs_of, for_state
from tinymlops.selection.choice import admit
from tinymlops.wire.device_state import VariantCost
from tinymlops.wire.manifest import HealthBounds, Histogram, Manifest, Tensor
from tinymlops.wire.observations import MOST_FEATURES, Feature
from tinymlops.workloads.catalogue import LoadedWorkload
from tinymlops.workloads.values import Task

MINIMUM_AGENT = "0.1.0"
LATENCY_HEADROOM = 3.0
"""Times the measured 95th percentile that a device may take: a real one has other work as well."""
LATENCY_FLOOR_US = 5000.0
"""No device is called slow below this: the agent's own share of a very small model's time is not the model's fault."""

STATES = (
    DeviceState(preference=ACCURATE),
    DeviceState(preference=FAST),
    DeviceState(battery_fraction=0.1),
)
"""A device gets the variants that are best in these, besides the selected one."""


def variants_for(measurements: Sequence[Measurement], profile: DeviceProfile, selected: str) -> dict[str, VariantCost]:
    """Recipes that a kind of device gets, the selected one first, with what each costs against the others.

    Args:
        measurements: Of any devices; those of ``profile`` are looked at.
        profile: The kind of device.
        selected: The recipe that selection chose for it.

    Raises:
        ReleaseError: The selected recipe was not measured there, or may not run.
    """
    candidates, rejected = admit(measurements, profile)
    costs = costs_of(candidates) if candidates else {}
    if selected not in costs:
        why = "; ".join(rejected.get(selected, ("it was not measured there",)))
        raise ReleaseError(
            f"{selected} was selected for {profile.name}, but {why}", "build the workload again, then release"
        )
    by_state = [for_state(candidates, profile, state).recipe for state in STATES]
    chosen = dict.fromkeys([selected, *(recipe for recipe in by_state if recipe is not None)])
    return {recipe: costs[recipe] for recipe in chosen}


def describe(  # noqa: PLR0913 - a manifest is made of all that is known
    tflite: bytes,
    measurement: Measurement,
    profile: DeviceProfile,
    loaded: LoadedWorkload,
    *,
    version: int,
    cost: VariantCost,
    bench: Workbench | None = None,
    on_progress: Progress = silent,
) -> Manifest:
    """The manifest of a variant for one kind of device; runs the self-test there.

    Args:
        tflite: The variant.
        measurement: Of it, on a device of that kind.
        profile: The kind of device.
        loaded: The workload with its data: training rows fill histograms of inputs, validation rows fit the
            temperature and fill histograms of answers.
        version: Of the release.
        cost: Against the other variants of the release.
        bench: Where to run; the one of this process if not given.
        on_progress: Told what is being done.

    Raises:
        ReleaseError: The variant does not run there, has several inputs or outputs, or has nothing of a name that the
            workload wants counted.
        EngineError: No container engine answers where one is needed.
    """
    facts, workload = measurement.variant, loaded.workload
    model = read_model(tflite, f"{facts.recipe}.tflite")
    _refuse_many_tensors(model)
    rows = choose_rows(loaded.split.validation)
    test = make_self_test(tflite, rows, profile, facts, bench=bench, on_progress=on_progress)
    classifies = workload.task is Task.CLASSIFICATION
    temperature, output_features = _answers(tflite, model, loaded)
    histograms = histograms_of(loaded.split.train.inputs, workload.counted)
    _refuse_unknown(loaded, histograms, output_features)
    return Manifest(
        workload=workload.name,
        version=version,
        recipe=facts.recipe,
        profile=profile.name,
        sha256=facts.sha256,
        size=len(tflite),
        runtime=measurement.runtime,
        minimum_agent=MINIMUM_AGENT,
        operators=tuple(sorted({operator.name for operator in model.operators})),
        input=_tensor(model.inputs[0]),
        output=_tensor(model.outputs[0]),
        labels=workload.labels,
        classifies=classifies,
        temperature=temperature,
        histograms=histograms,
        output_features=output_features,
        self_test=test,
        bounds=_bounds(measurement),
        cost=cost,
        energy_uj=measurement.energy.value if measurement.energy is not None else None,
    )


def _refuse_many_tensors(model: ModelFile) -> None:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ReleaseError(
            f"{model.source} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; agents serve one of each",
            "join them inside the network",
        )


def _tensor(spec: TensorSpec) -> Tensor:
    quantized = spec.scale != 0.0
    return Tensor(
        shape=spec.one_row,
        dtype=spec.dtype,
        scale=spec.scale if quantized else None,
        zero_point=spec.zero_point if quantized else 0,
    )


def _answers(tflite: bytes, model: ModelFile, loaded: LoadedWorkload) -> tuple[float, tuple[Feature, ...]]:
    """Temperature, and what is counted of answers, from what the model makes of the validation rows."""
    validation, workload = loaded.split.validation, loaded.workload
    outputs = host_outputs(tflite, validation.inputs, model)
    if workload.task is Task.CLASSIFICATION:
        targets = np.asarray(validation.targets, np.int64)
        temperature = fit_temperature(outputs, targets)
        return temperature, of_classes(tempered(outputs, temperature), targets, workload.counted)
    true, taught = (np.asarray(part.targets, np.float64) for part in (validation, loaded.split.train))
    return 1.0, of_values(outputs.astype(np.float64), true, taught, workload.counted)


def _refuse_unknown(loaded: LoadedWorkload, histograms: tuple[Histogram, ...], answers: tuple[Feature, ...]) -> None:
    """Raise `ReleaseError` where the owner wants something counted that is not there, or more than a window holds."""
    found = {one.name for one in histograms} | {one.name for one in answers}
    unknown = sorted(set(loaded.workload.counted or ()) - found)
    if unknown:
        raise ReleaseError(
            f"{loaded.workload.name} wants {', '.join(map(repr, unknown))} counted, which it has not or which never"
            " changes",
            "name such as 'channel 0 mean', 'channel 0 standard deviation', 'confidence', 'class', 'output' or 'error'",
        )
    if len(found) > MOST_FEATURES:
        raise ReleaseError(
            f"{loaded.workload.name} wants {len(found)} features counted, and a window holds {MOST_FEATURES}",
            "choose fewer: the privacy budget is split over them",
        )


def _bounds(measurement: Measurement) -> HealthBounds:
    """Latency is bounded where it was measured; nobody knows the milliseconds of an emulated device."""
    slow = measurement.latency_p95
    if slow is None:
        return HealthBounds()
    return HealthBounds(latency_p95_us=max(LATENCY_FLOOR_US, LATENCY_HEADROOM * slow.value))
