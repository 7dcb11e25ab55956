"""What commands of the agent share: options, and the way to its folder, its settings and the process that runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tinymlops.edge.agent import Agent
    from tinymlops.edge.http_transport import HttpTransport
    from tinymlops.edge.settings import AgentSettings
    from tinymlops.edge.storage import Folder

STATE_VARIABLE = "TINYMLOPS_AGENT_STATE"
LISTEN_FILE = "listen"
_MIB = 1024 * 1024
_HOUR_S = 3600.0


def state_option(command: Any) -> Any:
    """``--state``."""
    words = f"Folder that the agent owns.  [default: {STATE_VARIABLE}, systemd's, else ~/.local/state/tinymlops-agent]"
    return click.option("--state", type=click.Path(path_type=Path, file_okay=False), help=words)(command)


def ca_option(command: Any) -> Any:
    """``--ca``."""
    words = "Certificates to trust instead of the system's, in PEM."
    return click.option("--ca", type=click.Path(path_type=Path, dir_okay=False), help=words)(command)


def settings_options(command: Any) -> Any:
    """What `settings_of` takes."""
    positive = click.FloatRange(min=0, min_open=True)
    for option in (
        click.option("--quota-mib", default=512, show_default=True, help="Disk that the agent may use."),
        click.option(
            "--network",
            type=click.Choice(["unmetered", "metered", "offline"]),
            default="unmetered",
            show_default=True,
            help="What a download costs here. Observations leave on an unmetered one alone.",
        ),
        click.option(
            "--preference",
            type=click.FloatRange(0, 1),
            default=0.5,
            show_default=True,
            help="Speed (0) or accuracy (1).",
        ),
        click.option("--trial", "trial_s", default=10.0, show_default=True, help="Seconds a new release is on trial."),
        click.option(
            "--window", "window_hours", type=positive, default=24.0, show_default=True,
            help="Hours that are counted together, where that was agreed to.",
        ),
        click.option(
            "--epsilon", type=positive, default=1.0, show_default=True, help="Privacy that one window may cost."
        ),
        click.option(
            "--privacy-budget", type=positive, default=36.0, show_default=True,
            help="Privacy that thirty days may cost; then no more histograms leave.",
        ),
        click.option(
            "--samples-a-day", type=click.IntRange(min=0), default=32, show_default=True,
            help="Single inputs that may leave in a day, where that was agreed to.",
        ),
        click.option("--observe-on-metered", is_flag=True, help="Let observations leave on a metered network too."),
    ):  # fmt: skip
        command = option(command)
    return command


def settings_of(  # noqa: PLR0913 - one for each option
    *,
    quota_mib: int = 512,
    network: str = "unmetered",
    preference: float = 0.5,
    trial_s: float = 10.0,
    window_hours: float = 24.0,
    epsilon: float = 1.0,
    privacy_budget: float = 36.0,
    samples_a_day: int = 32,
    observe_on_metered: bool = False,
) -> AgentSettings:
    """The settings that the options of `settings_options` say."""
    from tinymlops.edge.settings import AgentSettings, ObservationSettings
    from tinymlops.wire.device_state import Network

    return AgentSettings(
        quota_bytes=quota_mib * _MIB, network=Network(network), preference=preference, trial_s=trial_s,
        observations=ObservationSettings(
            window_s=window_hours * _HOUR_S, epsilon=epsilon, budget=privacy_budget, samples_a_day=samples_a_day,
            metered=observe_on_metered,
        ),
    )  # fmt: skip


def state_folder() -> Path:
    """Where the agent keeps its state, unless it is told otherwise."""
    chosen = os.environ.get(STATE_VARIABLE) or os.environ.get("STATE_DIRECTORY")
    return Path(chosen) if chosen else Path.home() / ".local" / "state" / "tinymlops-agent"


def made_agent(
    state: Path | None, ca: Path | None, settings: AgentSettings, **seams: Any
) -> tuple[Folder, Agent, HttpTransport]:
    """The agent of a folder, not opened yet.

    Raises:
        RefusedError: The folder holds no enrolled device.
    """
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


def running_at(folder: Folder) -> str | None:
    """Where the agent that runs in ``folder`` answers, or None."""
    address = folder.read(LISTEN_FILE) if folder.in_use() else None
    return None if address is None else address.decode()


def said(transition: Any, about: str) -> None:
    """An observer that tells people what is news."""
    from tinymlops.edge.journal import is_news

    if is_news(transition):
        click.echo(f"tinymlops: {transition}: {about}", err=True)
