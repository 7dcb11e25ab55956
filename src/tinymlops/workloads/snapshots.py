"""Labelled samples of one version of their table, kept as a file, so that every process of a build reads the same.

``footfall@samples-17-0123456789ab`` is the workload footfall with the samples of version 17 of the table whose content
has that digest. The file is a copy: it can be thrown away, and is made again from the table.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from tinymlops.errors import StorageError, WorkloadError
from tinymlops.files import sha256, write_atomic
from tinymlops.project import state_folder
from tinymlops.workloads.base import Workload
from tinymlops.workloads.renewal import FieldSamples, Renewal
from tinymlops.workloads.values import Array, Split

MARK = "@samples-"
_COLUMNS = ("inputs", "targets", "devices", "at_s", "profiles", "regions")
_NAME = re.compile(r"\d+-[0-9a-f]{12}")


class RenewedWorkload(Workload):
    """A workload whose data are its own and the field's; everything else is that of ``base``.

    Args:
        base: The workload.
        field: Labelled samples.
    """

    def __init__(self, base: Workload, field: FieldSamples) -> None:
        self.base, self._field = base, field
        for name in ("name", "title", "labels", "task", "metric", "budget", "counted", "fit", "credit"):
            setattr(self, name, getattr(base, name))

    def split(self, seed: int) -> Split:
        """As ``base`` joins them."""
        return self.renewal(seed).split

    def renewal(self, seed: int) -> Renewal:
        """The same with the rows that models are compared on."""
        return self.base.renewed(self._field, seed)

    def network(self) -> Any:
        """That of ``base``."""
        return self.base.network()

    def reference_features(self, inputs: Any) -> Any:
        """Those of ``base``."""
        return self.base.reference_features(inputs)


def keep_snapshot(workload: str, version: int, field: FieldSamples) -> str:
    """Keep samples as a file; what to write behind the workload's name to build with them.

    Args:
        workload: Name of the workload.
        version: Of the table that they are from.
        field: The samples; the same ones give the same bytes.

    Raises:
        StorageError: The file can't be written.
    """
    buffer = io.BytesIO()
    columns: dict[str, Array] = {name: getattr(field, name) for name in _COLUMNS}
    np.savez(buffer, **columns)  # type: ignore[arg-type]
    content = buffer.getvalue()
    name = f"{version}-{sha256(content)[:12]}"
    write_atomic(_place(workload, name), content)
    return f"{MARK}{name}"


def read_snapshot(workload: str, name: str) -> FieldSamples:
    """The samples that were kept as ``name``.

    Raises:
        WorkloadError: There is no such file, or it is not the one that was kept.
    """
    if not _NAME.fullmatch(name):
        raise WorkloadError(f"{name!r} names no samples", f"write {workload}{MARK}VERSION-DIGEST")
    version = name.partition("-")[0]
    again = f"make it again with `tinymlops retrain {workload} --table-version {version}`"
    try:
        content = _place(workload, name).read_bytes()
    except FileNotFoundError as error:
        raise WorkloadError(f"the samples {name} of {workload} are not on this machine", again) from error
    except OSError as error:
        raise StorageError(
            f"{_place(workload, name)} can't be read ({error.strerror})", "mend its permissions"
        ) from error
    if sha256(content)[:12] != name.partition("-")[2]:
        raise WorkloadError(f"the samples {name} of {workload} were changed after they were kept", again)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return FieldSamples(**{column: arrays[column] for column in _COLUMNS})


def _place(workload: str, name: str) -> Path:
    return state_folder() / "samples" / workload / f"{name}.npz"
