"""What MLflow is told about a build and its versions: parameters, metrics, tags."""

from __future__ import annotations

import math

import msgspec

from tinymlops.files import sha256
from tinymlops.measurement import Measurement, VariantFacts
from tinymlops.registry.values import plain_name
from tinymlops.reporting import BuildReport
from tinymlops.reporting.views import FIGURES

_LONGEST_PARAM = 500


def build_digest(report: BuildReport) -> str:
    """Digest of everything in a report but the moment it was made."""
    return sha256(msgspec.json.encode(msgspec.structs.replace(report, created=""), order="sorted"))


def run_params(report: BuildReport) -> dict[str, str]:
    """What went into a build."""
    params: dict[str, object] = {
        "workload": report.workload,
        "metric": report.metric,
        "seed": report.seed,
        "rows_train": report.rows_train,
        "rows_validation": report.rows_validation,
        "rows_test": report.rows_test,
        "labels": ", ".join(report.labels),
        "reference": report.reference_name,
        "command": report.command,
    }
    params |= {f"version.{plain_name(name)}": version for name, version in report.versions.items()}
    params |= {f"selected.{one.device}": one.recipe or "nothing" for one in report.selections}
    return {name: str(value)[:_LONGEST_PARAM] for name, value in params.items() if str(value)}


def run_metrics(report: BuildReport) -> dict[str, float]:
    """Scores and costs as ``device/recipe/figure``; MLflow groups them by the first part."""
    metrics = {"float/validation": report.float_scores.validation, "float/test": report.float_scores.test}
    if report.reference_scores is not None:
        metrics["reference/validation"] = report.reference_scores.validation
        metrics["reference/test"] = report.reference_scores.test
    for facts in {m.variant.recipe: m.variant for m in report.measurements}.values():
        recipe = plain_name(facts.recipe)
        metrics |= {f"model_bytes/{recipe}": float(facts.model_bytes), f"gzip_bytes/{recipe}": float(facts.gzip_bytes)}
    for measurement in report.measurements:
        prefix = f"{plain_name(measurement.device)}/{plain_name(measurement.variant.recipe)}"
        metrics |= {f"{prefix}/{name}": value for name, value in _numbers(measurement).items()}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def version_tags(report: BuildReport, facts: VariantFacts) -> dict[str, str]:
    """What a version is, and one tag per device with how it did there, as JSON: MLflow lists every tag on its page."""
    tags = {
        "workload": report.workload,
        "recipe": facts.recipe,
        "sha256": facts.sha256,
        "model_bytes": str(facts.model_bytes),
        "gzip_bytes": str(facts.gzip_bytes),
        "promises": "; ".join(facts.promises),
        "vetoed": facts.vetoed,
        "sparsity": "" if facts.sparsity is None else f"{facts.sparsity:.4f}",
    }
    own = (m for m in report.measurements if m.variant.recipe == facts.recipe)
    tags |= {f"device.{plain_name(m.device)}": _device_tag(m) for m in own}
    return {name: value for name, value in tags.items() if value}


def _numbers(measurement: Measurement) -> dict[str, float]:
    scores = measurement.scores
    numbers = {} if scores is None else {"validation": scores.validation, "test": scores.test}
    for name, figure in FIGURES.items():
        found = figure(measurement)
        if found is not None:
            numbers[f"{name.replace(' ', '_')}_{found.unit}".removesuffix("_instructions")] = found.value
    return numbers


def _device_tag(measurement: Measurement) -> str:
    content: dict[str, object] = {"status": measurement.status, "runtime": measurement.runtime, **_numbers(measurement)}
    found = {name.replace(" ", "_"): figure(measurement) for name, figure in FIGURES.items()}
    content["provenance"] = {name: f"{f.provenance}{f', {f.note}' if f.note else ''}" for name, f in found.items() if f}
    return msgspec.json.encode(content, order="sorted").decode()
