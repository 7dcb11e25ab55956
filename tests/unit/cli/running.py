"""Run the installed command as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def tinymlops(*arguments: str, timeout_s: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """The ended process; output as text."""
    command = Path(sys.executable).with_name("tinymlops")
    return subprocess.run(
        [str(command), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ | {"COLUMNS": "160"} | environment,
        check=False,
    )
