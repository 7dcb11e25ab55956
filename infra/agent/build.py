"""Builds the agent's image; prints its tag.

    python infra/agent/build.py [--architecture amd64]

The base is Debian's from a registry, or one made of packages where none answers. Wheels are those of
requirements/all.txt, each checked against its digest.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

from tinymlops.devices.bases import bases
from tinymlops.devices.engine import Engine
from tinymlops.devices.images import fetch_wheels
from tinymlops.project import project_root

WHEELS = (
    "ai-edge-litert", "backports-zstd", "cbor2", "cffi", "click", "cryptography", "msgspec", "numpy",
    "securesystemslib", "tuf", "urllib3",
)  # fmt: skip
REPOSITORY = "tinymlops/agent"


def main() -> None:
    """Build for the architecture of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--architecture", default="amd64", choices=("amd64",))
    arguments = parser.parse_args()
    print(build(Engine.connect(), arguments.architecture))


def build(engine: Engine, architecture: str = "amd64") -> str:
    """The tag of the image; it is built where it is not there for just these sources.

    Raises:
        EngineError: The build failed, or the engine is gone.
        SetupError: No base or no wheels can be had.
    """
    say = lambda text: print(text, file=sys.stderr)  # noqa: E731
    here = next((base for base in bases() if engine.has_image(base.tag)), None)
    base = here or next(base for base in bases() if base.obtain(engine, say))
    with tempfile.TemporaryDirectory(prefix="tinymlops-agent-image-") as name:
        context = Path(name)
        lay_out(context)
        tag = f"{REPOSITORY}:{digest(context, base.tag + architecture)}"
        if not engine.has_image(tag):
            fetch_wheels(context / "wheels.txt", architecture, context / "wheels")
            engine.build(context, tag, {"BASE": base.tag}, say)
    return tag


def lay_out(context: Path) -> None:
    """Fill the build context, but for the wheels."""
    root = project_root()
    for name in ("Dockerfile", "root.sh", "unpack.py"):
        shutil.copy(root / "infra/agent" / name, context / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "src/tinymlops", context / "source/tinymlops", ignore=ignored)
    locked = (root / "requirements/all.txt").read_text()
    (context / "wheels.txt").write_text("".join(pinned(locked, name) for name in WHEELS))


def pinned(locked: str, name: str) -> str:
    """The lines of a lock file that pin one package.

    Raises:
        ValueError: It is not pinned there.
    """
    found = re.search(rf"^{re.escape(name)}==[^\n]*\n(?:[ \t]+[^\n]*\n)*", locked, re.MULTILINE)
    if found is None:
        raise ValueError(f"requirements/all.txt does not pin {name}")
    return found[0]


def digest(context: Path, salt: str) -> str:
    """Of all that goes into the image."""
    total = hashlib.sha256(salt.encode())
    for path in sorted(path for path in context.rglob("*") if path.is_file()):
        content = path.read_bytes()
        total.update(f"\0{path.relative_to(context)}\0{len(content)}\0".encode() + content)
    return total.hexdigest()[:12]


if __name__ == "__main__":
    main()
