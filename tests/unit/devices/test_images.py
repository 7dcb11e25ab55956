from __future__ import annotations

import pytest

from tinymlops.devices.bases import bases
from tinymlops.devices.images import Recipe, recipe_of
from tinymlops.devices.ownership import HOST_LABEL, OWNER_LABEL, is_orphan, labels_of_this_process

SOURCES = (("Dockerfile", b"FROM x"), ("runner.py", b"pass"))
RECIPE = Recipe("arm64", "litert-1.4.0", SOURCES)


def test_the_same_content_gives_the_same_tag() -> None:
    assert RECIPE.tag("base:1") == Recipe("arm64", "litert-1.4.0", SOURCES).tag("base:1")
    assert RECIPE.tag("base:1").startswith("tinymlops/linux-arm64-litert-1.4.0:")


@pytest.mark.parametrize(
    "other",
    [
        Recipe("armhf", "litert-1.4.0", SOURCES),
        Recipe("arm64", "litert-1.4.0", (("Dockerfile", b"FROM y"), SOURCES[1])),
        Recipe("arm64", "litert-1.4.0", (("Dockerfil", b"eFROM x"), SOURCES[1])),
    ],
)
def test_other_content_gives_another_tag(other: Recipe) -> None:
    assert other.tag("base:1").rpartition(":")[2] != RECIPE.tag("base:1").rpartition(":")[2]


def test_another_base_gives_another_tag() -> None:
    assert RECIPE.tag("base:1") != RECIPE.tag("base:2")


def test_everything_that_goes_into_the_image_goes_into_its_tag() -> None:
    names = {name for name, _ in recipe_of("armhf", "tflite-runtime-2.14.0").sources}
    assert {"Dockerfile", "plugin.c", "runner.py", "sysroot.sh", "emulator.sh", "compile.py", "wheels.txt"} <= names


def test_the_users_base_is_the_only_one_and_gets_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYMLOPS_BASE_IMAGE", "mirror:5000/debian")
    assert [base.tag for base in bases()] == ["mirror:5000/debian:latest"]
    monkeypatch.delenv("TINYMLOPS_BASE_IMAGE")
    assert [base.made_here for base in bases()] == [False, True]


def test_what_this_process_owns_is_no_orphan() -> None:
    assert not is_orphan(labels_of_this_process())


def test_a_container_of_a_process_that_is_gone_is_an_orphan_even_if_its_number_lives_on() -> None:
    labels = labels_of_this_process()
    pid = labels[OWNER_LABEL].partition(":")[0]
    assert is_orphan({**labels, OWNER_LABEL: f"{pid}:1"})
    assert is_orphan({**labels, OWNER_LABEL: "999999999:5"})


def test_containers_of_other_machines_and_of_others_are_left_alone() -> None:
    assert not is_orphan({**labels_of_this_process(), HOST_LABEL: "elsewhere", OWNER_LABEL: "1:1"})
    assert not is_orphan({})
