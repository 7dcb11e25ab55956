"""The parent of one server: whatever the server starts ends with it, and it ends with whoever started this.

::

    python -m tinymlops.cli.supervised <process id of the starter> <command…>

Servers start processes of their own, some in sessions of their own, and leave them behind when they are killed. Here
the kernel hands such orphans over (``PR_SET_CHILD_SUBREAPER``), and tells when the starter is gone
(``PR_SET_PDEATHSIG``), also by kill -9. Linux only; elsewhere only the server itself is looked after.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_PDEATHSIG, _CHILD_SUBREAPER = 1, 36
GRACE_S = 10.0
"""How long a server has to end by itself, in seconds."""
_LAST_GRACE_S = 3.0


def command_for(command: list[str]) -> list[str]:
    """``command`` under supervision of this process."""
    return [sys.executable, "-m", "tinymlops.cli.supervised", str(os.getpid()), *command]


def children_of(parent: int) -> list[int]:
    """Processes whose parent is ``parent``, those that have ended and were not asked for included."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # the name is in brackets and may hold anything; the parent is the second field behind it
            if int(place.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(place.parent.name))
    return found


class _Told(Exception):  # noqa: N818 - not a fault
    """Somebody wants this to end."""


def _supervise(starter: int, command: list[str]) -> int:
    def told(_number: int, _frame: object) -> None:
        raise _Told

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that starts something with & has it ignored by all below
    _ask_the_kernel(starter)
    child = subprocess.Popen(command)
    code = 0
    try:
        code = child.wait()
    except _Told:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = child.wait(timeout=GRACE_S)
    _end_all(signal.SIGTERM, _LAST_GRACE_S)
    _end_all(signal.SIGKILL, _LAST_GRACE_S)
    return 128 - code if code < 0 else code


def _ask_the_kernel(starter: int) -> None:
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PDEATHSIG, signal.SIGTERM)
        prctl(_CHILD_SUBREAPER, 1)
    if os.getppid() != starter:
        raise SystemExit(1)


def _end_all(number: signal.Signals, within_s: float) -> None:
    """Send a signal to all that is left below this process, until nothing is left or the time is over."""
    deadline = time.monotonic() + within_s
    signalled: set[int] = set()
    while left := children_of(os.getpid()):
        for process in set(left) - signalled:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
            signalled.add(process)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(_supervise(int(sys.argv[1]), sys.argv[2:]))
