"""What a retraining has pinned, so that a run that was cut short goes on as it began: same data, same champion.

A plan is kept from the first step on, under the request's key. Whoever runs a retraining of that key again finds it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tinymlops.errors import StorageError
from tinymlops.retraining.records import checked_request_key
from tinymlops.retraining.values import Trigger
from tinymlops.store import NotFoundError, ObjectStore
from tinymlops.wire.encoding import Versioned, decode, encode

_FOLDER = "retraining-plans"
_ATTEMPTS = 10


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said of a challenger.

    Attributes:
        approved: Or declined.
        who: Said it.
        comment: For the record.
    """

    approved: bool
    who: str = ""
    comment: str = ""

    @property
    def words(self) -> str:
        """The same as a sentence."""
        verb = "agreed" if self.approved else "declined"
        said = f"{self.who or 'somebody'} {verb}" if self.who or self.approved or not self.comment else ""
        return ": ".join(part for part in (said, self.comment) if part)


class Plan(Versioned, frozen=True, kw_only=True):
    """What is pinned.

    Attributes:
        workload: Name of the workload.
        reference: As the request wrote it: a name, or path/to/file.py:object.
        key: Of the request.
        trigger: What asked for it.
        why: In words.
        began_s: Seconds since 1970.
        seed: Of all draws.
        table_version: Of the table of samples.
        champion: Release in the field.
        asked_s: When a person was asked, or None.
        answer: What that person said, or None.
    """

    workload: str
    reference: str
    key: str
    trigger: Trigger
    why: str
    began_s: float
    seed: int
    table_version: int
    champion: int
    asked_s: float | None = None
    answer: Answer | None = None


class Plans:
    """Plans of all retrainings.

    Args:
        store: Of telemetry.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def find(self, workload: str, key: str) -> Plan | None:
        """The plan of that key, or None."""
        try:
            content = self._store.get(_place(workload, key))
        except NotFoundError:
            return None
        return decode(content, Plan, what=f"the plan of the retraining {key}")

    def pin(self, plan: Plan) -> Plan:
        """Keep ``plan``, unless there is one of that key: the first one counts, and comes back."""
        place = _place(plan.workload, checked_request_key(plan.key))
        if self._store.put_if_absent(place, encode(plan)) is None:
            return decode(self._store.get(place), Plan, what=f"the plan of the retraining {plan.key}")
        return plan

    def change(self, plan: Plan, how: Callable[[Plan], Plan]) -> Plan:
        """Change a plan as it is in the store by now.

        Raises:
            StorageError: Others keep changing it.
        """
        place = _place(plan.workload, plan.key)
        for _ in range(_ATTEMPTS):
            content, etag = self._store.get_tagged(place)
            before = decode(content, Plan, what=f"the plan of the retraining {plan.key}")
            after = how(before)
            if after == before or self._store.put_if_match(place, encode(after), etag) is not None:
                return after
        raise StorageError(f"others keep changing the plan of the retraining {plan.key}", "try again in a moment")


def _place(workload: str, key: str) -> str:
    return f"{_FOLDER}/{workload}/{key}.json"
