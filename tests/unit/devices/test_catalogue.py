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


def test_the_project_has_devices_of_every_kind() -> None:
    kinds: dict[str, list[str]] = {}
    for profile in profiles():
        kinds.setdefault(profile.kind, []).append(profile.name)
    boards = ["corstone-300", "esp32-c3", "nrf5340", "nucleo-h7a3", "nucleo-l4r5zi", "raspberry-pi-pico"]
    assert kinds == {
        "linux": ["raspberry-pi-3-32bit", "raspberry-pi-5", "raspberry-pi-zero-2", "x86-gateway"],
        "compiled": ["armv7-sbc", "riscv-sbc"],
        "microcontroller": boards,
        "npu": ["ethos-u55-128", "ethos-u65-256"],
    }


def test_every_profile_with_an_interpreter_names_a_runtime_with_operators_and_an_image() -> None:
    for profile in (one for one in profiles() if one.kind == "linux"):
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


POINT = """
[[calibration.points]]
task = "kws"
latency_ms = 1.5
instructions = 1000
result = "results.txt"
"""
CALIBRATED = f"""{GOOD}
[calibration]
source = "somebody"
link = "https://example.com"
{POINT * 3}"""


@pytest.mark.parametrize(
    ("good", "bad", "sentence"),
    [
        ('kind = "linux"', 'kind = "microcontroller"', "budgets.ram_kib must be positive, not 0"),
        ('kind = "linux"', 'kind = "npu"', "budgets.ram_kib must be positive"),
        ("ram_kib", "ram_kbi", "did you mean 'ram_kib'"),
        (POINT * 3, POINT * 2, "calibration needs 3 points, so that each can be left out, not 2"),
        ("latency_ms = 1.5", "latency_ms = 0.0", "a calibration point is not positive"),
        ("latency_ms = 1.5", "latency = 1.5", "did you mean 'latency_ms'"),
    ],
)
def test_a_faulty_microcontroller_is_one_sentence_too(tmp_path: Path, good: str, bad: str, sentence: str) -> None:
    text = CALIBRATED.replace("[budgets]", "[budgets]\nram_kib = 8" if good == "ram_kib" else "[budgets]", 1)
    with pytest.raises(ProfileError) as caught:
        load_profile(write(tmp_path, text.replace(good, bad, 1)))
    assert sentence in str(caught.value)


def test_an_accelerator_belongs_to_an_npu(tmp_path: Path) -> None:
    accelerator = '\n[accelerator]\nconfig = "c"\nsystem = "s"\nmemory_mode = "m"\n'
    with pytest.raises(ProfileError, match="belongs to kind 'npu'"):
        load_profile(write(tmp_path, GOOD + accelerator))


def test_a_missing_file_is_a_profile_error() -> None:
    with pytest.raises(ProfileError, match="can't be read"):
        load_profile("nowhere/board.toml")


def test_a_runtime_without_wheels_for_an_architecture_is_refused() -> None:
    with pytest.raises(EngineError, match=r"there is no image of litert-1\.4\.0 for riscv64"):
        recipe_of("riscv64", "litert-1.4.0")
