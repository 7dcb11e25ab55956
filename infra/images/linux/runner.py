"""Runs one model over all inputs on the device, and counts or times it. Needs NumPy and an interpreter alone.

Reads from the folder given first: ``model.tflite``, ``inputs.bin`` (rows of raw input tensors, one behind the other),
``job.json``. Writes to the folder given second: ``outputs.bin`` (rows of raw output tensors), ``result.json``.
Quantizing and dequantizing happen outside: this is what the device itself has to do.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK_START, MARK_STOP = 0x7F4D4D01, 0x7F4D4D02
COUNTED = 8
WARM_UP = 3
TIMED, TIMED_AT_LEAST, TIMED_S = 200, 20, 5
RESOLVERS = {"builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}


def memory_kib(field: str) -> int:
    """One field of this process's memory, in KiB: ``VmHWM`` is the peak, ``VmRSS`` what is resident now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


def load(module: Any, model: Path, kernels: str) -> Any:
    """An interpreter of ``module`` for ``model`` with batch 1, one thread and the kernel set asked for."""
    options = {"model_path": str(model), "num_threads": 1}
    if kernels in RESOLVERS:
        options["experimental_op_resolver_type"] = getattr(module.OpResolverType, RESOLVERS[kernels])
    interpreter = module.Interpreter(**options)
    for tensor in interpreter.get_input_details():
        signature = [int(side) for side in tensor["shape_signature"]]
        if any(side < 1 for side in signature):
            interpreter.resize_tensor_input(tensor["index"], [max(side, 1) for side in signature])
    interpreter.allocate_tensors()
    return interpreter


class Rows:
    """The inputs, read row by row: kept in memory they would count as the model's."""

    def __init__(self, path: Path, tensors: list[dict[str, Any]]) -> None:
        import numpy as np

        self.frombuffer = np.frombuffer
        self.tensors = [(t["index"], t["dtype"], t["shape"], int(np.prod(t["shape"], dtype=np.int64))) for t in tensors]
        self.stride = sum(size * np.dtype(dtype).itemsize for _, dtype, _, size in self.tensors)
        self.file = path.open("rb", buffering=0)
        self.count = path.stat().st_size // self.stride

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> list[tuple[int, Any]]:
        if i >= self.count:
            raise IndexError(i)
        content, at, row = os.pread(self.file.fileno(), self.stride, i * self.stride), 0, []
        for index, dtype, shape, size in self.tensors:
            values = self.frombuffer(content, dtype, size, at)
            at += values.nbytes
            row.append((index, values.reshape(shape)))
        return row


def feed(interpreter: Any, row: list[tuple[int, Any]]) -> None:
    """Lay one row into the input tensors."""
    for index, values in row:
        interpreter.set_tensor(index, values)


def nothing() -> None:
    """The empty window: what marking itself costs."""


def window(call: Callable[[], object]) -> None:
    """Run ``call`` between the two marks. Unlike ``os.close``, ``closerange`` raises nothing."""
    os.closerange(MARK_START, MARK_START + 1)
    call()
    os.closerange(MARK_STOP, MARK_STOP + 1)


def count(interpreter: Any, rows: Rows, counts: Path) -> dict[str, int]:
    """Instructions per inference, exact: the windows of the first inputs less the empty one.

    The wrapped interpreter is called: ``invoke`` checks references in Python, which costs thousands of instructions.
    """
    invoke = interpreter._interpreter.Invoke  # noqa: SLF001 - the versions are pinned
    for _ in range(WARM_UP):
        window(nothing)
        window(invoke)
    before = len(counts.read_text().split())
    window(nothing)
    chosen = [rows[i % len(rows)] for i in range(COUNTED)]
    for row in chosen:
        feed(interpreter, row)
        window(invoke)
    empty, *full = (int(line) for line in counts.read_text().split()[before:])
    return {"instructions_total": sum(full) - empty * len(full), "inferences": len(full)}


def timings(interpreter: Any, rows: Rows) -> list[int]:
    """Nanoseconds of single inferences, in order of size; fewer of them where the model is slow."""
    seen, end = [], time.perf_counter() + TIMED_S
    for i in range(TIMED + WARM_UP):
        if len(seen) >= TIMED_AT_LEAST + WARM_UP and time.perf_counter() > end:
            break
        feed(interpreter, rows[i % len(rows)])
        start = time.perf_counter_ns()
        interpreter.invoke()
        seen.append(time.perf_counter_ns() - start)
    return sorted(seen[WARM_UP:])


def infer(interpreter: Any, rows: Rows, path: Path) -> list[dict[str, object]]:
    """Run every row and write the raw outputs; shapes and types of one row's outputs come back."""
    outputs = [tensor["index"] for tensor in interpreter.get_output_details()]
    with path.open("wb") as file:
        for row in rows:
            feed(interpreter, row)
            interpreter.invoke()
            last = [interpreter.get_tensor(index) for index in outputs]
            file.write(b"".join([values.tobytes() for values in last]))
    return [{"shape": list(values.shape), "dtype": values.dtype.name} for values in last]


def size_of(module: Any) -> int:
    """Bytes on disk of the interpreter's package and of NumPy, which it needs."""
    import numpy as np

    folders = {Path(module.__file__).parent, Path(np.__file__).parent}
    files = [file for folder in folders for file in folder.rglob("*") if "__pycache__" not in file.parts]
    return sum(file.stat().st_size for file in files if file.is_file())


def main(source: Path, target: Path) -> None:
    """Do the job. ``result.json`` appears only when everything was done."""
    job = json.loads((source / "job.json").read_text())
    gc.disable()
    if job["data_limit_bytes"]:
        resource.setrlimit(resource.RLIMIT_DATA, (job["data_limit_bytes"],) * 2)
    module = importlib.import_module(job["module"])
    imported_kib = memory_kib("VmRSS")
    interpreter = load(module, source / "model.tflite", job["kernels"])
    rows = Rows(source / "inputs.bin", interpreter.get_input_details())
    feed(interpreter, rows[0])
    interpreter.invoke()
    result = {"peak_kib": memory_kib("VmHWM"), "imported_kib": imported_kib}
    counts = target / "counts"
    if counts.exists():
        result.update(count(interpreter, rows, counts))
    if not job["count_only"]:
        result["outputs"] = infer(interpreter, rows, target / "outputs.bin")
        result["peak_kib"] = memory_kib("VmHWM")
        result["runtime_bytes"] = size_of(module)
    if job["timed"]:
        result["nanoseconds"] = timings(interpreter, rows)
    (target / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
