"""An exported folder is built by the commands of its own README, and its self-test passes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.running import tinymlops
from tests.unit.codegen.networks import keyword_spotting, two_ends

MODELS = {"kws": keyword_spotting, "two-ends": two_ends}
# with CMSIS-NN, with CMSIS-NN for vectors, and with our kernels alone
DEVICES = ["nucleo-l4r5zi", "corstone-300", "raspberry-pi-pico"]


def commands(readme: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", MODELS)
def test_an_export_builds_by_its_readme_and_passes_its_self_test(tmp_path: Path, model: str, device: str) -> None:
    (tmp_path / "model.tflite").write_bytes(MODELS[model]())
    out = tmp_path / "exported"
    done = tinymlops("export", str(tmp_path / "model.tflite"), "--device", device, "--out", str(out), "--name", "net")
    assert done.returncode == 0, done.stderr
    by_hand, by_cmake, for_the_device = commands((out / "README.md").read_text())
    for block in (by_hand, by_cmake, for_the_device):
        ran = subprocess.run(
            ["sh", "-e"], input=block, cwd=out, capture_output=True, text=True, timeout=300, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert "warning" not in ran.stderr, ran.stderr
        if block is not for_the_device:
            assert "self-test: every output as expected" in ran.stdout
    assert (out / "libnet.a").stat().st_size > 1000
    again = tinymlops("export", str(tmp_path / "model.tflite"), "--device", device, "--out", str(out), "--name", "net")
    assert again.returncode == 0, again.stderr


def test_a_self_test_notices_a_changed_weight(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(keyword_spotting())
    out = tmp_path / "exported"
    tinymlops("export", str(tmp_path / "model.tflite"), "--device", "raspberry-pi-pico", "--out", str(out))
    text = (out / "model.c").read_text()
    start = text.index("static const int32_t conv_2d_0_bias")
    (out / "model.c").write_text(text[:start] + text[start:].replace("    ", "    99", 1))
    ran = subprocess.run(
        ["sh", "-e"],
        input=commands((out / "README.md").read_text())[0],
        cwd=out,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 1
    assert "outputs differ" in ran.stdout


def test_errors_of_export_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(keyword_spotting()[:1000])
    done = tinymlops(
        "export", str(tmp_path / "model.tflite"), "--device", "nrf5340", "--out", str(tmp_path / "exported")
    )
    assert done.returncode == 4
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "exported").exists()
