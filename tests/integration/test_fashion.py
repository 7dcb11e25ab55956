"""Fashion-MNIST from Debian's package, which `make test` installs."""

from __future__ import annotations

import numpy as np

from tinymlops.workloads.catalogue import load_workload


def test_fashion_keeps_the_published_test_pictures_and_draws_validation_by_the_seed() -> None:
    split = load_workload("fashion", 1).split
    assert [len(part) for part in (split.train, split.validation, split.test)] == [55_000, 5_000, 10_000]
    assert split.test.inputs.shape == (10_000, 28, 28, 1)
    assert np.bincount(split.test.targets.astype(int)).tolist() == [1000] * 10
    assert 0 <= split.train.inputs.min() < split.train.inputs.max() <= 1
