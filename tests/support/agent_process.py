"""Lives devices' lives in processes of their own, and kills them where it is told to.

Reads lines ``folder code transition occurrence`` from standard input and answers each with one line. All is imported
once; each life is a fork. The first life of a folder ends by SIGKILL at the transition, the second one finishes that
stage and the next.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import traceback
import urllib.request
from pathlib import Path

import ai_edge_litert.interpreter  # noqa: F401 - once, before the forks

from tests.support.agent_scenario import STAGES, Play, check_survival, settings
from tinymlops.edge.agent import Agent
from tinymlops.edge.http_transport import HttpTransport
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition, ignore
from tinymlops.wire.enrolment_code import EnrolmentCode

_LONGEST_LIFE_S = 60


class Killer:
    """Kills this process, as a power cut would, when a transition is passed for the n-th time."""

    def __init__(self, transition: Transition, occurrence: int) -> None:
        self._transition, self._left = transition, occurrence

    def __call__(self, transition: Transition, about: str) -> None:
        if transition is self._transition:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def live(folder: Path, gateway: str, code: str, observer: Observer, stages: int) -> None:
    def make(trial_s: float) -> Agent:
        state = Folder(folder / "state")
        transport = HttpTransport(gateway)
        rng = random.Random(1)  # noqa: S311 - jitter
        return Agent(state, transport, rng=rng, observer=observer, settings=settings(trial_s))

    def enter(device_id: str, stage: int) -> None:
        request = urllib.request.Request(f"{gateway}/test/{device_id}/{stage}", data=b"")  # noqa: S310 - our own
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - our own

    reached = int((folder / "stage").read_text() or 0) if (folder / "stage").exists() else 0
    if reached:
        check_survival(folder, make, had_model=reached > 1)
    Play(make, enter, EnrolmentCode.parse(code), folder).run(stages)


def forked(folder: Path, gateway: str, code: str, observer: Observer, stages: int = STAGES) -> int:
    """The exit code of a life; negative for a signal."""
    child = os.fork()
    if child == 0:
        faulthandler.enable()
        signal.alarm(_LONGEST_LIFE_S)
        try:
            live(folder, gateway, code, observer, stages)
        except BaseException:  # noqa: BLE001 - a child must never return into the parent's loop
            (folder / "error").write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    gateway = sys.argv[1]
    for line in sys.stdin:
        name, code, transition, occurrence = line.strip().split("\t")
        folder = Path(name)
        folder.mkdir(parents=True)
        killed = forked(folder, gateway, code, Killer(Transition(transition), int(occurrence)))
        ended = forked(folder, gateway, code, ignore, stages=2)
        print(killed, ended, flush=True)


if __name__ == "__main__":
    main()
