"""The images that Linux-class devices run in: one for each architecture and runtime, built once for what goes in."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tinymlops.devices.backend import Progress
from tinymlops.devices.bases import Base, bases
from tinymlops.devices.engine import Engine
from tinymlops.errors import EngineError, SetupError
from tinymlops.project import project_root, state_folder

EMULATORS = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "arm"}
_WHEEL_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l"}
_GLIBC_MINORS = range(17, 37)  # what Debian 12's C library can load


class Tagged(Protocol):
    """Something that images are made of, and named by."""

    def tag(self, base: str) -> str:
        """Name of the image that starts from ``base``."""


@dataclass(frozen=True)
class Recipe:
    """All that goes into an image.

    Attributes:
        architecture: Debian's name.
        runtime: Name of the runtime.
        sources: Files of the build context, by name.
    """

    architecture: str
    runtime: str
    sources: tuple[tuple[str, bytes], ...]

    def tag(self, base: str) -> str:
        """Tag by content: another file, list of wheels or base gives another tag.

        Args:
            base: Tag of the image that the build starts from.
        """
        digest = hashlib.sha256(f"{base}\0{self.architecture}".encode())
        for name, content in self.sources:
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return f"tinymlops/linux-{self.architecture}-{self.runtime}:{digest.hexdigest()[:12]}"


def recipe_of(architecture: str, runtime: str) -> Recipe:
    """What the image for an architecture and a runtime is made of.

    Raises:
        EngineError: There are no wheels of this runtime for this architecture.
    """
    folder = project_root() / "infra" / "images" / "linux"
    wheels = folder / "wheels" / f"{runtime}-{architecture}.txt"
    if architecture not in EMULATORS or not wheels.is_file():
        raise EngineError(
            f"there is no image of {runtime} for {architecture}", f"add {wheels.name} to {wheels.parent} first"
        )
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return Recipe(architecture, runtime, (*sorted(files.items()), ("wheels.txt", wheels.read_bytes())))


def ensure_image(engine: Engine, architecture: str, runtime: str, on_progress: Progress) -> str:
    """The tag of the image for an architecture and a runtime; it is built if it is not there.

    Raises:
        EngineError: The build failed, or the engine is gone.
        SetupError: This machine lacks what building takes.
    """
    recipe = recipe_of(architecture, runtime)
    found = ready(engine, recipe)
    if found:
        return found
    with one_at_a_time():
        return ready(engine, recipe) or _build(engine, recipe, on_progress)


def ready(engine: Engine, recipe: Tagged) -> str:
    """The tag of the image if it was built before, on whichever base."""
    return next((tag for base in bases() if engine.has_image(tag := recipe.tag(base.tag))), "")


def _build(engine: Engine, recipe: Recipe, on_progress: Progress) -> str:
    base = first_base(engine, on_progress)
    tag = recipe.tag(base.tag)
    with tempfile.TemporaryDirectory(prefix="tinymlops-image-") as name:
        context = Path(name)
        for file, content in recipe.sources:
            (context / file).write_bytes(content)
        on_progress(f"{tag}: fetching the runtime")
        fetch_wheels(context / "wheels.txt", recipe.architecture, context / "wheels")
        arguments = {
            "BASE": base.tag,
            "ARCHITECTURE": recipe.architecture,
            "EMULATOR": EMULATORS[recipe.architecture],
        }
        engine.build(context, tag, arguments, on_progress)
    return tag


def first_base(engine: Engine, on_progress: Progress) -> Base:
    """The first base that is there, else the first that can be had."""
    here = [base for base in bases() if engine.has_image(base.tag)]
    return here[0] if here else next(base for base in bases() if base.obtain(engine, on_progress))


def fetch_wheels(requirements: Path, architecture: str, target: Path) -> None:
    """Download the wheels of another architecture, each checked against its committed digest.

    Raises:
        SetupError: The package index does not answer, or a digest differs.
    """
    machine = _WHEEL_MACHINES[architecture]
    platforms = [f"manylinux2014_{machine}", *(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS)]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
        "--python-version=3.11", "--implementation=cp", "--dest", str(target), "--requirement", str(requirements),
        *(f"--platform={platform}" for platform in platforms),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise SetupError(f"the wheels for {architecture} can't be fetched ({lines[-1]})", "check the package index")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Holds other processes back while an image is built."""
    path = state_folder() / "images.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
