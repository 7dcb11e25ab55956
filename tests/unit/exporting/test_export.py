from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.codegen.networks import Network
from tinymlops.codegen import Helium, KernelSet, generate
from tinymlops.devices.catalogue import load_profile
from tinymlops.errors import DoesNotRunError, UsageError
from tinymlops.exporting import export, make_export
from tinymlops.exporting.folder import MANIFEST

PICO = load_profile("raspberry-pi-pico")


def small() -> bytes:
    net = Network(seed=1)
    return net.model(net.softmax(net.dense(net.input((1, 12)), 3)))


def test_an_export_holds_what_an_embedded_project_needs_and_repeats_byte_for_byte(tmp_path: Path) -> None:
    made = export(small(), PICO, tmp_path / "out")
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert written == set(made.files)
    expected = {"model.c", "model.h", "main.c", "self_test.c", "self_test.h", "CMakeLists.txt", "README.md", MANIFEST}
    assert expected <= written
    assert b"Apache License" in made.files["kernels/LICENSE.txt"]
    assert not any(b"@" in content for path, content in made.files.items() if "/" not in path)
    assert make_export(small(), PICO).files == made.files


def test_a_model_that_has_no_generated_form_leaves_nothing_behind(tmp_path: Path) -> None:
    net = Network()
    x = net.input((1, 4))
    with pytest.raises(DoesNotRunError, match="TANH"):
        export(net.model(net.operator("TANH", [x.index], net.value("y", (1, 4), 1 / 128, 0))), PICO, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_device_that_runs_no_c_is_refused() -> None:
    with pytest.raises(UsageError, match="not as C"):
        make_export(small(), load_profile("raspberry-pi-5"))


def test_a_name_that_c_refuses_is_refused() -> None:
    with pytest.raises(UsageError, match="not a name that C accepts"):
        make_export(small(), PICO, "x;}")


def test_less_memory_is_planned_where_there_is_no_helium() -> None:
    net = Network()
    model = net.model(net.convolution(net.input((1, 9, 9, 8)), 8, depthwise=True))
    without = generate(model, KernelSet.CMSIS_NN, helium=Helium.WITHOUT)
    assert without.scratch_bytes == 0
    assert generate(model, KernelSet.CMSIS_NN).scratch_bytes == 4 * 124 * 9
    assert b"for cores without Helium" in without.files["model.c"]
