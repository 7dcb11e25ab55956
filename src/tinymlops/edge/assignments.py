"""What this device was offered last: checked to be for it, and never older than what it had."""

from __future__ import annotations

from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import FormatError, UntrustedError
from tinymlops.files import sha256
from tinymlops.wire.assignment import Assignment
from tinymlops.wire.encoding import decode

_FILE = "assignment.json"


class Assignments:
    """The saved assignment.

    Args:
        folder: Of the agent.
        device_id: Of this device.
        observe: Told of the transitions.
    """

    def __init__(self, folder: Folder, device_id: str, observe: Observer) -> None:
        self._folder = folder
        self._device_id = device_id
        self._observe = observe
        self._content = folder.read(_FILE)
        self.current = _read(self._content)

    def is_saved(self, digest: str) -> bool:
        """Whether the content with this digest is the one that is kept."""
        return self._content is not None and self.current is not None and sha256(self._content) == digest

    def take(self, content: bytes) -> None:
        """Check a verified target's content and keep it.

        Raises:
            UntrustedError: It is for another device, or older than the one that is kept.
            FormatError: It can't be read.
        """
        new = decode(content, Assignment, what="the assignment")
        if new.device_id != self._device_id:
            raise UntrustedError("the assignment is for another device", "nothing of it is used")
        seen = self.current.counter if self.current is not None else 0
        if content != self._content and not new.may_follow(seen):
            raise UntrustedError(
                f"the assignment has counter {new.counter}, and this device has seen {seen}",
                "somebody plays an old one again, or two servers assign: nothing of it is used",
            )
        workloads = [offer.workload for offer in new.offers]
        if len(set(workloads)) != len(workloads):
            raise FormatError("the assignment offers a workload twice", "nothing of it is used")
        self._observe(Transition.ASSIGNMENT_VERIFIED, str(new.counter))
        self._folder.write(_FILE, content)
        self._content, self.current = content, new
        self._observe(Transition.ASSIGNMENT_SAVED, str(new.counter))


def _read(content: bytes | None) -> Assignment | None:
    return None if content is None else decode(content, Assignment, what="the saved assignment")
