"""Manifests whose self-test really runs, on this machine's own CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.devices.flatbuffer_models import dense
from tinymlops.benchmarking import Workbench, benchmark
from tinymlops.devices.catalogue import load_profile
from tinymlops.devices.native import NativeBackend
from tinymlops.edge.litert import load
from tinymlops.errors import ReleaseError
from tinymlops.manifests import describe
from tinymlops.measurement import facts_of
from tinymlops.wire.device_state import VariantCost
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.manifest import Manifest
from tinymlops.workloads.base import Workload
from tinymlops.workloads.catalogue import LoadedWorkload
from tinymlops.workloads.values import Samples, Split

BENCH = Workbench({"linux": NativeBackend()}, contained=False)
PROFILE = load_profile("x86-gateway")


class Tiny(Workload):
    name = "tiny"
    labels = ("a", "b", "c", "d")

    def split(self, seed: int) -> Split:
        rng = np.random.default_rng(seed)

        def rows(count: int) -> Samples:
            inputs = rng.normal(size=(count, 16)).astype(np.float32)
            return Samples(inputs, np.arange(count) % 4, np.arange(count))

        return Split(rows(64), rows(16), rows(16))

    def network(self) -> Any:
        raise NotImplementedError


def described(model: bytes) -> Manifest:
    workload = Tiny()
    split = workload.split(1)
    outcome = benchmark(model, split.validation.inputs, PROFILE, facts_of(model, "int8"), bench=BENCH)
    loaded = LoadedWorkload(workload, split, "")
    return describe(model, outcome.measurement, PROFILE, loaded, version=2, cost=VariantCost(), bench=BENCH)


def test_a_manifest_says_what_the_model_gives_for_its_self_test() -> None:
    model = dense(16, 4)

    manifest = described(model)

    interpreter = load(model)
    inputs = np.frombuffer(manifest.self_test.inputs, np.int8).reshape(-1, *manifest.input.shape)
    given = np.concatenate([interpreter.invoke(row).ravel() for row in inputs])
    expected = np.frombuffer(manifest.self_test.outputs, np.int8)
    assert np.abs(given.astype(int) - expected.astype(int)).max() <= manifest.self_test.tolerance
    assert 1.0 <= manifest.self_test.tolerance <= 4.0


def test_a_manifest_survives_being_sent() -> None:
    manifest = described(dense(16, 4))

    assert decode(encode(manifest), Manifest) == manifest
    assert manifest.bounds.latency_p95_us is not None
    assert manifest.operators == ("FULLY_CONNECTED",)
    assert (manifest.input.scale, manifest.output.zero_point) == (0.5, 3)


def test_a_float_model_has_a_tolerance_in_its_own_unit() -> None:
    assert 0.0 < described(dense(16, 4, dtype="float32")).self_test.tolerance < 0.1


def test_a_model_that_does_not_run_on_the_device_is_not_released() -> None:
    model = dense(16, 4, lost=8)
    workload = Tiny()
    good = benchmark(dense(16, 4), workload.split(1).validation.inputs, PROFILE, facts_of(model, "int8"), bench=BENCH)

    with pytest.raises(ReleaseError, match="int8 does not run on x86-gateway"):
        describe(
            model,
            good.measurement,
            PROFILE,
            LoadedWorkload(workload, workload.split(1), ""),
            version=1,
            cost=VariantCost(),
            bench=BENCH,
        )
