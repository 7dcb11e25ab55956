"""What all parts of an agent share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinymlops.edge.counters import Counters
from tinymlops.edge.seams import InterpreterFactory
from tinymlops.edge.settings import AgentSettings
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer
from tinymlops.edge.trusted_clock import TrustedClock
from tinymlops.wire.identity import DeviceKeys


@dataclass(frozen=True, kw_only=True)
class Context:
    """The surroundings of an enrolled agent's parts.

    Attributes:
        folder: All state.
        keys: Of the device.
        clock: What time it is.
        counters: Queries, errors, reports.
        interpreter: Makes interpreters.
        settings: Of the agent.
        observe: Told of transitions.
        profile: Kind of device.
    """

    folder: Folder
    keys: DeviceKeys
    clock: TrustedClock
    counters: Counters
    interpreter: InterpreterFactory
    settings: AgentSettings
    observe: Observer
    profile: Callable[[], str]
