"""A ``.tflite`` as a folder that MLflow can load: signature, requirements and code around the untouched file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from tinymlops.errors import ModelFileError
from tinymlops.registry.values import plain_name

_CODE = Path(__file__).with_name("tflite_model.py")
_REQUIREMENTS = ("ai-edge-litert==2.3.*", "numpy>=2.0")


def write_model(folder: Path, recipe: str, tflite: bytes) -> None:
    """Write an MLflow model with the pyfunc flavour to ``folder``, which must not exist.

    The raw file lies in ``artifacts/<recipe>.tflite``, for devices that want nothing else. The code is
    a file, not a pickled object.

    Raises:
        ModelFileError: The file is no model that LiteRT reads.
    """
    import mlflow.pyfunc

    signature = _signature(recipe, tflite)
    raw = folder.with_name(f"{folder.name}.raw") / f"{plain_name(recipe)}.tflite"
    raw.parent.mkdir(parents=True)
    raw.write_bytes(tflite)
    # It asks for an example to infer the signature that is given here. Recorded rather than filtered: MLflow sets
    # its own filters inside.
    with warnings.catch_warnings(record=True):
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(_CODE),
            artifacts={"tflite": str(raw)},
            signature=signature,
            pip_requirements=list(_REQUIREMENTS),
        )


def _signature(recipe: str, tflite: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter
    from mlflow.models import ModelSignature

    try:
        interpreter = Interpreter(model_content=tflite)
    except ValueError as error:
        raise ModelFileError(
            f"the variant {recipe} is no model that LiteRT reads ({error})", "build it again"
        ) from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    # Served row by row, the leading 1 becomes any number of rows.
    by_row = all(detail["shape"].size and detail["shape"][0] == 1 for detail in inputs)
    return ModelSignature(inputs=_schema(inputs, by_row=by_row), outputs=_schema(outputs, by_row=by_row))


def _schema(details: list[dict[str, Any]], *, by_row: bool) -> Any:
    import numpy as np
    from mlflow.types import Schema, TensorSpec

    specs = []
    for detail in details:
        shape = [int(size) for size in detail["shape_signature"]] or [int(size) for size in detail["shape"]]
        shape = [-1, *shape[1:]] if by_row and shape else shape
        # A single tensor goes without a name, so that callers pass a plain array.
        name = detail["name"] if len(details) > 1 else None
        specs.append(TensorSpec(np.dtype(detail["dtype"]), tuple(shape), name))
    return Schema(specs)
