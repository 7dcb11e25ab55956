"""Unpacks wheels and our own source into the image's root, leaves out what no agent loads, and compiles the rest."""

import compileall
import py_compile
import shutil
import sys
import zipfile
from pathlib import Path

LEFT_OUT = (
    "ai_edge_litert/aot/", "ai_edge_litert/tools/", "ai_edge_litert/vendors/", "ai_edge_litert/libLiteRt.so",
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so", "numpy/f2py/", "numpy/_pyinstaller/", "cffi/", "pycparser/",
)  # fmt: skip
"""Tools for other chips and for building. cryptography needs of cffi its compiled part alone, which lies beside it."""
LEFT_OUT_PARTS = ("/tests/", "/testing/", ".pyi", ".dist-info/", "/include/", ".lib", ".a", ".h", ".c", ".pxd")
KEPT = ("numpy/testing/",)
MAIN = "import sys\n\nfrom tinymlops.cli.main import main\n\nsys.argv.insert(1, 'agent')\nmain()\n"


def main(build: Path, root: Path) -> None:
    """Unpack and compile.

    Args:
        build: Folder with ``wheels/*.whl`` and ``source``.
        root: Of the image.
    """
    target = root / "opt/agent"
    target.mkdir(parents=True)
    for wheel in sorted((build / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target, [name for name in archive.namelist() if is_wanted(name)])
    shutil.copytree(build / "source/tinymlops", target / "tinymlops")
    (target / "tinymlops_agent.py").write_text(MAIN)
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for folder in (target, root / "usr/lib/python3.11"):
        compiled = compileall.compile_dir(
            folder, quiet=2, maxlevels=20, stripdir=str(root), invalidation_mode=unchecked, legacy=True, workers=0
        )
        if compiled:
            drop_sources(folder)


def is_wanted(name: str) -> bool:
    """Whether an agent may need a file of a wheel."""
    left_out = name.startswith(LEFT_OUT) or any(
        part in name if part.startswith("/") or part.endswith("/") else name.endswith(part) for part in LEFT_OUT_PARTS
    )
    return name.startswith(KEPT) or not left_out


def drop_sources(folder: Path) -> None:
    """Leave the byte code alone: it is what runs, and sources would double the Python part."""
    for source in folder.rglob("*.py"):
        if source.with_suffix(".pyc").exists() and source.name != "tinymlops_agent.py":
            source.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
