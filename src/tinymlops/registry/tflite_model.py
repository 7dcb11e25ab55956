"""The code that MLflow runs to serve a ``.tflite``; a copy of this file lies in each registered version.

It needs LiteRT, NumPy and MLflow, and nothing of this project. The kernels are the plain built-in ones: the default
delegate (XNNPACK) differs from devices by some of the last bits.
"""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np


class TfliteModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
    """Runs the ``.tflite`` on rows as its signature describes them: raw tensors, quantised if the model is."""

    def load_context(self, context: Any) -> None:
        """Load the interpreter once."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._interpreter = Interpreter(
            model_path=context.artifacts["tflite"],
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()

    def predict(  # the hint np.ndarray is the one that MLflow takes without a warning at every load
        self,
        context: Any,  # noqa: ARG002
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> Any:
        """An array for one output, else name → array.

        Args:
            context: Not used; MLflow asks for the name.
            model_input: An array for one input, else name → array. Rows come first.
            params: Not used.
        """
        details = self._interpreter.get_input_details()
        given: Any = model_input
        named = given if isinstance(given, dict) else {details[0]["name"]: given}
        arrays = [np.asarray(named[detail["name"]]) for detail in details]
        if not all(detail["shape"].size and detail["shape"][0] == 1 for detail in details):
            return self._named(self._run(arrays))
        rows = [self._run([array[i : i + 1] for array in arrays]) for i in range(len(arrays[0]))]
        return self._named([np.concatenate(column) for column in zip(*rows, strict=True)])

    def _run(self, arrays: list[Any]) -> list[Any]:
        for detail, array in zip(self._interpreter.get_input_details(), arrays, strict=True):
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._interpreter.get_output_details()]

    def _named(self, outputs: list[Any]) -> Any:
        names = [detail["name"] for detail in self._interpreter.get_output_details()]
        return outputs[0] if len(outputs) == 1 else dict(zip(names, outputs, strict=True))


mlflow.models.set_model(TfliteModel())
