"""From a ``.tflite`` to a folder of C: read, lower each operator, plan the arena, write."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np

from tinymlops.codegen import cmsis_sources
from tinymlops.codegen.graph import Graph, Tensor, read_graph
from tinymlops.codegen.header import header
from tinymlops.codegen.layer import NO_KERNEL, Layer, Lowered
from tinymlops.codegen.memory import plan_memory
from tinymlops.codegen.operators import LOWERINGS
from tinymlops.codegen.values import GeneratedModel, GeneratedOperator, GeneratedTensor, Helium, KernelSet
from tinymlops.codegen.writer import Program, source
from tinymlops.errors import DoesNotRunError, UsageError

KERNEL_FOLDER = "kernels"
PORTABLE = "portable C (tinymlops)"
_HEADERS = (
    "tinymlops_arithmetic.h",
    "tinymlops_kernels.h",
    "tinymlops_products.h",
    "tinymlops_taps.h",
    "LICENSE.txt",
)
_C_WORDS = frozenset({
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while",
})  # fmt: skip
_NOT_INT8 = frozenset({"float32", "float16", "int16"})


def generate(model: bytes, kernels: KernelSet, *, name: str = "model", helium: Helium = Helium.ANY) -> GeneratedModel:
    """A fully integer model as C. The same model gives the same bytes.

    Args:
        model: The ``.tflite``, with int8 weights and activations.
        kernels: Where the arithmetic comes from.
        name: Prefix of files, functions and macros; a C identifier.
        helium: Which Arm cores the arena is planned for, where CMSIS-NN's kernels are used.

    Raises:
        ModelFileError: The bytes are not a whole model.
        DoesNotRunError: An operator, a type or a shape without a generated form; names layer and operator.
        UsageError: ``name`` is not a C identifier.
        SetupError: The package that carries CMSIS-NN is missing.
    """
    _check_name(name)
    graph = read_graph(model, name)
    _check_types(graph, name)
    layers = [Layer(node, graph, kernels, name, helium) for node in graph.nodes]
    # scales that leave float32's range are refused where they are used, not by a warning
    with np.errstate(all="ignore"):
        lowered = [_lower(layer) for layer in layers]
    memory = plan_memory(graph, lowered)
    description = PORTABLE if kernels is KernelSet.PORTABLE else cmsis_sources.description()
    program = Program(name, graph, tuple(lowered), memory, description, helium)
    text = source(program)
    kernel_files = _kernel_files(lowered, kernels)
    contents = {f"{name}.c": text.code.encode(), f"{name}.h": header(program).encode(), **kernel_files}
    arm = cmsis_sources.INCLUDE_FOLDERS if _uses_arm(kernel_files) else ()
    return GeneratedModel(
        files=contents,
        sources=tuple(path for path in contents if path.endswith(".c")),
        include_folders=(".", KERNEL_FOLDER, *arm),
        arena_bytes=memory.plan.size,
        scratch_bytes=max((one.scratch_bytes for one in lowered), default=0),
        constant_bytes=text.constant_bytes,
        operators=tuple(
            GeneratedOperator(layer.node.index, layer.node.operator, layer.name, one.macs, one.kernel)
            for layer, one in zip(layers, lowered, strict=True)
        ),
        inputs=tuple(_end(graph.tensors[i]) for i in graph.inputs),
        outputs=tuple(_end(graph.tensors[i]) for i in graph.outputs),
        kernels=description,
    )


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", name) or name in _C_WORDS:
        raise UsageError(f"{name!r} is not a name that C accepts", "use letters, digits and underscores")


def _check_types(graph: Graph, name: str) -> None:
    """Say it of the whole model where it is not int8, rather than of the first layer that stumbles."""
    ends = [graph.tensors[i] for i in (*graph.inputs, *graph.outputs)]
    found = {tensor.dtype for tensor in ends} | {
        graph.tensors[i].dtype for node in graph.nodes for i in (*node.inputs, *node.outputs) if i >= 0
    }
    if found & _NOT_INT8:
        raise DoesNotRunError(
            f"{name} computes with {' and '.join(sorted(found & _NOT_INT8))}, and generated code is int8 only",
            "use a recipe whose weights and activations are int8",
        )
    for tensor in ends:
        if tensor.dtype != "int8" or len(tensor.scales) != 1:
            raise DoesNotRunError(
                f"{name} has an input or output {tensor.name!r} that is not int8 with one scale",
                "convert with int8 inputs and outputs",
            )


def _lower(layer: Layer) -> Lowered:
    lowering = LOWERINGS.get(layer.node.operator)
    if lowering is None:
        raise layer.fault("has no generated form")
    layer.require(layer.node.outputs, "has no output")
    return lowering(layer)


def _end(tensor: Tensor) -> GeneratedTensor:
    return GeneratedTensor(
        tensor.name, tensor.shape, tensor.dtype, tensor.scales[0], tensor.zero_points[0], tensor.size
    )


def _kernel_files(lowered: list[Lowered], kernels: KernelSet) -> dict[str, bytes]:
    """Sources and headers of every kernel that the model calls, with their licences."""
    wanted = {file for one in lowered for file in one.sources}
    functions = {one.kernel for one in lowered if one.kernel != NO_KERNEL}
    if kernels is KernelSet.CMSIS_NN and "tinymlops_matrix_vector.c" in wanted:
        wanted = (wanted - {"tinymlops_matrix_vector.c"}) | {"tinymlops_matrix_vector_arm.c"}
        functions.add("arm_nnsupportfunctions")
    folder = files("tinymlops.codegen") / "kernels"
    own = {f"{KERNEL_FOLDER}/{file}": (folder / file).read_bytes() for file in sorted(wanted | set(_HEADERS))}
    if any(function.startswith("arm_") for function in functions):
        return own | cmsis_sources.source_files(functions)
    return own


def _uses_arm(kernel_files: dict[str, bytes]) -> bool:
    return any(path.startswith(cmsis_sources.INCLUDE_FOLDERS[0]) for path in kernel_files)
