"""Generated C on this machine, under the sanitizers, beside the TensorFlow Lite Micro interpreter."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from tinymlops.codegen import GeneratedModel, KernelSet, generate

Rows = np.ndarray[tuple[int, int], np.dtype[np.int8]]
Patch = tuple[str, bytes, bytes]
"""A file of the generated ones, a piece of its text, and what to plant there."""
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
SANITIZERS = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all")
# CMSIS-NN's form for hosts; Arm's code is neither written for these warnings nor for the sanitizers
_ARM_ON_A_HOST = ("-D__GNUC_PYTHON__", "-D__RESTRICT=__restrict", "-DNDEBUG")
_ARENA = 8 << 20
_MAIN = b"""
#include <stdio.h>
#include "model.h"
int main(void)
{
    static int8_t input[MODEL_INPUT_BYTES];
    static int8_t output[MODEL_OUTPUT_BYTES];
    while (fread(input, 1, sizeof input, stdin) == sizeof input) {
        model_invoke(input, output);
        if (fwrite(output, 1, sizeof output, stdout) != sizeof output) {
            return 1;
        }
    }
    return 0;
}
"""


@lru_cache(maxsize=1)
def _objects() -> Path:
    """Compiled kernels, kept for the whole session: they are the same for every model."""
    return Path(tempfile.mkdtemp(prefix="tinymlops-objects-"))


def write(generated: GeneratedModel, folder: Path) -> None:
    for path, content in generated.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def build(generated: GeneratedModel, folder: Path) -> Path:
    """A program that reads rows of inputs and writes rows of outputs; our files with every warning an error."""
    write(generated, folder)
    (folder / "main.c").write_bytes(_MAIN)
    objects = [_compiled(generated, folder, path) for path in (*generated.sources, "main.c")]
    program = folder / "program"
    _run(["gcc", *SANITIZERS, *map(str, objects), "-o", str(program)])
    return program


def _compiled(generated: GeneratedModel, folder: Path, path: str) -> Path:
    flags: Sequence[str] = ("-O1", "-g1", *WARNINGS, *SANITIZERS)
    if path.startswith("cmsis_nn/"):
        flags = ("-O1", "-w", "-fwrapv")
    if "cmsis_nn/Include" in generated.include_folders:
        flags = (*flags, *_ARM_ON_A_HOST)
    content = (folder / path).read_bytes()
    kernel = "/" in path
    headers = b"".join(text for name, text in sorted(generated.files.items()) if name.endswith(".h") and "/" in name)
    name = hashlib.sha256(" ".join((*flags, path)).encode() + content + (headers if kernel else b"")).hexdigest()
    target = (_objects() if kernel else folder) / f"{name}.o"
    if not target.exists():
        includes = [f"-I{folder / include}" for include in generated.include_folders]
        unfinished = target.with_suffix(f".{os.getpid()}.o")
        _run(["gcc", *flags, *includes, "-c", str(folder / path), "-o", str(unfinished)])
        unfinished.replace(target)
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[:4000]


def run_generated(model: bytes, rows: Rows, kernels: KernelSet, patch: Patch | None = None) -> Rows:
    """Outputs of the generated C for each row of inputs."""
    generated = generate(model, kernels)
    if patch is not None:
        path, old, new = patch
        assert old in generated.files[path]
        generated.files[path] = generated.files[path].replace(old, new)
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            [build(generated, Path(name))], input=rows.tobytes(), capture_output=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr.decode()[:4000]
    assert not done.stderr, done.stderr.decode()[:4000]
    return np.frombuffer(done.stdout, np.int8).reshape(len(rows), -1)


def run_reference(model: bytes, rows: Rows) -> Rows:
    """Outputs of the TensorFlow Lite Micro interpreter."""
    from tflite_micro import runtime

    generated = generate(model, KernelSet.PORTABLE)
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=_ARENA)
    made = []
    for row in rows:
        at = 0
        for index, tensor in enumerate(generated.inputs):
            interpreter.set_input(row[at : at + tensor.bytes].reshape(tensor.shape), index)
            at += tensor.bytes
        interpreter.invoke()
        outputs = [np.asarray(interpreter.get_output(i)).ravel() for i in range(len(generated.outputs))]
        made.append(np.concatenate(outputs))
    return np.array(made, np.int8)


def random_rows(model: bytes, count: int, seed: int = 0) -> Rows:
    """Full-range inputs, the first two rows at both ends of the range."""
    size = sum(tensor.bytes for tensor in generate(model, KernelSet.PORTABLE).inputs)
    rows = np.random.default_rng(seed).integers(-128, 128, (count, size)).astype(np.int8)
    rows[:1] = -128
    rows[1:2] = 127
    return rows


def assert_bit_equal(
    model: bytes, kernels: KernelSet, rows: int = 4, seed: int = 0, patch: Patch | None = None
) -> None:
    """The generated C and the interpreter agree on every bit of every output."""
    inputs = random_rows(model, rows, seed)
    np.testing.assert_array_equal(run_generated(model, inputs, kernels, patch), run_reference(model, inputs))
