"""From a name, or a ``path/to/file.py:object``, to a workload with checked data."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from tinymlops.errors import TinyMLOpsError, UnknownNameError, WorkloadError
from tinymlops.workloads.base import Workload
from tinymlops.workloads.checks import check_split, check_workload
from tinymlops.workloads.snapshots import MARK, RenewedWorkload, read_snapshot
from tinymlops.workloads.values import Split

BUILT_IN = {
    "activity": "tinymlops.workloads.activity:Activity",
    "fashion": "tinymlops.workloads.fashion:Fashion",
    "footfall": "tinymlops.workloads.footfall:Footfall",
}

FOLDER_VARIABLE = "TINYMLOPS_WORKLOAD_FOLDER"
"""Names a folder whose files are workloads by name, like the built-in ones: ``pump.py`` holds the one named pump."""


@dataclass(frozen=True, eq=False)
class LoadedWorkload:
    """A workload, its checked split, and a digest of all that shapes what is learned.

    Attributes:
        workload: The task.
        split: Its data.
        digest: SHA-256 over the source file, the split's bytes and the seed.
    """

    workload: Workload
    split: Split
    digest: str


def find_workload(reference: str) -> Workload:
    """The workload called ``reference``.

    Args:
        reference: A built-in name or one in ``TINYMLOPS_WORKLOAD_FOLDER``, or ``path/to/file.py:object`` with a
            subclass or an instance of ``Workload``; with ``@samples-…`` behind it, the same with samples from the field
            (`tinymlops.workloads.snapshots`).

    Raises:
        UnknownNameError: No such built-in, or no such object in the file.
        WorkloadError: The file is missing, does not run, or the object is no workload.
    """
    before, mark, samples = reference.rpartition(MARK)
    if mark:
        base = find_workload(before)
        return RenewedWorkload(base, read_snapshot(base.name, samples))
    path, colon, attribute = reference.rpartition(":")
    if not colon:
        if reference not in BUILT_IN:
            return _in_folder(reference)
        path, _, attribute = BUILT_IN[reference].rpartition(":")
        return _instance(getattr(importlib.import_module(path), attribute), reference)
    module = _import_file(Path(path))
    if not hasattr(module, attribute):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise UnknownNameError(f"object in {path}", attribute, names)
    return _instance(getattr(module, attribute), reference)


def load_workload(reference: str, seed: int) -> LoadedWorkload:
    """The workload called ``reference`` with its data, checked.

    Raises:
        TinyMLOpsError: As ``find_workload`` and ``check_split`` do, or whatever of this tree ``split`` raises.
        WorkloadError: ``split`` raised something else.
    """
    workload = find_workload(reference)
    try:
        split = workload.split(seed)
    except TinyMLOpsError:
        raise
    except Exception as error:
        raise WorkloadError(
            f"{reference} failed in split() ({type(error).__name__}: {error})", "mend split() and run this again"
        ) from error
    if not isinstance(split, Split):
        raise WorkloadError(f"{reference} returned {type(split).__name__} from split()", "return a Split")
    check_split(workload, split)
    return LoadedWorkload(workload, split, _digest(workload, split, seed))


def _in_folder(name: str) -> Workload:
    """The workload of that name in the folder that the environment names."""
    folder = os.environ.get(FOLDER_VARIABLE)
    path = Path(folder or "", f"{name}.py")
    if not (folder and re.fullmatch(r"[a-z0-9-]+", name) and path.is_file()):
        own = (file.stem for file in Path(folder).glob("*.py")) if folder else ()
        raise UnknownNameError("workload", name, [*BUILT_IN, *own])
    module = _import_file(path)
    for found in vars(module).values():
        if inspect.isclass(found) and issubclass(found, Workload) and getattr(found, "name", None) == name:
            return _instance(found, str(path))
    raise WorkloadError(f"{path} holds no workload named {name}", f'give its class `name = "{name}"`')


def _instance(found: object, reference: str) -> Workload:
    if inspect.isclass(found) and issubclass(found, Workload) and not inspect.isabstract(found):
        found = found()
    return check_workload(found, reference)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise WorkloadError(f"there is no file {path}", "give the path of a Python file, as in my_task.py:MyTask")
    name = f"tinymlops_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WorkloadError(f"{path} is no Python file", "give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise WorkloadError(
            f"{path} does not run ({type(error).__name__}: {error})", "mend it and run this again"
        ) from error
    return module


def _digest(workload: Workload, split: Split, seed: int) -> str:
    """Two builds with the same digest learn the same thing; helpers that a user's file imports are not seen."""
    source = type(workload.base if isinstance(workload, RenewedWorkload) else workload)
    digest = hashlib.sha256(f"{source.__name__} seed {seed}".encode())
    digest.update(Path(inspect.getfile(source)).read_bytes())
    for samples in (split.train, split.validation, split.test):
        for array in (samples.inputs, samples.targets):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
