"""Where a build starts from: a base of the user's choice, Debian's own from a registry, or one made of packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinymlops.devices.backend import Progress
from tinymlops.devices.engine import Engine
from tinymlops.errors import EngineError, SetupError

_SUITE = "bookworm"
_BOOTSTRAP = ("mmdebstrap", "--variant=apt", "--quiet", _SUITE)
_BOOTSTRAP_TIMEOUT_S = 900
_TRIES = 3  # a mirror in the middle of its own update refuses once


@dataclass(frozen=True)
class Base:
    """An image to start from.

    Attributes:
        tag: Its name.
        made_here: True where it is made of packages instead of pulled.
        chosen: True where the user named it, so that nothing else may take its place.
    """

    tag: str
    made_here: bool = False
    chosen: bool = False

    def obtain(self, engine: Engine, on_progress: Progress) -> bool:
        """Get it into the engine; False where it can't be had and another may do.

        Raises:
            EngineError: The one that the user chose can't be had.
            SetupError: This machine lacks what making it takes.
        """
        if self.made_here:
            _bootstrap(engine, self.tag, on_progress)
            return True
        on_progress(f"{self.tag}: asking its registry")
        pulled = engine.pull(self.tag)
        if self.chosen and not pulled:
            raise EngineError(f"base image {self.tag} can't be pulled", "correct or unset TINYMLOPS_BASE_IMAGE")
        return pulled


def bases() -> tuple[Base, ...]:
    """Bases in order of preference: only the user's (``TINYMLOPS_BASE_IMAGE``), or Debian's and our own."""
    chosen = os.environ.get("TINYMLOPS_BASE_IMAGE")
    if chosen:
        return (Base(chosen if ":" in chosen.rpartition("/")[2] else f"{chosen}:latest", chosen=True),)
    digest = hashlib.sha256("\0".join(_BOOTSTRAP).encode()).hexdigest()[:12]
    return (Base(f"debian:{_SUITE}-slim"), Base(f"tinymlops/base:{_SUITE}-{digest}", made_here=True))


def _bootstrap(engine: Engine, tag: str, on_progress: Progress) -> None:
    """Make a bare Debian of packages.

    Raises:
        SetupError: mmdebstrap is missing or fails.
    """
    if shutil.which(_BOOTSTRAP[0]) is None:
        raise SetupError(
            "no container registry answers, and mmdebstrap, which makes a base image without one, is missing",
            "run `sh infra/engine.sh` (Debian, Ubuntu), or set TINYMLOPS_BASE_IMAGE to a Debian 12 image",
        )
    with tempfile.TemporaryDirectory(prefix="tinymlops-base-") as folder:
        archive = Path(folder) / "base.tar"
        for attempt in range(1, _TRIES + 1):
            on_progress(f"{tag}: making a bare Debian of packages" + (f", try {attempt}" if attempt > 1 else ""))
            complaint = _run_bootstrap(archive)
            if not complaint:
                engine.import_image(archive, tag)
                return
    raise SetupError(f"mmdebstrap failed ({complaint})", "check that Debian's mirrors answer, then run it again")


def _run_bootstrap(archive: Path) -> str:
    """One try; the last line of its complaint, or nothing."""
    archive.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [*_BOOTSTRAP, str(archive)], capture_output=True, text=True, check=False, timeout=_BOOTSTRAP_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_BOOTSTRAP_TIMEOUT_S} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
