"""Entry point: the commands, and how an error reaches a person."""

from __future__ import annotations

import errno
import sys
import traceback

import click

from tinymlops import __version__
from tinymlops.cli.agent import agent
from tinymlops.cli.benchmark import benchmark
from tinymlops.cli.build import build
from tinymlops.cli.doctor import doctor
from tinymlops.cli.export import export
from tinymlops.cli.fleet import fleet
from tinymlops.cli.gateway import gateway
from tinymlops.cli.invoice import invoice
from tinymlops.cli.keys import keys
from tinymlops.cli.lists import devices, workloads
from tinymlops.cli.monitor import monitor
from tinymlops.cli.release import release, releases, withdraw
from tinymlops.cli.replay import replay
from tinymlops.cli.retrain import retrain
from tinymlops.cli.rollout import rollout
from tinymlops.cli.serve import serve
from tinymlops.cli.telemetry import telemetry
from tinymlops.cli.ui import ui
from tinymlops.cli.voucher import usage, voucher
from tinymlops.errors import StorageError, TinyMLOpsError

_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, package_name="tinymlops")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Train once, compress into many variants, measure each on every device, select and register the best."""
    del debug  # read by main(), which must know it also when click itself fails


COMMANDS = (
    build,
    benchmark,
    export,
    keys,
    release,
    releases,
    withdraw,
    rollout,
    gateway,
    fleet,
    voucher,
    usage,
    invoice,
    agent,
    telemetry,
    monitor,
    retrain,
    replay,
    workloads,
    devices,
    doctor,
    ui,
    serve,
)
for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors become one sentence and an exit code, never a traceback."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("tinymlops: stopped; run the same command again to go on from here.", err=True)
        sys.exit(_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the edge of the process: a person gets a sentence, --debug the rest
        if "--debug" in sys.argv:
            traceback.print_exc()
        known = _in_our_words(error)
        click.echo(f"tinymlops: {known}", err=True)
        sys.exit(known.exit_code)


def _in_our_words(error: Exception) -> TinyMLOpsError:
    if isinstance(error, TinyMLOpsError):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return StorageError("the disk is full", "free some space and run the same command again")
    text = str(error).strip().split("\n", maxsplit=1)[0] or "no message"
    return TinyMLOpsError(
        f"{type(error).__name__} ({text})", "run it again with `tinymlops --debug …` and report what it prints"
    )
