"""Run one function in a fresh Python process.

TensorFlow takes 700 MB and seconds to import, its converter can take the whole process down, and a
result must not depend on what ran before it. So every training and conversion gets a process of its
own, which dies with its parent, whose noise goes to a log, and whose errors come back as values.

The child reads one pickled ``(function, arguments)`` from standard input and writes pickled messages
to a pipe: any number of ``("progress", done, total, text)``, then ``("result", value)`` or ``("error", exception)``.
Both ends are this program, on this machine; nothing from outside is ever unpickled here.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from tinymlops.errors import CompressionError, TinyMLOpsError

T = TypeVar("T")
Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is being done)."""

_ENVIRONMENT = {
    "TF_USE_LEGACY_KERAS": "1",  # tensorflow-model-optimization knows no Keras 3
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN changes the order of sums from CPU to CPU
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONHASHSEED": "0",
}


def silent(_done: int, _total: int, _text: str) -> None:
    """A progress listener that does not listen."""


def call_isolated(function: Callable[..., T], *arguments: Any, timeout_s: float, on_progress: Progress = silent) -> T:
    """Call ``function(*arguments, on_progress)`` in a fresh process and return what it returns.

    Args:
        function: A module-level function; its last parameter takes a progress listener.
        arguments: Picklable.
        timeout_s: The process is killed after this many seconds.
        on_progress: Told of every step the function reports.

    Raises:
        TinyMLOpsError: Whatever the function raised of this tree, unchanged.
        CompressionError: The process crashed, raised something unexpected, or ran out of time.
    """
    with tempfile.TemporaryFile() as log:
        reader, writer = os.pipe()
        child = subprocess.Popen(
            [sys.executable, "-m", "tinymlops.isolation", str(writer), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            env=os.environ | _ENVIRONMENT,
        )
        os.close(writer)
        killer = threading.Timer(timeout_s, child.kill)
        killer.start()
        try:
            with os.fdopen(reader, "rb") as messages:
                _send(child, (function, arguments))
                outcome = _receive(messages, on_progress)
            child.wait()
        finally:
            timed_out = not killer.is_alive()
            killer.cancel()
            child.kill()
            child.wait()
        if outcome is None:
            raise _crash(function.__name__, child.returncode, timed_out, timeout_s, log)
    if isinstance(outcome[1], BaseException):
        raise outcome[1]
    return outcome[1]  # type: ignore[no-any-return]


def _send(child: subprocess.Popen[bytes], job: object) -> None:
    assert child.stdin is not None  # noqa: S101 - Popen was told to make it
    try:
        child.stdin.write(pickle.dumps(job))
        child.stdin.close()
    except BrokenPipeError:
        return  # the child is gone already; the missing result says so


def _receive(messages: IO[bytes], on_progress: Progress) -> tuple[str, Any] | None:
    """The last message, or None if the child went away without one."""
    while True:
        try:
            message = pickle.load(messages)  # noqa: S301 - written by our own child
        except (EOFError, pickle.UnpicklingError):
            return None
        if message[0] != "progress":
            return message  # type: ignore[no-any-return]
        on_progress(*message[1:])


def _crash(name: str, code: int, timed_out: bool, timeout_s: float, log: IO[bytes]) -> CompressionError:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "it printed nothing"
    if timed_out:
        return CompressionError(f"{name} took longer than {timeout_s:.0f} s", "use a smaller network or fewer epochs")
    what = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return CompressionError(
        f"the process that ran {name} ended with {what} ({last[:300]})",
        "simplify the network, or leave this recipe out with --recipes",
    )


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent goes, also by kill -9."""
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _main(pipe: int, parent: int) -> None:
    die_with_parent(parent)
    function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own parent
    with os.fdopen(pipe, "wb") as messages:

        def send(*message: object) -> None:
            pickle.dump(message, messages)
            messages.flush()

        try:
            send("result", function(*arguments, lambda *step: send("progress", *step)))
        except TinyMLOpsError as error:
            send("error", error)
        except MemoryError:
            send("error", CompressionError("this machine has not enough memory for the step", "use a smaller network"))
        except Exception as error:  # noqa: BLE001 - the edge of a process: the log keeps the traceback
            traceback.print_exc()
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}, line {frame.lineno}"
            cause = (
                f"{type(error).__name__} in {function.__name__} ({where}): {str(error).strip().split(chr(10))[0][:300]}"
            )
            send("error", CompressionError(cause, "mend the workload's network or data, or leave this recipe out"))


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
