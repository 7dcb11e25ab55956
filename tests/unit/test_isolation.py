"""A function in a process of its own: what comes back when it goes well, and when it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinymlops.errors import CompressionError, UnknownNameError, WorkloadError
from tinymlops.isolation import Progress, call_isolated

HERE = Path(__file__)


def double(number: int, on_progress: Progress) -> int:
    on_progress(1, 2, "half way")
    print("noise that must not disturb the messages")
    return 2 * number


def refuse(on_progress: Progress) -> None:
    raise WorkloadError("the data is bad", "mend it")


def misspell(on_progress: Progress) -> None:
    raise UnknownNameError("recipe", "in8", ["int8"])


def fail(on_progress: Progress) -> None:
    raise ZeroDivisionError("by zero")


def crash(on_progress: Progress) -> None:
    print("about to crash", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(on_progress: Progress) -> None:
    time.sleep(60)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child finds this module by the name that it has here."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), *sys.path]))


def test_the_result_and_the_progress_come_back() -> None:
    heard: list[tuple[int, int, str]] = []
    assert call_isolated(double, 21, timeout_s=30, on_progress=lambda *step: heard.append(step)) == 42
    assert heard == [(1, 2, "half way")]


def test_an_error_of_ours_comes_back_as_itself() -> None:
    with pytest.raises(WorkloadError, match="the data is bad: mend it"):
        call_isolated(refuse, timeout_s=30)


def test_an_unknown_name_keeps_its_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'int8'"):
        call_isolated(misspell, timeout_s=30)


def test_any_other_error_names_type_and_place() -> None:
    with pytest.raises(CompressionError, match=r"ZeroDivisionError in fail \(test_isolation.py, line \d+\): by zero"):
        call_isolated(fail, timeout_s=30)


def test_a_crash_names_the_signal_and_the_last_line() -> None:
    with pytest.raises(CompressionError, match=r"ended with SIGSEGV \(about to crash\)"):
        call_isolated(crash, timeout_s=30)


def test_a_process_that_hangs_is_killed() -> None:
    start = time.monotonic()
    with pytest.raises(CompressionError, match="hang took longer than 1 s"):
        call_isolated(hang, timeout_s=1)
    assert time.monotonic() - start < 10


def test_the_child_dies_with_a_killed_parent() -> None:
    script = (
        "import sys, importlib; sys.path.insert(0, '.');"
        "from tinymlops.isolation import call_isolated;"
        f"from {__name__} import hang;"
        "call_isolated(hang, timeout_s=60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 20
    while not (pids := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    while Path(f"/proc/{pids[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pids[0]}").exists()
