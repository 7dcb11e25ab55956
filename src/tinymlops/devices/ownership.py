"""Which process started a container, so that what a killed one left behind can be swept away."""

from __future__ import annotations

import os
import socket
from pathlib import Path

OWNER_LABEL = "org.tinymlops.owner"
HOST_LABEL = "org.tinymlops.host"


def labels_of_this_process() -> dict[str, str]:
    """Labels for everything that this process starts."""
    return {OWNER_LABEL: f"{os.getpid()}:{_start_time(os.getpid())}", HOST_LABEL: socket.gethostname()}


def is_orphan(labels: dict[str, str]) -> bool:
    """True where the owner ran on this machine and runs no more.

    A number of a process is given again, its start time (ticks since boot) with it is not.
    """
    pid, _, started = labels.get(OWNER_LABEL, "").partition(":")
    if labels.get(HOST_LABEL) != socket.gethostname() or not pid.isdigit():
        return False
    return _start_time(int(pid)) != started


def _start_time(pid: int) -> str:
    """Start of a process in ticks since boot; empty where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The name, in parentheses, may hold spaces and parentheses of its own
    return stat.rpartition(")")[2].split()[19]
