from __future__ import annotations

from pathlib import Path

import pytest

from tinymlops.devices.catalogue import load_profile, profiles
from tinymlops.devices.images import recipe_of
from tinymlops.devices.runtimes import load_runtime
from tinymlops.errors import EngineError, ProfileError, UnknownNameError

GOOD = """
name = "board"
title = "A board"
kind = "linux"
architecture = "arm64"
cpu = "cortex-a53"
clock_mhz = 1000
cores = 4.0
memory_mib = 512
[runtime]
name = "litert-1.4.0"
kernels = "xnnpack"
[budgets]
flash_kib = 64
"""


def write(folder: Path, text: str) -> str:
    path = folder / "board.toml"
    path.write_text(text)
    return str(path)


def test_every_profile_of_the_project_loads_and_names_a_runtime_with_operators_and_an_image() -> None:
    found = profiles()
    assert [p.name for p in found] == ["raspberry-pi-3-32bit", "raspberry-pi-5", "raspberry-pi-zero-2", "x86-gateway"]
    for profile in found:
        assert load_runtime(profile.runtime.name).operators["DEPTHWISE_CONV_2D"] >= 3
        assert recipe_of(profile.architecture, profile.runtime.name).sources
        assert profile.emulated == (profile.architecture != "amd64")


def test_a_profile_of_the_users_own_is_read_from_its_file(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, GOOD))
    assert (profile.name, profile.budgets.flash_kib, profile.budgets.ram_kib) == ("board", 64, None)


def test_an_unknown_device_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'raspberry-pi-5'"):
        load_profile("raspbery-pi-5")


@pytest.mark.parametrize(
    ("good", "bad", "sentence"),
    [
        ("memory_mib", "memroy_mib", "did you mean 'memory_mib'"),
        ("flash_kib", "flash_kb", "did you mean 'flash_kib'"),
        ("kernels", "kernel", "did you mean 'kernels'"),
        ('cpu = "cortex-a53"\n', "", "missing required field `cpu`"),
        ("clock_mhz = 1000", 'clock_mhz = "fast"', "expected `int`"),
        ("memory_mib = 512", "memory_mib = 0", "memory_mib must be positive"),
        ("cores = 4.0", "cores = nan", "cores must be positive"),
        ("flash_kib = 64", "flash_kib = -1", "budgets.flash_kib must be positive"),
        ('name = "board"', 'name = "bored"', "name is 'bored', but the file is called 'board'"),
        ("[budgets]", "[budgets", "is not TOML"),
    ],
)
def test_a_faulty_profile_is_one_sentence_about_the_fault(tmp_path: Path, good: str, bad: str, sentence: str) -> None:
    with pytest.raises(ProfileError) as caught:
        load_profile(write(tmp_path, GOOD.replace(good, bad, 1)))
    assert sentence in str(caught.value)
    assert "board.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_profile_error() -> None:
    with pytest.raises(ProfileError, match="can't be read"):
        load_profile("nowhere/board.toml")


def test_a_runtime_without_wheels_for_an_architecture_is_refused() -> None:
    with pytest.raises(EngineError, match=r"there is no image of litert-1\.4\.0 for riscv64"):
        recipe_of("riscv64", "litert-1.4.0")
