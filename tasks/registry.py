"""Register a build in MLflow."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from tinymlops.compression.variants import Variant
from tinymlops.registry import Registration, RegistrySettings, register_build
from tinymlops.reporting import BuildReport


@task(tags=["mlflow"], retries=2, retry_delay_seconds=5)
def register(
    report: BuildReport, variants: tuple[Variant, ...], files: dict[str, Path], *, promote: bool = True
) -> Registration:
    """One version a variant, one alias a device; the same build again changes nothing."""
    content = {variant.facts.recipe: variant.tflite for variant in variants}
    return register_build(report, content, files, settings=RegistrySettings.from_environment(), promote=promote)
