"""Processes that want the same keys of one store at the same moment, and one that is killed while it writes.

As a program: ``python -m tests.support.racing create|replace|overwrite ADDRESS NUMBER``; it says ``ready`` and waits
for a line before it begins.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping

from tinymlops.store import ObjectStore, open_store

KEYS = tuple(f"wanted-{number}" for number in range(5))
PROCESSES = 8
OVERWRITTEN = "overwritten"
OVERWRITTEN_BYTES = 12 << 20
_TIMEOUT_S = 120


def race(what: str, address: str, environment: Mapping[str, str]) -> dict[int, set[str]]:
    """Number of each process → the keys it won."""
    processes = {number: _start(what, address, number, environment) for number in range(PROCESSES)}
    try:
        for process in processes.values():
            _wait_until_ready(process)
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        won = {number: set(process.communicate(timeout=_TIMEOUT_S)[0].split()) for number, process in processes.items()}
        assert {process.returncode for process in processes.values()} == {0}
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return won


def kill_a_writer(address: str, environment: Mapping[str, str]) -> None:
    """Start a process that overwrites one value again and again, and kill it in the middle."""
    process = _start("overwrite", address, 0, environment)
    try:
        _wait_until_ready(process)
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(0.3 * random.random())  # noqa: S311 - no secret
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate(timeout=_TIMEOUT_S)


def _start(what: str, address: str, number: int, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.racing", what, address, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def _main(what: str, address: str, number: str) -> None:
    store = open_store(address)
    tags = {key: store.head(key).etag for key in KEYS} if what == "replace" else {}
    print("ready", flush=True)
    sys.stdin.readline()
    if what == "overwrite":
        _overwrite(store)
    for key in random.sample(KEYS, len(KEYS)):
        content = f"{number} was here".encode()
        tag = store.put_if_match(key, content, tags[key]) if tags else store.put_if_absent(key, content)
        if tag is not None:
            print(key)


def _overwrite(store: ObjectStore) -> None:
    while True:
        for letter in (b"b", b"a"):
            store.put(OVERWRITTEN, letter * OVERWRITTEN_BYTES)


if __name__ == "__main__":
    _main(*sys.argv[1:])
