"""Unpacks the runtime's wheels into the root of another architecture and byte-compiles all its Python here.

Byte code is the same on every architecture, and compiling it under emulation would take most of a measurement.
"""

import compileall
import py_compile
import shutil
import sys
import zipfile
from pathlib import Path


def main(build: Path, sysroot: Path) -> None:
    """Unpack and compile.

    Args:
        build: Folder with ``wheels/*.whl`` and ``runner.py``.
        sysroot: Root of the image.
    """
    runtime = sysroot / "opt/runtime"
    runtime.mkdir(parents=True)
    for wheel in sorted((build / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(runtime)
    shutil.copy(build / "runner.py", runtime / "runner.py")
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for folder in (runtime, sysroot / "usr/lib/python3", sysroot / "usr/lib/python3.11"):
        compileall.compile_dir(
            folder, quiet=2, maxlevels=20, stripdir=str(sysroot), invalidation_mode=unchecked, workers=0
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
