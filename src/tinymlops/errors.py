"""The tree of errors. Each one says what is wrong and what to do next, in one sentence each.

    TinyMLOpsError                  exit code
    ├── UnknownNameError                2   a workload, device or recipe that does not exist
    ├── UsageError                      2   options that do not fit together
    ├── WorkloadError                   3   data, split or network of a workload
    ├── ModelFileError                  4   a .tflite that can't be read
    ├── CompressionError                5   a recipe that broke its promise, or a converter that failed
    │   └── NotApplicableError          5   a recipe that this kind of network can't have
    ├── ProfileError                    6   a device profile that does not parse
    ├── EngineError                     7   no container engine, or one that died
    ├── StorageError                    8   a disk that is full or can't be written
    ├── SetupError                      9   a package, file or program that is missing on this machine
    ├── DoesNotRunError                10   a model that a device can't run
    ├── FormatError                    11   bytes from another machine that can't be read, or of an unknown version
    ├── UntrustedError                 12   a signature, seal or digest that does not hold
    ├── UnreachableError               13   the other side does not answer
    ├── RefusedError                   14   the other side answered, and said no
    ├── NoModelError                   15   a device without any verified model
    ├── ReleaseError                   16   a release or roll-out that can't be made
    └── QuotaError                     17   a metered model that no voucher pays for any more

Exit codes are part of the interface: a number is never given to another error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class TinyMLOpsError(Exception):
    """Root of the tree.

    Args:
        cause: What is wrong, one sentence without the final full stop.
        next_step: What the person can do about it, likewise.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, cause: str, next_step: str) -> None:
        super().__init__(cause, next_step)
        self.cause = cause
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.cause}: {self.next_step}."


class UsageError(TinyMLOpsError):
    """Options that do not fit together."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that does not exist; suggests the nearest one that does.

    Args:
        kind: What was looked up, for example ``"device"``.
        name: The name as given.
        known: All names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        step = f"did you mean {near[0]!r}" if near else f"choose one of {', '.join(names)}"
        super().__init__(f"there is no {kind} called {name!r}", step)
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries; the default would call __init__ with the wrong words.
        return (_rebuild, (type(self), self.cause, self.next_step, self.name))


class WorkloadError(TinyMLOpsError):
    """Data, split or network of a workload that can't be used."""

    exit_code = 3


class ModelFileError(TinyMLOpsError):
    """A file that is not a readable .tflite model."""

    exit_code = 4


class CompressionError(TinyMLOpsError):
    """A recipe whose promise the result does not keep, or a converter that failed."""

    exit_code = 5


class NotApplicableError(CompressionError):
    """A recipe that this kind of network can't have: nobody's mistake, but worth a row in the table."""


class ProfileError(TinyMLOpsError):
    """A device profile with a misspelt key or an impossible value."""

    exit_code = 6


class EngineError(TinyMLOpsError):
    """No container engine, or one that died in the middle."""

    exit_code = 7


class StorageError(TinyMLOpsError):
    """A disk that is full or a folder that can't be written."""

    exit_code = 8


class DoesNotRunError(TinyMLOpsError):
    """A model that a device can't run: an operator or a type it lacks, too little memory, a crash."""

    exit_code = 10


class SetupError(TinyMLOpsError):
    """A package, file or program that this machine lacks."""

    exit_code = 9


class FormatError(TinyMLOpsError):
    """Bytes from another machine that can't be read, or that speak a version we do not know."""

    exit_code = 11


class UntrustedError(TinyMLOpsError):
    """A signature, seal or digest that does not hold."""

    exit_code = 12


class UnreachableError(TinyMLOpsError):
    """The other side does not answer: no network, no server, or a link too slow to wait for."""

    exit_code = 13


class RefusedError(TinyMLOpsError):
    """The other side answered, and said no: not enrolled, revoked, a code that was used, too many requests."""

    exit_code = 14


class NoModelError(TinyMLOpsError):
    """A device without any verified model to run."""

    exit_code = 15


class ReleaseError(TinyMLOpsError):
    """A release or roll-out that can't be made: keys, versions or devices do not fit."""

    exit_code = 16


class QuotaError(TinyMLOpsError):
    """A metered model that no voucher pays for any more: spent, over, revoked, or none there yet."""

    exit_code = 17


def _rebuild(kind: type[UnknownNameError], cause: str, step: str, name: str) -> UnknownNameError:
    error = kind.__new__(kind)
    TinyMLOpsError.__init__(error, cause, step)
    error.name = name
    return error
