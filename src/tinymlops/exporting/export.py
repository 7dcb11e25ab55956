"""What is in an export, and its writing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinymlops.codegen import GeneratedModel, Helium, KernelSet, generate
from tinymlops.devices.microcontroller.targets import Target, helium_of, load_target
from tinymlops.devices.profile import DeviceProfile
from tinymlops.errors import CompressionError, DoesNotRunError, UsageError
from tinymlops.exporting import folder, reference, text

_RUNTIME = "generated-c"
_ROWS = 3
_MAX_SELF_TEST_BYTES = 64 * 1024
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Export:
    """An export in memory.

    Attributes:
        generated: The model as C.
        files: Relative path → content.
        rows: Inputs in the self-test.
    """

    generated: GeneratedModel
    files: dict[str, bytes]
    rows: int


def make_export(model: bytes, profile: DeviceProfile, name: str = "model", seed: int = 7) -> Export:
    """Everything that an export consists of. The same model gives the same bytes.

    Args:
        model: The ``.tflite``, with int8 weights and activations.
        profile: The device; says kernels and core.
        name: Prefix of files and functions; a C identifier.
        seed: Of the self-test's inputs.

    Raises:
        UsageError: The device runs no generated C, or ``name`` is not a C identifier.
        ModelFileError: The bytes are not a whole model.
        DoesNotRunError: Something in the model has no generated form.
        SetupError: A package of the extra `microcontroller` is missing.
    """
    if profile.runtime.name != _RUNTIME:
        raise UsageError(
            f"{profile.name} runs models by {profile.runtime.name}, not as C", "choose a microcontroller's profile"
        )
    target = load_target(profile.cpu)
    generated = generate(model, KernelSet(profile.runtime.kernels), name=name, helium=_helium(profile))
    inputs = _inputs(generated, seed)
    expected = _expected(model, generated, inputs)
    words = text.words(generated, profile, name, len(inputs))
    files = dict(sorted((generated.files | _around(generated, target, words, (inputs, expected))).items()))
    return Export(generated, files | {folder.MANIFEST: folder.manifest(files)}, len(inputs))


def export(model: bytes, profile: DeviceProfile, out: Path, name: str = "model") -> Export:
    """Write an export into ``out``, whole or not at all.

    Args:
        model: The ``.tflite``.
        profile: The device.
        out: Absent, empty, or an export whose files were not changed since.
        name: Prefix of files and functions.

    Raises:
        UsageError: ``out`` holds something else; or as ``make_export``.
        StorageError: It can't be written.
        ModelFileError: As ``make_export``.
        DoesNotRunError: Likewise.
        SetupError: Likewise.
    """
    folder.check(out)
    made = make_export(model, profile, name)
    folder.replace(out, made.files)
    return made


def _helium(profile: DeviceProfile) -> Helium:
    """Cores with Helium get memory for any core: the self-test runs on a host, which has none."""
    return Helium.ANY if helium_of(profile.cpu) is Helium.WITH else Helium.WITHOUT


def _inputs(generated: GeneratedModel, seed: int) -> reference.Rows:
    """Random inputs over the whole range; fewer where they would fill the flash."""
    size = sum(tensor.bytes for tensor in generated.inputs)
    rows = max(1, min(_ROWS, _MAX_SELF_TEST_BYTES // size))
    return np.random.default_rng(seed).integers(-128, 128, (rows, size)).astype(np.int8)


def _expected(model: bytes, generated: GeneratedModel, inputs: reference.Rows) -> reference.Rows:
    from tinymlops.isolation import call_isolated

    shapes = [tensor.shape for tensor in generated.inputs]
    try:
        return call_isolated(reference.outputs, model, shapes, len(generated.outputs), inputs, timeout_s=_TIMEOUT_S)
    except CompressionError as error:
        raise DoesNotRunError(
            f"the TensorFlow Lite Micro interpreter, whose outputs the self-test expects, failed ({error.cause})",
            "report the model: the generated code accepts it",
        ) from error


def _around(
    generated: GeneratedModel, target: Target, words: text.Words, rows: tuple[reference.Rows, reference.Rows]
) -> dict[str, bytes]:
    """The files around the model."""
    all_words = words | {
        "inputs": text.values(rows[0]),
        "expected": text.values(rows[1]),
        "host_command": text.host_command(generated),
        "device_command": text.device_command(generated, target, words["name"]),
        "sources": "\n".join(f"    {path}" for path in generated.sources),
        "includes": "".join(f" {path}" for path in generated.include_folders),
        "host_definitions": text.host_definitions(generated, words["name"]),
    }
    return {path: text.filled(path, all_words) for path in text.TEMPLATES}
