"""The text around an exported model: templates, and the words that are put into them."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np

from tinymlops.codegen import GeneratedModel, GeneratedTensor
from tinymlops.codegen.c_text import comment_text, shape_text
from tinymlops.devices.microcontroller.targets import Target
from tinymlops.devices.profile import DeviceProfile

TEMPLATES = ("CMakeLists.txt", "README.md", "main.c", "self_test.c", "self_test.h")
Words = dict[str, str]
_WORD = re.compile(r"@(\w+)@")
_ARM = "cmsis_nn/Include"
_HOST_DEFINITIONS = ("-D__GNUC_PYTHON__", "-D__RESTRICT=__restrict")
"""CMSIS-NN's own switch for a build on a host, and a word that only Arm's headers define."""
_OPERATION = "-O3 -Wall -Wextra"
_PER_LINE = 28


def filled(template: str, words: Words) -> bytes:
    """A template with its words."""
    text = (files("tinymlops.exporting") / "templates" / template).read_text(encoding="utf-8")
    return _WORD.sub(lambda found: words[found.group(1)], text).encode()


def words(generated: GeneratedModel, profile: DeviceProfile, name: str, rows: int) -> Words:
    """What every file says of the model and the device."""
    return {
        "name": name,
        "UPPER": name.upper(),
        "title": profile.title,
        "rows": str(rows),
        "kernels": generated.kernels,
        "macs": f"{sum(operator.macs for operator in generated.operators):,}",
        "constants": f"{generated.constant_bytes:,}",
        "arena": f"{generated.arena_bytes:,}",
        "quantize": "quantize_input" if len(generated.inputs) == 1 else "quantize_input_0",
        "dequantize": "dequantize_output" if len(generated.outputs) == 1 else "dequantize_output_0",
        "ends": _ends(generated),
        "operators": _operators(generated),
        "licences": _licences(generated),
    }


def _ends(generated: GeneratedModel) -> str:
    rows = [
        *(_end("input", i, tensor) for i, tensor in enumerate(generated.inputs)),
        *(_end("output", i, tensor) for i, tensor in enumerate(generated.outputs)),
    ]
    return "\n".join(rows)


def _end(kind: str, index: int, tensor: GeneratedTensor) -> str:
    return (
        f"| {kind} {index}, `{comment_text(tensor.name)}` | {tensor.dtype} {shape_text(tensor.shape)}, "
        f"scale {tensor.scale:.9g}, zero point {tensor.zero_point} |"
    )


def _operators(generated: GeneratedModel) -> str:
    rows = [
        f"| {one.index} | {one.operator} | `{comment_text(one.layer)}` | {one.macs:,} | `{one.kernel}` |"
        for one in generated.operators
    ]
    return "\n".join(
        ("| | operator | layer | multiply-accumulates | kernel |", "| --- | --- | --- | --- | --- |", *rows)
    )


def _licences(generated: GeneratedModel) -> str:
    if not any(path.startswith("cmsis_nn/") for path in generated.files):
        return ""
    return (
        "| `cmsis_nn/` | Arm's CMSIS-NN, as the package bakenn carries it (`cmsis_nn/BAKENN_PROVENANCE.md`) "
        "| Apache-2.0 (`cmsis_nn/LICENSE.txt`) |\n"
        "| `cmsis_core/` | headers of Arm's CMSIS-Core | Apache-2.0 (`cmsis_core/LICENSE.txt`) |\n"
    )


def values(rows: np.ndarray[tuple[int, int], np.dtype[np.int8]]) -> str:
    """Values of a C array, some in a line."""
    flat = [str(value) for value in rows.ravel().tolist()]
    return "\n".join(f"    {', '.join(flat[i : i + _PER_LINE])}," for i in range(0, len(flat), _PER_LINE))


def _includes(generated: GeneratedModel) -> str:
    return " ".join(f"-I{path}" for path in generated.include_folders)


def _sources(generated: GeneratedModel) -> str:
    """Every source, folders as a pattern: all that is in them is needed."""
    folders = {f"{path.split('/')[0]}{'/*' * path.count('/')}.c" for path in generated.sources if "/" in path}
    return " ".join([path for path in generated.sources if "/" not in path] + sorted(folders, reverse=True))


def host_command(generated: GeneratedModel) -> str:
    """Builds the self-test on this machine with nothing but a compiler."""
    arm = " ".join(_HOST_DEFINITIONS) if _ARM in generated.include_folders else ""
    first = " ".join(filter(None, (f"gcc -std=gnu99 {_OPERATION}", arm, _includes(generated))))
    return f"{first} \\\n    main.c self_test.c {_sources(generated)} -o self_test"


def device_command(generated: GeneratedModel, target: Target, name: str) -> str:
    """Builds a library for the device."""
    first = f"{target.compiler} -std=gnu99 {_OPERATION} {' '.join(target.flags)} {_includes(generated)}"
    archiver = re.sub(r"gcc$", "ar", target.compiler)
    return f"{first} \\\n    -c {_sources(generated)}\n{archiver} rcs lib{name}.a *.o"


def host_definitions(generated: GeneratedModel, name: str) -> str:
    """CMake's lines for a build of CMSIS-NN on a host."""
    if _ARM not in generated.include_folders:
        return ""
    definitions = " ".join(definition.removeprefix("-D") for definition in _HOST_DEFINITIONS)
    return (
        "\n# CMSIS-NN's own switch for a build on a host, and a word that only Arm's headers define.\n"
        f"if(NOT CMAKE_CROSSCOMPILING)\n    target_compile_definitions({name} PRIVATE {definitions})\nendif()\n"
    )
