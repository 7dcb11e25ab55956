from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.codegen.networks import Network
from tinymlops.codegen import Helium, KernelSet, generate
from tinymlops.devices.catalogue import load_profile
from tinymlops.errors import DoesNotRunError, StorageError, UsageError
from tinymlops.exporting import export, make_export
from tinymlops.exporting.folder import MANIFEST

PICO = load_profile("raspberry-pi-pico")


def small(seed: int = 1, units: int = 3) -> bytes:
    net = Network(seed=seed)
    return net.model(net.softmax(net.dense(net.input((1, 12)), units)))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_holds_what_an_embedded_project_needs(tmp_path: Path) -> None:
    made = export(small(), PICO, tmp_path / "out")
    assert content(tmp_path / "out") == made.files
    expected = {"model.c", "model.h", "main.c", "self_test.c", "self_test.h", "CMakeLists.txt", "README.md", MANIFEST}
    assert expected <= set(made.files)
    assert b"Apache License" in made.files["kernels/LICENSE.txt"]


def test_the_same_model_gives_the_same_bytes() -> None:
    assert make_export(small(), PICO).files == make_export(small(), PICO).files


def test_an_earlier_export_is_replaced_and_what_else_is_there_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(small(), PICO, out)
    (out / "build").mkdir()
    (out / "build" / "notes.txt").write_text("mine")
    made = export(small(seed=2, units=5), PICO, out)
    assert content(out) == made.files | {"build/notes.txt": b"mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_that_an_export_no_longer_has_go_away(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(small(), PICO, out)
    net = Network()
    export(net.model(net.unary("RELU", net.input((1, 4)))), PICO, out)
    assert not (out / "kernels" / "tinymlops_softmax.c").exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(UsageError, match="not empty and not an earlier export"):
        export(small(), PICO, tmp_path)
    assert content(tmp_path) == {"thesis.tex": b"all of it"}


def test_changed_files_of_an_export_are_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(small(), PICO, out)
    (out / "main.c").write_text("int main(void) { return 0; }")
    before = content(out)
    with pytest.raises(UsageError, match=r"main\.c was changed since it was exported"):
        export(small(seed=2), PICO, out)
    assert content(out) == before


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        export(small(), PICO, tmp_path / "out")


def test_a_model_that_has_no_generated_form_leaves_nothing_behind(tmp_path: Path) -> None:
    net = Network()
    x = net.input((1, 4))
    with pytest.raises(DoesNotRunError, match="TANH"):
        export(net.model(net.operator("TANH", [x.index], net.value("y", (1, 4), 1 / 128, 0))), PICO, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cant_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    before = export(small(), PICO, out).files
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if Path(target) == out and self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(StorageError, match="No space left"):
        export(small(seed=2), PICO, out)
    assert content(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_device_that_runs_no_c_is_refused() -> None:
    with pytest.raises(UsageError, match="not as C"):
        make_export(small(), load_profile("raspberry-pi-5"))


@pytest.mark.parametrize("name", ["int", "9lives", "a-b", "", "x;}"])
def test_a_name_that_c_refuses_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a name that C accepts"):
        make_export(small(), PICO, name)


def test_less_memory_is_planned_where_there_is_no_helium() -> None:
    net = Network()
    model = net.model(net.convolution(net.input((1, 9, 9, 8)), 8, depthwise=True))
    without = generate(model, KernelSet.CMSIS_NN, helium=Helium.WITHOUT)
    assert without.scratch_bytes == 0
    assert generate(model, KernelSet.CMSIS_NN).scratch_bytes == 4 * 124 * 9
    assert b"for cores without Helium" in without.files["model.c"]
