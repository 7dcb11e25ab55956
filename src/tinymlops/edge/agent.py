"""The agent: keeps a device's models verified, up to date and answering, whatever happens to it or to the network.

One round is: ask the time if need be, refresh the signed metadata, take the assignment, install what it offers, switch,
report health, end trials, send the spool. No threads here: `cycle` is called again and again, by `run` or by a test.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from functools import cached_property

from tinymlops import __version__
from tinymlops.edge import enrolment, journal, litert, meter
from tinymlops.edge.assignments import Assignments
from tinymlops.edge.consent import Consents
from tinymlops.edge.context import Context
from tinymlops.edge.counters import Counters
from tinymlops.edge.cycle import Cycle, error_of
from tinymlops.edge.device import device_state
from tinymlops.edge.downloads import Downloads
from tinymlops.edge.installer import Source
from tinymlops.edge.link import BusyError, Link, WrongTimeError
from tinymlops.edge.metadata import ExpiredError, Metadata
from tinymlops.edge.metering import Metering
from tinymlops.edge.monotonic import FileCounter, MonotonicCounter
from tinymlops.edge.noise import Below
from tinymlops.edge.observing import Observing
from tinymlops.edge.seams import Clock, InterpreterFactory, SystemClock, Transport
from tinymlops.edge.sending import send_waiting
from tinymlops.edge.serving import Model, Models
from tinymlops.edge.settings import AgentSettings
from tinymlops.edge.slots import MODELS
from tinymlops.edge.spool import Kind, Spool
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition, ignore
from tinymlops.edge.trusted_clock import TrustedClock
from tinymlops.edge.workload import Workload
from tinymlops.errors import RefusedError, TinyMLOpsError, UnreachableError
from tinymlops.wire.assignment import Offer, target_of
from tinymlops.wire.device_state import DeviceState
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import Acknowledgement, HealthReport, SignedBytes

_FIRST_BACKOFF_S = 4.0
_POLL_JITTER = 0.1
_LEAST_POLL_S = 1.0


class Agent:
    """A device's agent. Making one touches no disk and no network; `open` and `enrol` do.

    Args:
        folder: All that it keeps.
        transport: To the gateway.
        clock: Of the device.
        rng: For jitter.
        interpreter: Makes interpreters of models.
        observer: Told of every transition, right after it.
        settings: How to behave.
        counter: Kept by a chip; unless given, a file that protects nothing.
        below: Where noise comes from: the system, unless a simulation draws its own.
    """

    def __init__(  # noqa: PLR0913 - each seam can be replaced
        self,
        folder: Folder,
        transport: Transport,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        interpreter: InterpreterFactory = litert.load,
        observer: Observer = ignore,
        settings: AgentSettings | None = None,
        counter: MonotonicCounter | None = None,
        below: Below = secrets.randbelow,
    ) -> None:
        self.folder = folder
        self.settings = settings or AgentSettings()
        self.models = Models()
        self._transport = transport
        self._wall = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - jitter needs no secrecy
        self._interpreter = interpreter
        self._observer = observer
        self._counter = counter or FileCounter(folder)
        self._below = below
        self._workloads: dict[str, Workload] = {}
        self._failures = 0
        self._asked_time = False
        self._poll_s: float | None = None

    # --- what an agent is made of, each read from the disk when it is first needed

    @cached_property
    def keys(self) -> DeviceKeys:
        """The device's keys; made on first use."""
        return enrolment.device_keys(self.folder, self._observe)

    @property
    def device_id(self) -> str:
        """Of this device."""
        return self.keys.device_id

    @cached_property
    def clock(self) -> TrustedClock:
        """What time it is."""
        return TrustedClock(self._wall, self.folder, self._observe)

    @cached_property
    def counters(self) -> Counters:
        """Counts of queries, errors and reports."""
        return Counters(self.folder, self._wall.monotonic, self._observe)

    @cached_property
    def spool(self) -> Spool:
        """Records on their way to the gateway."""
        quotas = {Kind.OBSERVATION: self.settings.observations_bytes, Kind.RECEIPT: self.settings.receipts_bytes}
        return Spool(self.folder, quotas, self._observe)

    @cached_property
    def metering(self) -> Metering:
        """Pays for the queries of metered models.

        Raises:
            StorageError: Its state can't be read, or there is no room for it.
            FormatError: Its state is damaged.
        """
        return Metering(
            self.folder, self.keys, lambda: self.enrolled.answer.gateway_key, self.clock.now, self._counter,
            self._observe, monotonic=self._wall.monotonic,
        )  # fmt: skip

    @cached_property
    def consents(self) -> Consents:
        """What the person at this device agreed to."""
        return Consents(self.folder, self.keys, self.clock.now, self._observe)

    @cached_property
    def observing(self) -> Observing:
        """Counts what models see and answer, where the person agreed."""
        return Observing(
            self.folder, self.consents, self.clock, lambda: self.spool, self.settings.observations, self._observe,
            below=self._below, rng=self._rng,
        )  # fmt: skip

    @cached_property
    def assignments(self) -> Assignments:
        """What was offered last."""
        return Assignments(self.folder, self.device_id, self._observe)

    @cached_property
    def enrolled(self) -> enrolment.Enrolled:
        """What was agreed at the enrolment.

        Raises:
            RefusedError: There was none.
        """
        known = enrolment.enrolled(self.folder)
        if known is None:
            raise RefusedError("this device is not enrolled", "run `tinymlops agent enrol CODE --gateway URL` first")
        return known

    @cached_property
    def link(self) -> Link:
        """Signed requests to the gateway."""
        return Link(self._transport, self.keys, self.clock, self.settings.limits)

    @property
    def on_trial(self) -> bool:
        """Whether any release is on trial."""
        return any(workload.on_trial for workload in self._workloads.values())

    # --- what can be done with it

    def enrol(self, code: EnrolmentCode, gateway: str, profile: str) -> enrolment.Enrolled:
        """Get in with a one-time code; may be repeated with the same code after any failure.

        Raises:
            UntrustedError: Somebody else than the code's owner answered.
            RefusedError: The gateway says no, or the device is enrolled elsewhere.
            UnreachableError: The gateway does not answer.
        """
        return enrolment.enrol(self.folder, self.link, self.keys, code, (gateway, profile), self._observe)

    def open(self) -> Agent:
        """Start what is installed, without any network.

        Raises:
            StorageError: The folder can't be read or written.
            FormatError: A file in it is damaged that nothing can replace.
        """
        for name in self.folder.names(MODELS):
            self._workload(name).open()
        return self

    def step(self) -> None:
        """One round. A failure to update does not keep the device from reporting.

        Raises:
            TinyMLOpsError: What went wrong first; everything else was tried all the same.
        """
        self._asked_time = False
        errors = [error for part in self._parts() if (error := self._tried(part))]
        for model in self.models.values():
            model.choose_again()
        if errors:
            raise errors[0]

    def cycle(self) -> Cycle:
        """One round, and when to begin the next: at the polling interval, or after a growing random wait on failure."""
        try:
            self.step()
        except TinyMLOpsError as error:
            self._failures += 1
            return Cycle(self._backoff_s(error), error)
        self._failures = 0
        poll_s = self._poll_s if self._poll_s is not None else self.enrolled.answer.poll_s
        poll_s = min(max(poll_s, _LEAST_POLL_S), self.settings.most_poll_s)
        if self.on_trial:
            poll_s = min(poll_s, max(self.settings.trial_s, 1.0))
        return Cycle(poll_s * self._rng.uniform(1.0 - _POLL_JITTER, 1.0 + _POLL_JITTER))

    def run(self, stop: threading.Event, on_cycle: Callable[[Cycle], None] = lambda _: None) -> None:
        """Go round until ``stop`` is set.

        Args:
            stop: Ends the wait at once, and the loop after the round that is under way.
            on_cycle: Told of each round.
        """
        while not stop.is_set():
            done = self.cycle()
            on_cycle(done)
            self._wait(stop, done.delay_s)
        self.close()

    def _wait(self, stop: threading.Event, seconds: float) -> None:
        """Wait for the next round; counts of observations are saved meanwhile."""
        end = time.monotonic() + seconds
        every = self.settings.observations.saved_every_s
        while (left := end - time.monotonic()) > 0 and not stop.wait(min(left, every)):
            error_of(self.observing.tick)  # a full disk is told by the next round

    def close(self) -> None:
        """Write the exact counts. Nothing is lost without it but their exactness, and what is left of a reservation."""
        self.counters.save()
        self.observing.save()
        if self._is_metered():
            self.metering.close()
        self._observe(Transition.STOPPED, "")

    def observe(self, kind: Kind, name: str, content: bytes) -> int:
        """Keep a record for the gateway; its sequence number.

        Raises:
            StorageError: There is no room for a receipt, or the disk is full.
        """
        return self.spool.append(kind, name, content)

    def health(self) -> HealthReport:
        """What there is to report, under a new sequence number.

        Raises:
            StorageError: The number can't be kept.
        """
        assignment = self.assignments.current
        offers = {offer.workload: offer for offer in assignment.offers} if assignment is not None else {}
        counter = assignment.counter if assignment is not None else 0
        releases = [
            release
            for name in sorted({*offers, *self._workloads})
            for release in self._workload(name).health(offers.get(name), counter)
        ]
        return HealthReport(
            sequence=self.counters.next_health(),
            sent_at=max(self.clock.now(), 0.0),
            agent_version=__version__,
            releases=tuple(releases[:64]),
            battery=self._state(None).battery_fraction,
            free_bytes=self.folder.free(),
            dropped_observations=self.spool.state.dropped,
        )

    # --- the parts of a round

    def _parts(self) -> tuple[Callable[[], None], ...]:
        metered = (lambda: self.metering.exchange(self.link),) if self._is_metered() else ()
        return (self.observing.tick, self._update, self._report, *metered, self._flush)

    def _is_metered(self) -> bool:
        return any(model.is_metered for model in self.models.values()) or bool(self.folder.names(meter.HOME))

    def _update(self) -> None:
        if self.clock.is_worn():
            self._ask_time()
        try:
            metadata = self._refreshed()
        except ExpiredError:
            # Perhaps it is our clock that is wrong: it may run ahead.
            if self._asked_time:
                raise
            self._ask_time()
            metadata = self._refreshed()
        self._take_assignment(metadata)
        assignment = self.assignments.current
        if assignment is None:
            return
        downloads = Downloads(self.folder, self.link, self.settings.limits, self._observe)
        source = Source(metadata, self.link, downloads)
        errors = [error for offer in assignment.offers if (error := self._followed(offer, assignment.counter, source))]
        if errors:
            raise errors[0]

    def _followed(self, offer: Offer, counter: int, source: Source) -> TinyMLOpsError | None:
        """Follow one offer; what went wrong must not keep the other workloads from theirs."""
        return error_of(lambda: self._workload(offer.workload).follow(offer, counter, source))

    def _refreshed(self) -> Metadata:
        root = self.enrolled.answer.root
        metadata = Metadata(self.folder, self.link, root, self.clock.now(), self._observe)
        metadata.refresh()
        return metadata

    def _take_assignment(self, metadata: Metadata) -> None:
        target = metadata.find(target_of(self.device_id))
        if target is None or self.assignments.is_saved(target.sha256):
            return
        content = Source(
            metadata, self.link, Downloads(self.folder, self.link, self.settings.limits, self._observe)
        ).file(target)
        self._observe(Transition.ASSIGNMENT_FETCHED, target.path)
        self.assignments.take(content)

    def _report(self) -> None:
        """Report, end trials whose time has come, and report once more where one ended."""
        error = error_of(self._send_health)
        changed = [workload.judge(acknowledged=error is None) for workload in self._workloads.values()]
        if error is not None:
            raise error
        if any(changed):
            self._send_health()

    def _send_health(self) -> None:
        report = self.health()
        self._observe(Transition.HEALTH_QUEUED, str(report.sequence))
        answer = self.link.post("/v1/health", encode(report))
        self._observe(Transition.HEALTH_SENT, str(report.sequence))
        acknowledged = decode(answer, Acknowledgement, what="the answer to a health report")
        if acknowledged.through < report.sequence:
            raise UnreachableError("the gateway did not keep a health report", "it is sent again later")
        self._poll_s = acknowledged.poll_s if acknowledged.poll_s is not None else self._poll_s
        self._observe(Transition.HEALTH_ACKNOWLEDGED, str(acknowledged.through))

    def _flush(self) -> None:
        send_waiting(self.spool, self.link, self.observing, self.settings, self._observe)

    def _ask_time(self) -> None:
        self._asked_time = True
        answer = self.link.post("/v1/time", encode(self.clock.question()))
        self._observe(Transition.TIME_ASKED, "")
        self.clock.learn(decode(answer, SignedBytes, what="the time answer"), self.enrolled.answer.gateway_key)

    def _tried(self, part: Callable[[], None]) -> TinyMLOpsError | None:
        """Do a part of a round; once more with the right time where the gateway held ours for wrong."""
        error = error_of(part)
        if not isinstance(error, WrongTimeError):
            return error
        return error_of(self._ask_time) or error_of(part)

    def _workload(self, name: str) -> Workload:
        known = self._workloads.get(name)
        if known is None:
            context = Context(
                folder=self.folder, keys=self.keys, clock=self.clock, counters=self.counters,
                interpreter=self._interpreter, settings=self.settings, observe=self._observe,
                profile=lambda: self.enrolled.profile,
            )  # fmt: skip
            watch = self.observing.watch(name)
            model = self.models.add(Model(name, self.counters, self._state, lambda: self.metering.charge(name), watch))
            known = self._workloads[name] = Workload(context, model, self._state)
        return known

    def _state(self, preference: float | None) -> DeviceState:
        return device_state(self.settings, preference)

    def _backoff_s(self, error: TinyMLOpsError) -> float:
        """Full jitter: anywhere below a limit that doubles (Brooker 2015, "Exponential Backoff and Jitter")."""
        most = min(self.settings.most_backoff_s, _FIRST_BACKOFF_S * 2.0 ** min(self._failures, 20))
        least = error.retry_after_s if isinstance(error, BusyError) else 0.0
        return least + self._rng.uniform(0.0, most)

    def _observe(self, transition: Transition, about: str) -> None:
        journal.note(self.folder, self._wall.now(), transition, about)
        self._observer(transition, about)
