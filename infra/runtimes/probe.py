"""Asks an interpreter which operators it knows, and writes the answer into its table in this folder.

    python infra/runtimes/probe.py litert-1.4.0 arm64

An empty model that merely lists an operator with a version is refused by an interpreter that lacks it, so nothing is
written from memory. The image of the runtime is built first if it is not there.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NEWEST_VERSION = 20
HERE = Path(__file__).resolve().parent
# What interpreters are known to bring beside the built-in operators; asked for one by one
CUSTOM = ("TFLite_Detection_PostProcess", "NumericVerify", "Mfcc", "AudioSpectrogram")


def empty_model(number: int, version: int, custom: str = "") -> bytes:
    """A model without tensors that lists one operator; a custom one is also used, as it is looked up only then."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], []
    if custom:
        code.customCode = custom
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, [], []
        graph.operators = [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write_models(folder: Path) -> None:
    """One model for each operator and version, called ``NAME@VERSION``."""
    from ai_edge_litert import schema_py_generated as schema

    for name, number in vars(schema.BuiltinOperator).items():
        if isinstance(number, int) and not name.startswith(("CUSTOM", "PLACEHOLDER")):
            for version in range(1, NEWEST_VERSION + 1):
                (folder / f"{name}@{version}").write_bytes(empty_model(number, version))
    for name in CUSTOM:
        (folder / f"{name}@custom").write_bytes(empty_model(schema.BuiltinOperator.CUSTOM, 1, name))


def ask(module_name: str, folder: Path) -> None:
    """In the image: print which models the interpreter does not refuse."""
    module = importlib.import_module(module_name)
    for path in sorted(folder.glob("*@custom")):
        if not crashes_or_accepts(module, path):
            continue
        print(path.name)
    for path in sorted(folder.glob("*@1")):
        print_versions(module, path)


def print_versions(module: Any, first: Path) -> None:
    """Versions of one operator, up to the first one that is refused after one that was not."""
    seen = False
    for version in range(1, NEWEST_VERSION + 1):
        path = first.with_name(f"{first.name.removesuffix('@1')}@{version}")
        accepted = accepts(module, path)
        if accepted:
            print(path.name)
        elif seen or version > 3:
            return
        seen = accepted


def accepts(module: Any, path: Path) -> bool:
    """False where the interpreter does not take a model that merely lists the operator."""
    try:
        module.Interpreter(model_path=str(path), num_threads=1)
    except ValueError:
        return False
    return True


def crashes_or_accepts(module: Any, path: Path) -> bool:
    """True unless the interpreter says that a custom operator is unresolved: using one without inputs may crash it."""
    child = os.fork()
    if child == 0:
        try:
            module.Interpreter(model_path=str(path), num_threads=1).allocate_tensors()
        except (ValueError, RuntimeError) as error:
            os._exit(1 if "unresolved custom op" in str(error) else 0)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 1 << 8


def table(accepted: list[str]) -> str:
    """The lines of the TOML table for the accepted ``NAME@VERSION``."""
    newest: dict[str, int] = {}
    custom = []
    for name, _, version in (line.partition("@") for line in accepted):
        if version == "custom":
            custom.append(name)
        else:
            newest[name] = max(newest.get(name, 0), int(version))
    lines = [f"{name} = {version}" for name, version in sorted(newest.items())]
    return "\n".join([f"custom_operators = {json.dumps(sorted(custom))}", "", "[operators]", *lines, ""])


def main(runtime: str, architecture: str) -> None:
    """Probe ``runtime`` in its image for ``architecture`` and rewrite its table."""
    from tinymlops.devices.engine import Engine
    from tinymlops.devices.images import ensure_image
    from tinymlops.devices.linux import command_for
    from tinymlops.devices.runtimes import load_runtime

    image = ensure_image(Engine.connect(), architecture, runtime, print)
    cpu = {"amd64": "native", "arm64": "cortex-a53", "armhf": "cortex-a7"}[architecture]
    emulator = command_for(cpu)[: -len(command_for("native"))]
    with tempfile.TemporaryDirectory() as name:
        write_models(Path(name))
        asked = [
            "docker", "run", "--rm", "--init", "--network=none", f"--volume={name}:/work/in:ro",
            f"--volume={HERE}:/probe:ro", "--tmpfs=/work/out", image, *emulator,
            "/usr/bin/python3.11", "-S", "-B", "/probe/probe.py", "--ask", load_runtime(runtime).module,
        ]  # fmt: skip
        answer = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    path = HERE / f"{runtime}.toml"
    kept = path.read_text().partition("# Written by")[0].rstrip()
    note = "# Written by infra/runtimes/probe.py: the newest version that the interpreter accepts"
    path.write_text(f"{kept}\n{note}\n{table(answer)}")


if __name__ == "__main__":
    if sys.argv[1] == "--ask":
        ask(sys.argv[2], Path("/work/in"))
    else:
        main(sys.argv[1], sys.argv[2])
