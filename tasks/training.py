"""Read a workload, train its network, fit its reference."""

from __future__ import annotations

import msgspec
from prefect import task

from tasks.caching import content_key
from tasks.progress import StepProgress
from tinymlops import training
from tinymlops.training import Reference, TrainedNetwork
from tinymlops.workloads.catalogue import load_workload

TIME_OUT_S = 3600.0
"""Enforced by killing the process that does the work: Prefect can't interrupt a step in a worker thread."""


class WorkloadFacts(msgspec.Struct, frozen=True):
    """What the later steps need to know of a workload; its data stays where it is.

    Attributes:
        reference: As ``load_workload`` takes it.
        seed: Of the split and of all that follows.
        digest: Of source, data and seed.
        name: For file and model names.
        title: For people.
        labels: Classes or outputs.
        metric: Name of the metric.
        higher_is_better: Its direction.
        rows: In train, validation and test.
        credit: Attribution of the data.
    """

    reference: str
    seed: int
    digest: str
    name: str
    title: str
    labels: tuple[str, ...]
    metric: str
    higher_is_better: bool
    rows: tuple[int, int, int]
    credit: str


@task(tags=["data"])
def read_workload(reference: str, seed: int) -> WorkloadFacts:
    """Load and check the data; always done, since its digest is the key of everything after it."""
    loaded = load_workload(reference, seed)
    workload, split = loaded.workload, loaded.split
    return WorkloadFacts(
        reference=reference,
        seed=seed,
        digest=loaded.digest,
        name=workload.name,
        title=workload.title,
        labels=workload.labels,
        metric=workload.metric.name,
        higher_is_better=workload.metric.higher_is_better,
        rows=(len(split.train), len(split.validation), len(split.test)),
        credit=workload.credit,
    )


@task(
    tags=["tensorflow"],
    cache_key_fn=content_key(
        "training.py", "workloads/values.py", "workloads/layers.py", packages=("tensorflow", "tf-keras", "numpy")
    ),
    persist_result=True,
)
def train(workload: WorkloadFacts) -> TrainedNetwork:
    """Train the float network."""
    with StepProgress("train") as progress:
        return training.train(workload.reference, workload.seed, timeout_s=TIME_OUT_S, on_progress=progress)


@task(
    tags=["reference"],
    cache_key_fn=content_key("training.py", "workloads/values.py", packages=("scikit-learn", "numpy")),
    persist_result=True,
)
def fit_reference(workload: WorkloadFacts) -> Reference:
    """Fit the scikit-learn reference on the same split."""
    with StepProgress("reference") as progress:
        return training.fit_reference(workload.reference, workload.seed, timeout_s=TIME_OUT_S, on_progress=progress)
