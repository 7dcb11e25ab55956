"""``tinymlops gateway``: what devices talk to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

KEY_VARIABLE = "TINYMLOPS_GATEWAY_KEY"
SECRETS_VARIABLE = "TINYMLOPS_WEBHOOK_SECRETS_FILE"
_MONTH_S = 31 * 86_400
_POLL = "Seconds between a device's questions."


class _RunByDefault(click.Group):
    """Lets `tinymlops gateway --listen …` mean `tinymlops gateway run --listen …`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RunByDefault)
def gateway() -> None:
    """Serve devices: let them in, give releases out, take health and telemetry; `run` unless another is named."""


def _key_option(command: Any) -> Any:
    words = f"The gateway's private key.  [default: {KEY_VARIABLE}, else gateway.pem in the state folder]"
    return click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help=words)(command)


@gateway.command()
@_key_option
def init(key: Path | None) -> None:
    """Make the gateway's key. Enrolment codes name it, so keep it, and keep a copy of it."""
    from tinymlops.gateway.keys import GatewayKey

    path = key or key_path()
    GatewayKey.create(path)
    click.echo(f"{path}: the gateway's private key. Keep a copy where the gateway's disk can't take it down.")
    click.echo(f"{path.with_suffix('.pub')}: its public half, which `tinymlops fleet code` needs.")


@gateway.command()
@click.option(
    "--store", "store_address", help="Where the repository is.  [default: TINYMLOPS_STORE, else as `release`]"
)
@click.option(
    "--telemetry",
    "telemetry_address",
    help="Where telemetry goes, never to be served.  [default: TINYMLOPS_TELEMETRY, else in the state folder]",
)
@click.option("--database", "database_url", help="Record of the devices.  [default: TINYMLOPS_DATABASE, else SQLite]")
@click.option("--listen", default="127.0.0.1:8700", show_default=True, help="Address and port.")
@_key_option
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True), help="Certificate chain in PEM, for HTTPS.")
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True), help="Its key.")
@click.option("--trusted-proxy", "proxies", multiple=True, help="Whose X-Forwarded-For is believed; may be repeated.")
@click.option("--operator-token-file", type=click.Path(path_type=Path), help="Opens /fleet, /v1/devices, /metrics …")
@click.option("--poll", "poll_s", type=click.FloatRange(0, _MONTH_S), default=3600.0, show_default=True, help=_POLL)
@click.option("--device-rate", default="600/minute", show_default=True, help="Most requests of one device.")
@click.option("--address-rate", default="30000/minute", show_default=True, help="Most requests from one IP address.")
@click.option("--enrolment-rate", default="60/minute", show_default=True, help="Most enrolments from one IP address.")
@click.option("--webhook-rate", default="300/minute", show_default=True, help="Most webhooks from one IP address.")
@click.option("--rate-storage", help="Where several gateways share those counts, for example redis://host:6379.")
@click.option(
    "--webhook-secrets",
    type=click.Path(path_type=Path),
    help=f"Opens /webhooks/retrain.  [default: {SECRETS_VARIABLE}, else shut]",
)
@click.option(
    "--webhook-workload",
    "webhook_workloads",
    multiple=True,
    help="That a webhook may ask for; may be repeated.  [default: TINYMLOPS_WORKLOADS, else activity]",
)
@click.option("--prefect-api", help="Where webhooks start runs.  [default: PREFECT_API_URL, else port 4200 here]")
@click.option("--redirect", "redirects", is_flag=True, help="Let devices fetch packages from S3 by signed URLs.")
def run(  # noqa: PLR0913, PLR0917 - one for each option
    store_address: str | None,
    telemetry_address: str | None,
    database_url: str | None,
    listen: str,
    key: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    proxies: tuple[str, ...],
    operator_token_file: Path | None,
    poll_s: float,
    webhook_secrets: Path | None,
    webhook_workloads: tuple[str, ...],
    prefect_api: str | None,
    redirects: bool,
    **rates: str | None,
) -> None:
    """Answer devices until it is stopped (Ctrl-C or SIGTERM)."""
    from tinymlops.fleet import open_fleet
    from tinymlops.gateway import GatewaySettings, Listening, create_app, serve
    from tinymlops.gateway.observing import configure_logging
    from tinymlops.gateway.settings import operator_token
    from tinymlops.store import open_store, probe

    host, port = listening_address(listen)
    listening = Listening(host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, trusted_proxies=proxies)
    settings = GatewaySettings(
        operator_token_sha256=operator_token(operator_token_file),
        poll_s=poll_s,
        redirects=redirects,
        rates=_rates(rates),
        webhooks=_webhooks(webhook_secrets, webhook_workloads, prefect_api),
        tables=telemetry_address or default_telemetry(),
    )
    secret = _key(key)
    store = open_store(store_address or default_store())
    telemetry = open_store(telemetry_address or default_telemetry())
    for each in (store, telemetry):
        probe(each)
    configure_logging()
    with open_fleet(database_url or default_database()) as fleet:
        app = create_app(settings, fleet, store, secret, telemetry=telemetry)
        click.echo(f"The gateway answers at {listening.url} (Ctrl-C stops it).")
        serve(app, listening)


def key_path() -> Path:
    """Where the gateway's key is unless somebody says otherwise."""
    from tinymlops.project import state_folder

    return Path(os.environ.get(KEY_VARIABLE) or state_folder() / "gateway.pem")


def default_store() -> str:
    """Where the repository is, by the environment or the state folder."""
    from tinymlops.premises import Premises

    return os.environ.get("TINYMLOPS_STORE") or Premises.from_environment().store


def default_telemetry() -> str:
    """Where telemetry goes, by the environment or the state folder."""
    from tinymlops.premises import Premises

    return os.environ.get("TINYMLOPS_TELEMETRY") or Premises.from_environment().telemetry


def default_database() -> str:
    """Where the record of the devices is, by the environment or the state folder."""
    from tinymlops.fleet import database_address

    return database_address()


def _key(path: Path | None) -> Any:
    """The key; made at the first start where nobody has chosen a place for it."""
    from tinymlops.gateway.keys import GatewayKey

    chosen = path or key_path()
    if path is None and KEY_VARIABLE not in os.environ and not chosen.exists():
        key = GatewayKey.create(chosen)
        click.echo(f"A key for this gateway was made: {chosen}")
        return key
    return GatewayKey.load(chosen)


def _rates(given: dict[str, str | None]) -> Any:
    from tinymlops.gateway import RateLimits

    return RateLimits(
        address=given["address_rate"] or "",
        device=given["device_rate"] or "",
        enrolment=given["enrolment_rate"] or "",
        webhook=given["webhook_rate"] or "",
        storage=given["rate_storage"],
    )


def _webhooks(file: Path | None, workloads: tuple[str, ...], prefect_api: str | None) -> Any:
    from tinymlops.gateway.prefect_api import PrefectAddress
    from tinymlops.gateway.settings import WebhookSettings
    from tinymlops.gateway.webhook_signatures import read_secrets
    from tinymlops.project import kept_workloads

    named = os.environ.get(SECRETS_VARIABLE)
    file = file or (Path(named) if named else None)
    if file is None:
        return None
    return WebhookSettings(
        secrets=read_secrets(file),
        workloads=workloads or kept_workloads(),
        prefect=PrefectAddress.from_environment(prefect_api),
    )


def listening_address(text: str) -> tuple[str, int]:
    """Host and port of ``text``.

    Raises:
        UsageError: It is no such address.
    """
    from tinymlops.errors import UsageError

    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is no address to listen on", "write it like 127.0.0.1:8700 or [::]:8700")
    return host, int(port)
