"""LiteRT as the interpreter; loaded when the first model is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinymlops.edge.seams import Interpreter
from tinymlops.errors import DoesNotRunError


class LiteRT:
    """A model in LiteRT, batch 1, on one thread.

    Args:
        content: Of the ``.tflite``. LiteRT reads it from memory; it is never written anywhere.

    Raises:
        DoesNotRunError: LiteRT does not take it.
    """

    def __init__(self, content: bytes | bytearray) -> None:
        from ai_edge_litert.interpreter import Interpreter as Engine

        try:
            self._engine: Any = Engine(model_content=bytes(content), num_threads=1)
            self._allocate()
        except (ValueError, RuntimeError) as error:
            raise DoesNotRunError(
                f"LiteRT does not take the model ({_first_line(error)})", "release another recipe for this device"
            ) from error

    def _allocate(self) -> None:
        for tensor in self._engine.get_input_details():
            signature = [int(side) for side in tensor["shape_signature"]]
            if any(side < 1 for side in signature):
                self._engine.resize_tensor_input(tensor["index"], [max(side, 1) for side in signature])
        self._engine.allocate_tensors()
        self._input = self._engine.get_input_details()[0]["index"]
        self._output = self._engine.get_output_details()[0]["index"]

    def invoke(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The raw output for one raw input.

        Raises:
            DoesNotRunError: LiteRT refuses the input or fails.
        """
        try:
            self._engine.set_tensor(self._input, values)
            self._engine.invoke()
            output: npt.NDArray[np.generic] = self._engine.get_tensor(self._output)
        except (ValueError, RuntimeError) as error:
            raise DoesNotRunError(
                f"LiteRT could not answer ({_first_line(error)})", "the error is counted and reported"
            ) from error
        return output


def load(content: bytes | bytearray) -> Interpreter:
    """The default `InterpreterFactory`."""
    return LiteRT(content)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
