"""The shape of the code: what import-linter can't see."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import Flow

ROOT = Path(__file__).parents[2]
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60


def sources() -> list[Path]:
    return sorted(file for folder in ("src", "flows", "tasks", "deployments") for file in (ROOT / folder).rglob("*.py"))


def functions(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def test_no_file_and_no_function_grows_too_long() -> None:
    long_files = [file.name for file in sources() if len(file.read_text().splitlines()) > MOST_LINES_OF_A_FILE]
    long_functions = [
        f"{file.name}:{name} ({lines})"
        for file in sources()
        for name, lines in functions(file)
        if lines > MOST_LINES_OF_A_FUNCTION
    ]
    assert (long_files, long_functions) == ([], [])


@pytest.mark.parametrize("file", sorted((ROOT / "flows").glob("[!_]*.py")), ids=lambda file: file.stem)
def test_every_flow_file_holds_the_flow_of_its_name(file: Path) -> None:
    assert isinstance(getattr(importlib.import_module(f"flows.{file.stem}"), file.stem), Flow)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines()]


def test_lock_files_name_hashes_and_no_addresses() -> None:
    locks = [file for file in tracked() if file.suffix == ".txt" and "requirements" in str(file)]
    assert locks
    for lock in locks:
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|--index-url|--extra-index-url|--find-links", text)


def test_no_data_set_model_or_large_file_is_committed() -> None:
    for file in tracked():
        assert file.suffix not in {".npy", ".npz", ".csv", ".tflite", ".h5", ".gz", ".whl"}, file
        assert file.stat().st_size < 700_000, file
