"""``tinymlops doctor``: what is missing on this machine, and the one command that mends it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from tinymlops.errors import SetupError, TinyMLOpsError

_MIB = 1024 * 1024
_NEEDED_DISK_MIB = 4096
_NEEDED_MEMORY_MIB = 4096


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: Name of it.
        good: True if nothing needs mending.
        detail: What was found.
        remedy: The command that would mend it.
    """

    what: str
    good: bool
    detail: str
    remedy: str = ""


@click.command()
def doctor() -> None:
    """Say what is missing on this machine, and the one command that mends it."""
    from rich.table import Table

    from tinymlops.cli import console

    findings = list(examine())
    table = Table("", "what", "found", "mend it with")
    for finding in findings:
        mark = "[green]✓[/]" if finding.good else "[red]✗[/]"
        table.add_row(mark, finding.what, finding.detail, "" if finding.good else finding.remedy)
    console.stdout().print(table)
    missing = [finding for finding in findings if not finding.good]
    if missing:
        raise SetupError(f"{len(missing)} of {len(findings)} things need mending", missing[0].remedy)


def examine() -> Iterator[Finding]:
    """Look at everything that a build needs."""
    yield _python()
    yield _packages()
    yield _from_call("container engine", _engine, "sh infra/engine.sh")
    yield _from_call("data of fashion", _fashion, "apt-get install dataset-fashion-mnist")
    yield _disk()
    yield _memory()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "Python 3.11", sys.version_info[:2] == (3, 11), version, "apt-get install python3.11 python3.11-venv"
    )


def _packages() -> Finding:
    from importlib.util import find_spec

    wanted = (
        "tensorflow",
        "tf_keras",
        "tensorflow_model_optimization",
        "prefect",
        "mlflow",
        "docker",
        "seglearn",
        "bakenn",
        "ethosu",
    )
    missing = [name for name in wanted if find_spec(name) is None]
    return Finding(
        "Python packages", not missing, f"missing {', '.join(missing)}" if missing else "all there", "make install"
    )


def _from_call(what: str, call: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what, good=True, detail=call())
    except TinyMLOpsError as error:
        return Finding(what, good=False, detail=error.cause, remedy=remedy)


def _engine() -> str:
    from tinymlops.devices.engine import Engine

    Engine.connect()
    return "answers"


def _fashion() -> str:
    from tinymlops.workloads.fashion import data_folder

    return str(data_folder())


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free // _MIB
    return Finding("disk", free >= _NEEDED_DISK_MIB, f"{free:,} MiB free", f"free {_NEEDED_DISK_MIB} MiB")


def _memory() -> Finding:
    text = Path("/proc/meminfo").read_text("ascii")
    available = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("MemAvailable")) // 1024
    good = available >= _NEEDED_MEMORY_MIB
    return Finding("memory", good, f"{available:,} MiB available", "close other programs")
