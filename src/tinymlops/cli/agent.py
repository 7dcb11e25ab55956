"""``tinymlops agent``: what runs on a device. Needs the base install alone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tinymlops.edge.agent import Agent
    from tinymlops.edge.cycle import Cycle
    from tinymlops.edge.http_transport import HttpTransport
    from tinymlops.edge.metering import Left
    from tinymlops.edge.monotonic import MonotonicCounter
    from tinymlops.edge.settings import AgentSettings
    from tinymlops.edge.status import Status
    from tinymlops.edge.storage import Folder

STATE_VARIABLE = "TINYMLOPS_AGENT_STATE"
_LISTEN_FILE = "listen"
_MIB = 1024 * 1024


@click.group()
def agent() -> None:
    """Run models on this device, and keep them up to date. Needs the base install alone."""


def _state_option(command: Any) -> Any:
    words = f"Folder that the agent owns.  [default: {STATE_VARIABLE}, systemd's, else ~/.local/state/tinymlops-agent]"
    return click.option("--state", type=click.Path(path_type=Path, file_okay=False), help=words)(command)


def _ca_option(command: Any) -> Any:
    words = "Certificates to trust instead of the system's, in PEM."
    return click.option("--ca", type=click.Path(path_type=Path, dir_okay=False), help=words)(command)


def _settings_options(command: Any) -> Any:
    for option in (
        click.option("--quota-mib", default=512, show_default=True, help="Disk that the agent may use."),
        click.option(
            "--network",
            type=click.Choice(["unmetered", "metered", "offline"]),
            default="unmetered",
            show_default=True,
            help="What a download costs here.",
        ),
        click.option(
            "--preference",
            type=click.FloatRange(0, 1),
            default=0.5,
            show_default=True,
            help="Speed (0) or accuracy (1).",
        ),
        click.option("--trial", "trial_s", default=10.0, show_default=True, help="Seconds a new release is on trial."),
    ):
        command = option(command)
    return command


@agent.command()
@click.argument("code")
@click.option("--gateway", required=True, help="Its address, for example https://gateway.example.")
@click.option("--profile", required=True, help="Kind of device: the name of its profile.")
@_state_option
@_ca_option
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
@_state_option
@_ca_option
@_settings_options
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
    folder, this, transport = _agent(state, ca, _settings(**options), observer=_say, counter=_counter(tpm))
    _stop_on_signals(stop, transport)
    with folder.locked():
        this.open()
        server = None if listen == "none" else LocalServer(listen, this.models, lambda: status_of(folder))
        try:
            if server is not None:
                server.start()
                folder.write(_LISTEN_FILE, server.address.encode())
                click.echo(f"tinymlops: answering on {server.address}", err=True)
            this.run(stop, _complain)
        finally:
            if server is not None:
                server.stop()
                folder.remove(_LISTEN_FILE)


@agent.command()
@_state_option
@_ca_option
@_settings_options
def once(state: Path | None, ca: Path | None, **options: Any) -> None:
    """One round: update, report, send what waits; then say how things are."""
    from tinymlops.edge.hardening import harden
    from tinymlops.edge.status import status_of

    harden()
    folder, this, _ = _agent(state, ca, _settings(**options), observer=_say)
    with folder.locked():
        this.open()
        try:
            this.step()
        finally:
            this.close()
    click.echo(_table(status_of(folder)))


@agent.command()
@_state_option
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
@_state_option
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
    address = folder.read(_LISTEN_FILE) if folder.in_use() else None
    if address is not None:
        answer = _ask_running(address.decode(), workload, values, preference)
    else:
        with folder.locked():
            this = _agent(state, None, _settings())[1].open()
            answer = msgspec.json.encode(this.models[workload].predict(values, preference))
            this.close()
    click.echo(msgspec.json.format(answer).decode())


@agent.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@_state_option
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


def state_folder() -> Path:
    """Where the agent keeps its state, unless it is told otherwise."""
    chosen = os.environ.get(STATE_VARIABLE) or os.environ.get("STATE_DIRECTORY")
    return Path(chosen) if chosen else Path.home() / ".local" / "state" / "tinymlops-agent"


def _settings(
    quota_mib: int = 512, network: str = "unmetered", preference: float = 0.5, trial_s: float = 10.0
) -> AgentSettings:
    from tinymlops.edge.settings import AgentSettings
    from tinymlops.wire.device_state import Network

    return AgentSettings(quota_bytes=quota_mib * _MIB, network=Network(network), preference=preference, trial_s=trial_s)


def _agent(
    state: Path | None, ca: Path | None, settings: AgentSettings, **seams: Any
) -> tuple[Folder, Agent, HttpTransport]:
    from tinymlops.edge import enrolment
    from tinymlops.edge.agent import Agent
    from tinymlops.edge.http_transport import HttpTransport
    from tinymlops.edge.storage import Folder
    from tinymlops.errors import RefusedError

    folder = Folder(state or state_folder(), quota_bytes=settings.quota_bytes)
    known = enrolment.enrolled(folder)
    if known is None:
        raise RefusedError(
            f"{folder.root} holds no enrolled device", "run `tinymlops agent enrol CODE --gateway URL` first"
        )
    transport = HttpTransport(known.gateway, ca)
    return folder, Agent(folder, transport, settings=settings, **seams), transport


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


def _say(transition: Any, about: str) -> None:
    from tinymlops.edge.journal import is_news

    if is_news(transition):
        click.echo(f"tinymlops: {transition}: {about}", err=True)


def _complain(done: Cycle) -> None:
    if done.error is not None:
        click.echo(f"tinymlops: {done.error} Next try in {done.delay_s:.0f} s.", err=True)


def _ask_running(address: str, workload: str, values: list[Any], preference: float | None) -> bytes:
    """Ask the agent that runs: it holds the models and counts the queries."""
    import msgspec

    from tinymlops.edge.local_client import post
    from tinymlops.edge.local_server import Question
    from tinymlops.errors import QuotaError, UsageError
    from tinymlops.wire.encoding import decode
    from tinymlops.wire.messages import Problem

    body = msgspec.json.encode(Question(inputs=values, preference=preference))
    status, answer = post(address, f"/v1/models/{workload}/predict", body)
    if status != 200:
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
    return "\n".join((*head, "", *lines, "", *map(_voucher_line, facts.vouchers), *facts.journal))


def _voucher_line(one: Left) -> str:
    """What a voucher still pays for, in words."""
    from datetime import UTC, datetime

    state = one.trouble or f"until {datetime.fromtimestamp(one.ends_s, UTC):%Y-%m-%d %H:%M} UTC"
    told = f"{one.left:,} of {one.quota:,} queries left, {one.unreported:,} not reported yet"
    return f"voucher {one.serial[:8]} for {one.workload}: {told}; {state}"


def _shown(version: int | None) -> str:
    return "–" if version is None else str(version)
