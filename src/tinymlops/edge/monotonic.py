"""A counter that only goes up, so that a state which was put back to an earlier one can be told from the newest.

It is stepped once for each new checkpoint, not for each query: chips stand a limited number of steps.
"""

from __future__ import annotations

from typing import Protocol

from tinymlops.edge.storage import Folder
from tinymlops.errors import UntrustedError
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.fields import Count

_FILE = "meter/counter.json"


class MonotonicCounter(Protocol):
    """Something that counts up and can't be put back.

    Attributes:
        kind: What it is, for checkpoints: ``"file"`` protects nothing.
    """

    kind: str

    def read(self) -> int:
        """Its value; raises `SetupError` where it can't be reached."""
        ...

    def increment(self) -> int:
        """Its value after one more step; raises as `read` does."""
        ...


class Steps(Versioned, frozen=True, kw_only=True):
    """A number that is kept.

    Attributes:
        value: The number.
    """

    value: Count = 0


class FileCounter:
    """A number in the agent's folder. It protects nothing: whoever puts the folder back puts the number back too.

    Args:
        folder: Of the agent.
    """

    kind = "file"

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self) -> int:
        """Its value."""
        return _saved(self._folder, _FILE)

    def increment(self) -> int:
        """Its value after one more step."""
        value = self.read() + 1
        self._folder.write(_FILE, encode(Steps(value=value)))
        return value


class Steady:
    """A counter, and what the folder remembers of it.

    The step is written down before it is made, so that a crash leaves the counter at most one behind the folder and
    never before it.

    Args:
        folder: Of the agent.
        counter: To compare with.
    """

    def __init__(self, folder: Folder, counter: MonotonicCounter) -> None:
        self._folder, self._counter = folder, counter
        self.kind = counter.kind
        self._saved = f"meter/steps-{counter.kind}.json"

    def check(self) -> None:
        """Check that the folder is the newest one.

        Raises:
            UntrustedError: The counter was stepped after this state of the folder was written, or is another one.
        """
        remembered, value = _saved(self._folder, self._saved), self._counter.read()
        if remembered - 1 <= value <= remembered or (not remembered and not self._folder.size(self._saved)):
            return
        raise UntrustedError(
            f"the state of this device is not its newest: its {self.kind} counter says {value}, the state {remembered}",
            "it answers no metered query; ask the owner for a new voucher, and enrol the device anew",
        )

    def step(self) -> int:
        """The next value, for a checkpoint.

        Raises:
            UntrustedError: As `check`.
            StorageError: The disk is full.
        """
        self.check()
        self._folder.write(self._saved, encode(Steps(value=self._counter.read() + 1)))
        return self._counter.increment()


def _saved(folder: Folder, name: str) -> int:
    content = folder.read(name)
    return 0 if content is None else decode(content, Steps, what="the saved counter").value
