"""The counter in a TPM 2.0, against a software TPM."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinymlops.edge.monotonic import Steady
from tinymlops.edge.storage import Folder
from tinymlops.edge.tpm_counter import TpmCounter
from tinymlops.errors import SetupError, UntrustedError


def _free_pair() -> int:
    """Two free ports, one behind the other: a TPM's commands, and its control."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError


@pytest.fixture
def tcti(tmp_path: Path) -> Iterator[str]:
    port, state = _free_pair(), tmp_path / "tpm"
    state.mkdir()
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server", f"type=tcp,port={port}"]
    command += ["--ctrl", f"type=tcp,port={port + 1}", "--flags", "not-need-init,startup-clear"]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(port + 1)
            yield f"swtpm:host=127.0.0.1,port={port}"
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int) -> None:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError


def test_a_counter_in_a_tpm_goes_up_and_finds_a_folder_that_was_put_back(tcti: str, tmp_path: Path) -> None:
    counter = TpmCounter(tcti)
    first = counter.read()
    assert [counter.increment(), counter.read(), TpmCounter(tcti).increment()] == [first + 1, first + 1, first + 2]
    folder = Folder(tmp_path / "state", durable=False)
    steady = Steady(folder, counter)
    steady.check()
    assert [steady.step(), steady.step()] == [first + 3, first + 4]
    before = folder.read("meter/steps-tpm2.json") or b""
    steady.step()
    steady.step()
    folder.write("meter/steps-tpm2.json", before)
    with pytest.raises(UntrustedError, match="tpm2 counter"):
        steady.check()


def test_without_a_tpm_it_is_said() -> None:
    with pytest.raises(SetupError, match="can't be used"):
        TpmCounter("swtpm:host=127.0.0.1,port=1").read()
