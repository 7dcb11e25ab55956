"""One measurement as a folder and a shell script: compile what was never compiled before, link, run under the counter.

Kernels are the same for every model. Their objects are kept beside the other results, under a key over compiler, flags,
source and headers, and a second model compiles its own file alone.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinymlops.codegen import GeneratedModel
from tinymlops.devices.microcontroller.targets import Target
from tinymlops.errors import StorageError
from tinymlops.project import state_folder

_FLAGS = ("-std=c11", "-O3", "-ffunction-sections", "-fdata-sections")
_FIRMWARE = "/opt/firmware"
_MODEL = "model.c"


@dataclass(frozen=True)
class Job:
    """What goes into one container and comes out of it.

    Attributes:
        image: Tag of the image with compiler and emulator; part of every key.
        target: The core.
        model: The generated C.
    """

    image: str
    target: Target
    model: GeneratedModel

    def keys(self) -> dict[str, str]:
        """Path in the container → name of its object, for every source that does not depend on the model."""
        headers = sorted(name for name in self.model.files if name.endswith((".h", ".inc")) and name != "model.h")
        shared = hashlib.sha256("\0".join((self.image, *self._compile())).encode())
        for name in headers:
            shared.update(name.encode() + b"\0" + self.model.files[name])
        kernels = {f"/work/in/{name}": self.model.files[name] for name in self.model.sources if name != _MODEL}
        firmware = {f"{_FIRMWARE}/{name}": b"" for name in self.target.sources}  # the image's tag covers its content
        return {path: _key(shared, path, content) for path, content in (kernels | firmware).items()}

    def script(self, missing: dict[str, str]) -> str:
        """Shell commands for the container; ``missing`` are those of ``keys`` to compile.

        The file ``stage`` tells afterwards how far it came.
        """
        compile_ = [*self._compile(), "-c"]
        steps = [
            [*compile_, "-include", f"{_FIRMWARE}/markers.h", f"/work/in/{_MODEL}", "-o", "model.o"],
            [*compile_, f"{_FIRMWARE}/main.c", "-o", "main.o"],
            *([*compile_, path, "-o", f"objects/{key}.o"] for path, key in missing.items()),
        ]
        lines = ["set -eu", "echo compile >stage", *_two_at_a_time(steps)]
        lines += ["echo link >stage", shlex.join(self._link(set(missing.values())))]
        lines += ["echo run >stage", shlex.join(self.target.emulate("firmware.elf", "/opt/count.so,out=counts"))]
        return "\n".join((*lines, "echo done >stage", ""))

    def _compile(self) -> tuple[str, ...]:
        folders = (f"-I/work/in/{folder}" for folder in self.model.include_folders)
        return (self.target.compiler, *self.target.flags, *_FLAGS, "-I/work/in", *folders, f"-I{_FIRMWARE}")

    def _link(self, fresh: set[str]) -> list[str]:
        objects = [f"{'objects' if key in fresh else '/work/objects'}/{key}.o" for key in self.keys().values()]
        script = ("-nostartfiles", "-Wl,--gc-sections", f"-L{_FIRMWARE}", "-T", self.target.linker_script)
        return [
            *(self.target.compiler, *self.target.flags, *_FLAGS, *script),
            *("main.o", "model.o", *objects, "-o", "firmware.elf"),
        ]


def _key(shared: hashlib._Hash, path: str, content: bytes) -> str:
    digest = shared.copy()
    digest.update(path.encode() + b"\0" + content)
    return digest.hexdigest()[:32]


def _two_at_a_time(steps: list[list[str]]) -> list[str]:
    """Commands in pairs, the first one in the background; a failure of either ends the script."""
    lines = []
    for i in range(0, len(steps) - 1, 2):
        lines += [f"{shlex.join(steps[i])} & first=$!", shlex.join(steps[i + 1]), "wait $first"]
    return lines + ([shlex.join(steps[-1])] if len(steps) % 2 else [])


def object_folder() -> Path:
    """Where objects are kept.

    Raises:
        StorageError: It can't be made.
    """
    folder = state_folder() / "objects"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder} can't be made ({error.strerror})", "free some space, or set TINYMLOPS_STATE"
        ) from error
    return folder


def lay_out(folder: Path, job: Job, inputs: bytes) -> dict[Path, str]:
    """Write a job below ``folder``; where its folders appear in the container comes back.

    Raises:
        StorageError: The disk is full or can't be written.
    """
    source, target, objects = folder / "in", folder / "out", object_folder()
    missing = {path: key for path, key in job.keys().items() if not (objects / f"{key}.o").is_file()}
    try:
        for name, content in job.model.files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
        (source / "job.sh").write_text(job.script(missing))
        for place in (target, target / "objects"):
            place.mkdir()
            place.chmod(0o777)  # the container's user is another one; nobody else gets through the folder above
        (target / "inputs.bin").write_bytes(inputs)
    except OSError as error:
        raise StorageError(
            f"{folder} can't be written ({error.strerror or error})", "free some space, or set TMPDIR to another folder"
        ) from error
    return {source: "/work/in:ro", target: "/work/out", objects: "/work/objects:ro"}


def keep_objects(folder: Path) -> None:
    """Move freshly compiled objects to the others; each appears whole or not at all.

    Raises:
        StorageError: The disk is full or can't be written.
    """
    kept = object_folder()
    try:
        for fresh in (folder / "out" / "objects").glob("*.o"):
            descriptor, name = tempfile.mkstemp(dir=kept, prefix=".")
            with os.fdopen(descriptor, "wb") as file:
                file.write(fresh.read_bytes())
            Path(name).chmod(0o644)
            Path(name).replace(kept / fresh.name)
    except OSError as error:
        raise StorageError(f"{kept} can't be written ({error.strerror or error})", "free some space") from error
