"""The image with cross compilers, emulators, the instruction counter and the firmware: one for all cores."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinymlops.devices.backend import Progress
from tinymlops.devices.engine import Engine
from tinymlops.devices.images import first_base, one_at_a_time, ready
from tinymlops.devices.microcontroller.targets import targets
from tinymlops.project import project_root


@dataclass(frozen=True)
class Toolchain:
    """All that goes into the image.

    Attributes:
        sources: Files of the build context, by name.
    """

    sources: tuple[tuple[str, bytes], ...]

    def tag(self, base: str) -> str:
        """Tag by content: another file or base gives another tag.

        Args:
            base: Tag of the image that the build starts from.
        """
        digest = hashlib.sha256(base.encode())
        for name, content in self.sources:
            digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
        return f"tinymlops/microcontroller:{digest.hexdigest()[:12]}"


def toolchain() -> Toolchain:
    """What the image is made of.

    Raises:
        ProfileError: A target's file does not parse.
    """
    infra = project_root() / "infra"
    image, firmware = infra / "images" / "microcontroller", infra / "firmware"
    files = {path.name: path.read_bytes() for path in image.iterdir() if path.is_file()}
    files |= {str(path.relative_to(infra)): path.read_bytes() for path in firmware.rglob("*") if path.is_file()}
    lines = sorted(" ".join((one.compiler, *one.flags)) for one in targets())
    files["targets.txt"] = "\n".join((*lines, "")).encode()
    return Toolchain(tuple(sorted(files.items())))


def ensure_toolchain(engine: Engine, on_progress: Progress) -> str:
    """The tag of the image; it is built if it is not there.

    Raises:
        EngineError: The build failed, or the engine is gone.
        SetupError: This machine lacks what building takes.
    """
    recipe = toolchain()
    found = ready(engine, recipe)
    if found:
        return found
    with one_at_a_time():
        return ready(engine, recipe) or _build(engine, recipe, on_progress)


def _build(engine: Engine, recipe: Toolchain, on_progress: Progress) -> str:
    base = first_base(engine, on_progress)
    tag = recipe.tag(base.tag)
    with tempfile.TemporaryDirectory(prefix="tinymlops-image-") as name:
        context = Path(name)
        for file, content in recipe.sources:
            (context / file).parent.mkdir(parents=True, exist_ok=True)
            (context / file).write_bytes(content)
        engine.build(context, tag, {"BASE": base.tag}, on_progress)
    return tag
