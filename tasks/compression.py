"""Compress a trained network by one recipe."""

from __future__ import annotations

from prefect import task

from tasks.caching import content_key
from tasks.progress import StepProgress
from tasks.training import WorkloadFacts
from tinymlops.compression import variants
from tinymlops.compression.recipes import Recipe
from tinymlops.compression.variants import Variant
from tinymlops.training import TrainedNetwork


@task(
    task_run_name="compress {recipe.name}",
    tags=["tensorflow"],
    timeout_seconds=3700,
    cache_key_fn=content_key(
        "compression",
        "training.py",
        "model_file.py",
        "workloads/values.py",
        "workloads/layers.py",
        packages=(
            "tensorflow",
            "tf-keras",
            "tensorflow-model-optimization",
            "ai-edge-quantizer",
            "ai-edge-litert",
            "numpy",
        ),
    ),
    persist_result=True,
)
def compress(workload: WorkloadFacts, trained: TrainedNetwork, recipe: Recipe) -> Variant:
    """Make one variant; what the recipe promises was seen in the file."""
    return variants.compress(workload.reference, workload.seed, trained, recipe, StepProgress(recipe.name))
