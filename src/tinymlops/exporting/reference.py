"""What the TensorFlow Lite Micro interpreter makes of inputs: the truth about bits. Runs in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tinymlops.errors import SetupError

Rows = np.ndarray[tuple[int, int], np.dtype[np.int8]]
_ARENA_BYTES = 64 << 20


def outputs(
    model: bytes,
    shapes: Sequence[tuple[int, ...]],
    count: int,
    rows: Rows,
    on_progress: Callable[[int, int, str], None],
) -> Rows:
    """Outputs for each row of inputs.

    Args:
        model: The ``.tflite``.
        shapes: Of the inputs, which lie one behind the other in a row.
        count: Number of outputs, which come back one behind the other.
        rows: int8 inputs.
        on_progress: Told of every row.

    Raises:
        SetupError: The interpreter's package is missing.
    """
    try:
        from tflite_micro import runtime
    except ModuleNotFoundError as error:
        raise SetupError(
            "the package tflite-micro is missing",
            "install the extra `microcontroller` (`make install` installs every extra)",
        ) from error
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=_ARENA_BYTES)
    made = []
    for done, row in enumerate(rows, start=1):
        at = 0
        for index, shape in enumerate(shapes):
            size = int(np.prod(shape))
            interpreter.set_input(row[at : at + size].reshape(shape), index)
            at += size
        interpreter.invoke()
        made.append(np.concatenate([np.asarray(interpreter.get_output(i)).ravel() for i in range(count)]))
        on_progress(done, len(rows), "reference")
    return np.array(made, np.int8)
