"""Make a variant: workload × recipe, in a process of its own."""

from __future__ import annotations

import msgspec
import numpy as np

from tinymlops.compression.recipes import Precision, Recipe
from tinymlops.isolation import Progress, call_isolated, silent
from tinymlops.measurement import VariantFacts, facts_of
from tinymlops.training import TrainedNetwork, build_network, prepare_tensorflow, unpack_weights
from tinymlops.workloads.catalogue import load_workload


class Variant(msgspec.Struct, frozen=True):
    """A ``.tflite`` and what is known of it before a device has run it."""

    facts: VariantFacts
    tflite: bytes


def compress(
    reference: str,
    seed: int,
    trained: TrainedNetwork,
    recipe: Recipe,
    *,
    timeout_s: float = 3600,
    on_progress: Progress = silent,
) -> Variant:
    """Compress a trained network by ``recipe``; what it promises was seen in the file.

    Args:
        reference: The workload, as for ``load_workload``.
        seed: The one the network was trained with.
        trained: The float network.
        recipe: What to do.
        timeout_s: The process is killed after this many seconds.
        on_progress: Told of every epoch.

    Raises:
        NotApplicableError: The recipe can't be applied to this network.
        CompressionError: The converter failed, or the file does not keep the promise.
    """
    return call_isolated(_compress_here, reference, seed, trained, recipe, timeout_s=timeout_s, on_progress=on_progress)


def _compress_here(
    reference: str, seed: int, trained: TrainedNetwork, recipe: Recipe, on_progress: Progress
) -> Variant:
    prepare_tensorflow(seed)
    from tinymlops.compression.fine_tuning import FineTuning
    from tinymlops.compression.gate import run_reference_kernels, veto
    from tinymlops.compression.promises import check_promise, overall_sparsity
    from tinymlops.model_file import read_model

    loaded = load_workload(reference, seed)
    workload, split = loaded.workload, loaded.split
    network = build_network(workload, split)
    network.set_weights(unpack_weights(trained.weights))
    tflite = _apply(recipe, network, FineTuning(workload, split, seed, on_progress))
    model = read_model(tflite, recipe.name)
    validation = split.validation
    score = workload.metric.compute(validation.targets, run_reference_kernels(model, validation.inputs))
    facts = msgspec.structs.replace(
        facts_of(tflite, recipe.name),
        promises=check_promise(recipe, model),
        vetoed=veto(workload, trained.scores.validation, score),
        sparsity=overall_sparsity(model),
        float_score=trained.scores.validation,
    )
    return Variant(facts, tflite)


def _apply(recipe: Recipe, network: object, fine_tuning: object) -> bytes:
    from tinymlops.compression import (
        clustering,
        conversion,
        post_training_quantization,
        pruning,
        quantization_aware_training,
        structured_sparsity,
    )
    from tinymlops.compression.fine_tuning import FineTuning

    assert isinstance(fine_tuning, FineTuning)  # noqa: S101 - imported late, so typed late
    promise = recipe.promise
    if promise.sparsity is not None:
        network = pruning.prune(network, promise.sparsity, fine_tuning)
    if promise.two_of_four:
        network = structured_sparsity.sparsify_two_of_four(network, fine_tuning)
    if promise.clusters is not None:
        network = clustering.cluster(
            network, promise.clusters, fine_tuning, preserve_sparsity=promise.sparsity is not None
        )
    if recipe.precision is Precision.QAT:
        network = quantization_aware_training.train_quantized(network, promise, fine_tuning)
    if recipe.precision in (Precision.INT8, Precision.INT16X8):
        rows = fine_tuning.split.train.inputs
        order = np.random.default_rng(fine_tuning.seed).permutation(len(rows))
        model = conversion.convert(network, Precision.FLOAT32)
        return post_training_quantization.quantize(model, rows[order], recipe.precision)
    return conversion.convert(network, recipe.precision)
