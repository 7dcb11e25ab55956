"""May this model run there at all? Asked before anything is started, so that the answer is a sentence."""

from __future__ import annotations

from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.runtimes import RuntimeTable
from tinymlops.measurement import Status
from tinymlops.model_file import ModelFile, Operator

_FEEDABLE = frozenset(
    {"float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool"}
)

_OF_INT8_MODELS = frozenset({"int8", "int32", "int64", "bool"})
"""Activations and weights, biases, shapes and indices."""


def refuse(model: ModelFile, profile: DeviceProfile, runtime: RuntimeTable) -> tuple[Status, str]:
    """Why ``profile`` can't run ``model``: a status and a sentence, or ``OK`` and nothing."""
    reason = check_types(model, profile)
    if reason:
        return Status.UNSUPPORTED_TYPE, reason
    reason = check_operators(model, runtime)
    return (Status.UNSUPPORTED_OPERATOR, reason) if reason else (Status.OK, "")


def check_types(model: ModelFile, profile: DeviceProfile) -> str:
    """Why the types of ``model`` do not suit ``profile``, or nothing."""
    strange = sorted({tensor.dtype for tensor in (*model.inputs, *model.outputs)} - _FEEDABLE)
    if strange:
        return f"inputs and outputs of type {', '.join(strange)} can't be fed from numbers"
    return _check_int8(model) if profile.runtime.int8_only else ""


def _check_int8(model: ModelFile) -> str:
    """Why ``model`` is not int8 throughout, from end to end, or nothing."""
    others = sorted(model.dtypes - _OF_INT8_MODELS)
    if others:
        return f"only int8 models run here, and this one has {', '.join(others)} tensors"
    for tensor in (*model.inputs, *model.outputs):
        if tensor.dtype != "int8" or not tensor.scale:
            return f"only int8 models run here, and {tensor.name!r} is {tensor.dtype} with a scale of {tensor.scale:g}"
    return ""


def check_operators(model: ModelFile, runtime: RuntimeTable) -> str:
    """Which operators of ``model`` the runtime lacks, one sentence, or nothing."""
    if runtime.generated:
        return ""
    missing = [words for operator in model.operators if (words := _lack(operator, runtime))]
    return f"{runtime.title} has no {', no '.join(missing)}" if missing else ""


def _lack(operator: Operator, runtime: RuntimeTable) -> str:
    """The operator as the runtime lacks it, or nothing."""
    if operator.custom:
        return "" if operator.name in runtime.custom_operators else f"custom operator {operator.name}"
    newest = runtime.operators.get(operator.name, 0)
    if operator.version <= newest:
        return ""
    return f"{operator.name} version {operator.version} (only up to {newest})" if newest else operator.name
