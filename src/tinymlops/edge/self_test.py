"""Whether a model answers here as it did where it was measured."""

from __future__ import annotations

import numpy as np

from tinymlops.edge.seams import Interpreter
from tinymlops.edge.tensors import InputTensor, OutputTensor
from tinymlops.errors import DoesNotRunError
from tinymlops.wire.manifest import Manifest


def run(manifest: Manifest, interpreter: Interpreter) -> None:
    """Run the manifest's inputs and compare.

    Raises:
        DoesNotRunError: An output lies further off than allowed, or the model fails.
        FormatError: The self-test of the manifest is damaged.
    """
    test = manifest.self_test
    inputs = InputTensor(manifest.input).raw_rows(test.inputs, test.rows)
    expected = OutputTensor(manifest.output).raw_rows(test.outputs, test.rows)
    for row in range(test.rows):
        output = interpreter.invoke(inputs[row])
        if output.size != expected[row].size or output.dtype != expected.dtype:
            raise DoesNotRunError(
                f"the self-test gave {output.size} values of type {output.dtype}", "release another recipe"
            )
        # float64 holds all of our types exactly; NaN fails the comparison below
        off = np.abs(output.ravel().astype(np.float64) - expected[row].ravel().astype(np.float64)).max()
        if not off <= test.tolerance:
            raise DoesNotRunError(
                f"the self-test is off by {off:g} in row {row + 1} of {test.rows}, and {test.tolerance:g} is allowed",
                "release another recipe, or measure this kind of device again",
            )
