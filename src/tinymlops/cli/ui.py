"""``tinymlops ui``: open the Prefect or MLflow pages on what happened here."""

from __future__ import annotations

import os
import sys

import click


@click.command()
@click.argument("which", type=click.Choice(["prefect", "mlflow"]))
@click.option("--port", type=click.IntRange(1, 65535), help="Port on this machine.  [default: 4200 or 5000]")
def ui(which: str, port: int | None) -> None:
    """Serve the pages of the embedded Prefect or MLflow on 127.0.0.1 until you press Ctrl-C."""
    from tinymlops.cli.environment import use_embedded_defaults
    from tinymlops.registry import RegistrySettings

    use_embedded_defaults(quiet=False)
    if which == "prefect":
        port = port or 4200
        os.environ["PREFECT_SERVER_UI_API_URL"] = f"http://127.0.0.1:{port}/api"
        arguments = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    else:
        port = port or 5000
        os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
        uri = RegistrySettings.from_environment().tracking_uri
        arguments = ["mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    click.echo(f"http://127.0.0.1:{port}")
    os.execv(sys.executable, [sys.executable, "-m", *arguments])  # noqa: S606 - becomes the server; no shell wanted
