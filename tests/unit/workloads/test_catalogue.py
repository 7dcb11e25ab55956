"""From a name to a workload, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinymlops.errors import UnknownNameError, WorkloadError
from tinymlops.workloads.catalogue import BUILT_IN, find_workload, load_workload

GOOD = """
import numpy as np
from tinymlops.workloads import Samples, Split, Workload

class Mine(Workload):
    name = "mine"
    labels = ("a", "b")
    def split(self, seed):
        def part(group):
            return Samples(np.full((4, 2), seed, np.float32), np.arange(4) % 2, np.full(4, group))
        return Split(part(0), part(1), part(2))
    def network(self):
        raise NotImplementedError

instance = Mine()
number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    return path


def test_every_built_in_is_found_and_called_by_its_name() -> None:
    for name in BUILT_IN:
        assert find_workload(name).name == name


def test_a_misspelt_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="there is no workload called 'activty': did you mean 'activity'"):
        find_workload("activty")


@pytest.mark.parametrize("attribute", ["Mine", "instance"])
def test_a_class_or_an_instance_in_a_file_is_found(file: Path, attribute: str) -> None:
    assert find_workload(f"{file}:{attribute}").name == "mine"


def test_a_misspelt_object_suggests_the_nearest(file: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'instance'"):
        find_workload(f"{file}:instnce")


def test_an_object_that_is_no_workload_is_refused(file: Path) -> None:
    with pytest.raises(WorkloadError, match="is no Workload"):
        find_workload(f"{file}:number")


def test_the_abstract_class_itself_is_refused(file: Path) -> None:
    with pytest.raises(WorkloadError, match="is no Workload"):
        find_workload(f"{file}:Workload")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(WorkloadError, match=r"there is no file nowhere\.py"):
        find_workload("nowhere.py:Mine")


def test_a_file_that_does_not_run_says_why(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import no_such_package")
    with pytest.raises(WorkloadError, match="does not run.*no_such_package"):
        find_workload(f"{path}:Mine")


def test_a_split_that_raises_says_why(file: Path) -> None:
    file.write_text(GOOD.replace("return Split(part(0)", "return Split(1 / 0, part(0)"))
    with pytest.raises(WorkloadError, match=r"failed in split\(\) \(ZeroDivisionError"):
        load_workload(f"{file}:Mine", 1)


def test_a_split_of_another_type_is_refused(file: Path) -> None:
    file.write_text(GOOD.replace("return Split(part(0), part(1), part(2))", "return None"))
    with pytest.raises(WorkloadError, match="returned NoneType"):
        load_workload(f"{file}:Mine", 1)


def test_the_digest_knows_source_data_and_seed(file: Path) -> None:
    reference = f"{file}:Mine"
    first = load_workload(reference, 1).digest
    assert load_workload(reference, 1).digest == first
    assert load_workload(reference, 2).digest != first
    file.write_text(GOOD + "\n# another thought\n")
    assert load_workload(reference, 1).digest != first


def test_a_file_in_the_folder_of_workloads_is_found_by_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYMLOPS_WORKLOAD_FOLDER", str(file.parent))

    assert find_workload("mine").name == "mine"
    for other in ("../mine", "mine2", "Mine", ""):
        with pytest.raises(UnknownNameError):
            find_workload(other)


def test_a_file_that_holds_another_workload_than_its_name_says_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYMLOPS_WORKLOAD_FOLDER", str(file.parent))
    file.rename(file.with_name("yours.py"))

    with pytest.raises(WorkloadError, match="no workload named yours"):
        find_workload("yours")
