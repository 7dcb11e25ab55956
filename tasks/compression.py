"""Compress a trained network by one recipe."""

from __future__ import annotations

from collections.abc import Iterable

from prefect import task
from prefect.futures import PrefectFuture

from tasks.caching import content_key
from tasks.progress import StepProgress
from tasks.training import TIME_OUT_S, WorkloadFacts
from tinymlops.compression import variants
from tinymlops.compression.recipes import Recipe
from tinymlops.compression.variants import Variant
from tinymlops.errors import CompressionError, NotApplicableError
from tinymlops.reporting import RecipeFailure
from tinymlops.training import TrainedNetwork


@task(
    task_run_name="compress {recipe.name}",
    tags=["tensorflow"],
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
    with StepProgress(recipe.name) as progress:
        variant = variants.compress(
            workload.reference, workload.seed, trained, recipe, timeout_s=TIME_OUT_S, on_progress=progress
        )
        progress.say(f"{variant.facts.model_bytes:,} B")
        return variant


def gather_variants(
    futures: Iterable[PrefectFuture[Variant]], recipes: Iterable[Recipe]
) -> tuple[tuple[Variant, ...], tuple[RecipeFailure, ...]]:
    """The variants that were made, and a word on each recipe that made none.

    Raises:
        TinyMLOpsError: Something went wrong that is not one recipe's own trouble, or no recipe made a variant.
    """
    variants: list[Variant] = []
    failures: list[RecipeFailure] = []
    last: CompressionError | None = None
    for future, recipe in zip(futures, recipes, strict=True):
        try:
            variants.append(future.result())
        except CompressionError as error:
            last = error
            failures.append(
                RecipeFailure(
                    recipe=recipe.name, reason=str(error), applicable=not isinstance(error, NotApplicableError)
                )
            )
    if last is not None and not variants:
        raise last
    return tuple(variants), tuple(failures)
