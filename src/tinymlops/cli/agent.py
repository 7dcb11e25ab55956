"""``tinymlops agent``: what runs on a device. Needs the base install alone."""

from __future__ import annotations

import signal
import sys
import threading
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinymlops.cli.agent_consent import consent, consent_lines
from tinymlops.cli.agent_options import (
    LISTEN_FILE,
    ca_option,
    made_agent,
    running_at,
    said,
    settings_of,
    settings_options,
    state_folder,
    state_option,
)

if TYPE_CHECKING:
    from tinymlops.edge.cycle import Cycle
    from tinymlops.edge.http_transport import HttpTransport
    from tinymlops.edge.metering import Left
    from tinymlops.edge.monotonic import MonotonicCounter
    from tinymlops.edge.status import Status

_MIB = 1024 * 1024


@click.group()
def agent() -> None:
    """Run models on this device, and keep them up to date. Needs the base install alone."""


agent.add_command(consent)


@agent.command()
@click.argument("code")
@click.option("--gateway", required=True, help="Its address, for example https://gateway.example.")
@click.option("--profile", required=True, help="Kind of device: the name of its profile.")
@state_option
@ca_option
def enrol(code: str, gateway: str, profile: str, state: Path | None, ca: Path | None) -> None:
    """Let this device in with a one-time CODE, or - to read it from standard input. Safe to repeat."""
    from tinymlops.edge.agent import Agent
    from tinymlops.edge.http_transport import HttpTransport
    from tinymlops.edge.storage import Folder
    from tinymlops.wire.enrolment_code import EnrolmentCode

    text = sys.stdin.readline() if code == "-" else code
    folder = Folder(state or state_folder())
    with folder.locked():
        this = Agent(folder, HttpTransport(gateway, ca))
        this.enrol(EnrolmentCode.parse(text), gateway.rstrip("/"), profile)
    click.echo(f"{this.device_id} is enrolled at {gateway}. Start it with `tinymlops agent run`.")


@agent.command()
@state_option
@ca_option
@settings_options
@click.option("--listen", default="127.0.0.1:8701", show_default=True, help="HOST:PORT, unix:/path, or none.")
@click.option("--lock-memory", is_flag=True, help="Keep models out of swap, where the system allows it.")
@click.option("--tpm", metavar="TCTI", help="Count checkpoints of metered use in this TPM 2.0: device:/dev/tpmrm0.")
def run(state: Path | None, ca: Path | None, listen: str, lock_memory: bool, tpm: str | None, **options: Any) -> None:
    """Keep the models up to date and answer queries until stopped."""
    from tinymlops.edge.hardening import harden
    from tinymlops.edge.local_server import LocalServer
    from tinymlops.edge.status import status_of

    harden(lock_memory=lock_memory)
    stop = threading.Event()
    folder, this, transport = made_agent(state, ca, settings_of(**options), observer=said, counter=_counter(tpm))
    _stop_on_signals(stop, transport)
    with folder.locked():
        this.open()
        server = (
            None
            if listen == "none"
            else LocalServer(listen, this.models, lambda: status_of(folder), this.observing.look)
        )
        try:
            if server is not None:
                server.start()
                folder.write(LISTEN_FILE, server.address.encode())
                click.echo(f"tinymlops: answering on {server.address}", err=True)
            this.run(stop, _complain)
        finally:
            if server is not None:
                server.stop()
                folder.remove(LISTEN_FILE)


@agent.command()
@state_option
@ca_option
@settings_options
def once(state: Path | None, ca: Path | None, **options: Any) -> None:
    """One round: update, report, send what waits; then say how things are."""
    from tinymlops.edge.hardening import harden
    from tinymlops.edge.status import status_of

    harden()
    folder, this, _ = made_agent(state, ca, settings_of(**options), observer=said)
    with folder.locked():
        this.open()
        try:
            this.step()
        finally:
            this.close()
    click.echo(_table(status_of(folder)))


@agent.command()
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(state: Path | None, as_json: bool) -> None:
    """Say what is installed, how it does, and what happened last; also while the agent runs."""
    import msgspec

    from tinymlops.edge.status import status_of
    from tinymlops.edge.storage import Folder

    facts = status_of(Folder(state or state_folder()))
    click.echo(msgspec.json.format(msgspec.json.encode(facts)).decode() if as_json else _table(facts))


@agent.command()
@click.argument("workload")
@click.argument("inputs", type=click.File("rb"), default="-")
@state_option
@click.option("--preference", type=click.FloatRange(0, 1), help="Speed (0) or accuracy (1).")
def predict(workload: str, inputs: Any, state: Path | None, preference: float | None) -> None:
    """Answer one window: INPUTS is a file with a JSON list of numbers, or - for standard input."""
    import msgspec

    from tinymlops.edge.storage import Folder
    from tinymlops.errors import UsageError

    try:
        values = msgspec.json.decode(inputs.read(), type=list[Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the input is no JSON list ({error})", "give numbers like [0.1, 0.2]") from error
    folder = Folder(state or state_folder())
    address = running_at(folder)
    if address is not None:
        answer = _ask_running(address, workload, values, preference)
    else:
        with folder.locked():
            this = made_agent(state, None, settings_of())[1].open()
            answer = msgspec.json.encode(this.models[workload].predict(values, preference))
            this.close()
    click.echo(msgspec.json.format(answer).decode())


@agent.command()
@click.argument("workload")
@click.argument("number", type=click.IntRange(min=0))
@click.argument("truth")
@state_option
def feedback(workload: str, number: int, truth: str, state: Path | None) -> None:
    """Tell what was really right for an answer: NUMBER is its id, TRUTH a label or its index, or output values in JSON.

    The agent that gave the answer has to run still.
    """
    import msgspec

    from tinymlops.edge.storage import Folder
    from tinymlops.errors import RefusedError

    address = running_at(Folder(state or state_folder()))
    if address is None:
        raise RefusedError("no agent runs here that remembers the answer", "start it with `tinymlops agent run`")
    try:
        told = msgspec.json.decode(truth)
    except msgspec.DecodeError:
        told = truth
    answer = _post(address, f"/v1/models/{workload}/feedback", msgspec.json.encode({"id": number, "truth": told}))
    counted = msgspec.json.decode(answer, type=dict[str, bool])["counted"]
    not_counted = "Not counted: the answer is not remembered, was told of before, or nobody agreed to that here."
    click.echo("Counted." if counted else not_counted)


@agent.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@state_option
def receipts(out: Path, state: Path | None) -> None:
    """Copy the gateway's signed receipts for metered queries into the folder OUT.

    `tinymlops invoice verify --receipts OUT` holds an invoice against them.
    """
    from tinymlops.edge.metering import receipts as kept
    from tinymlops.edge.storage import Folder
    from tinymlops.files import sha256, write_atomic

    found = kept(Folder(state or state_folder()))
    for message in found:
        write_atomic(out / f"{sha256(message)[:32]}.receipt", message)
    click.echo(f"{len(found)} receipts are in {out}.")


def _counter(tpm: str | None) -> MonotonicCounter | None:
    """A counter in a TPM that was tried once, so that a wrong address is told at the start."""
    if tpm is None:
        return None
    from tinymlops.edge.tpm_counter import TpmCounter

    counter = TpmCounter(tpm)
    counter.read()
    return counter


def _stop_on_signals(stop: threading.Event, transport: HttpTransport) -> None:
    def ended(number: int, frame: object) -> None:
        del number, frame
        stop.set()
        transport.close()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ended)


def _complain(done: Cycle) -> None:
    if done.error is not None:
        click.echo(f"tinymlops: {done.error} Next try in {done.delay_s:.0f} s.", err=True)


def _ask_running(address: str, workload: str, values: list[Any], preference: float | None) -> bytes:
    """Ask the agent that runs: it holds the models and counts the queries."""
    import msgspec

    from tinymlops.edge.local_server import Question

    body = msgspec.json.encode(Question(inputs=values, preference=preference))
    return _post(address, f"/v1/models/{workload}/predict", body)


def _post(address: str, path: str, body: bytes) -> bytes:
    """The good answer of the agent that runs; what it has against the question, as an error."""
    from tinymlops.edge.local_client import post
    from tinymlops.errors import QuotaError, UsageError
    from tinymlops.wire.encoding import decode
    from tinymlops.wire.messages import Problem

    status, answer = post(address, path, body)
    if status != HTTPStatus.OK:
        problem = decode(answer, Problem)
        if status == HTTPStatus.PAYMENT_REQUIRED:
            raise QuotaError(problem.error, problem.next_step)
        raise UsageError(problem.error, problem.next_step)
    return answer


def _table(facts: Status) -> str:
    """The status as aligned columns: the base install has no library for tables."""
    rows: list[tuple[str, ...]] = [
        ("WORKLOAD", "RELEASE", "PHASE", "OFFERED", "RECIPES", "QUERIES", "ERRORS", "FAILED")
    ]
    for one in facts.workloads:
        failed = f"{one.failed_version}: {one.failed_reason}" if one.failed_version is not None else ""
        cells: tuple[object, ...] = (
            one.workload, _shown(one.version), one.phase, _shown(one.offered), ", ".join(one.recipes), one.queries,
            one.errors, failed,
        )  # fmt: skip
        rows.append(tuple(map(str, cells)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    head = (
        f"device {facts.device_id or 'without keys'} ({facts.profile or 'not enrolled'}) at {facts.gateway or '–'}",
        (
            f"assignment {facts.assignment}, {facts.used_bytes / _MIB:.1f} MiB used, "
            f"{facts.dropped_observations} observations dropped"
        ),
    )
    vouchers = map(_voucher_line, facts.vouchers)
    return "\n".join((*head, "", *lines, "", *vouchers, *consent_lines(facts), *facts.journal))


def _voucher_line(one: Left) -> str:
    """What a voucher still pays for, in words."""
    from datetime import UTC, datetime

    state = one.trouble or f"until {datetime.fromtimestamp(one.ends_s, UTC):%Y-%m-%d %H:%M} UTC"
    told = f"{one.left:,} of {one.quota:,} queries left, {one.unreported:,} not reported yet"
    return f"voucher {one.serial[:8]} for {one.workload}: {told}; {state}"


def _shown(version: int | None) -> str:
    return "–" if version is None else str(version)
