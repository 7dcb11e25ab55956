"""``tinymlops telemetry bridge``: takes telemetry from an MQTT broker."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--broker", required=True, metavar="URL", help="mqtt://host:1883, or mqtts://host:8883 for TLS.")
@click.option("--username", help="Who the broker takes the bridge for.")
@click.option("--password-file", type=click.Path(path_type=Path), help="Holds the password; readable by nobody else.")
@click.option("--ca", type=click.Path(path_type=Path), help="Certificates to believe instead of the system's, PEM.")
@click.option("--share", default="", metavar="GROUP", help="Several bridges of one group share the messages.")
@click.option("--client-id", default="", help="Another for each bridge.  [default: tinymlops-bridge]")
@click.option("--listen", metavar="ADDRESS", help="Serve /healthz and /metrics there, for example 127.0.0.1:9101.")
@click.option("--telemetry", "telemetry_address", help="Where it goes.  [default: as `tinymlops gateway`]")
@click.option("--database", "database_url", help="Record of the devices.  [default: as `tinymlops gateway`]")
@click.option("--key", type=click.Path(path_type=Path), help="The gateway's key.  [default: as `tinymlops gateway`]")
def bridge(  # noqa: PLR0913, PLR0917 - one for each option
    broker: str,
    username: str | None,
    password_file: Path | None,
    ca: Path | None,
    share: str,
    client_id: str,
    listen: str | None,
    telemetry_address: str | None,
    database_url: str | None,
    key: Path | None,
) -> None:
    """Take what devices publish to an MQTT broker into the inbox, until it is stopped (Ctrl-C or SIGTERM)."""
    from tinymlops.cli.gateway import default_database, default_telemetry, key_path
    from tinymlops.fleet import open_fleet
    from tinymlops.gateway.keys import GatewayKey
    from tinymlops.gateway.observing import configure_logging
    from tinymlops.store import open_store, probe
    from tinymlops.telemetry.carrying import CarriedTelemetry
    from tinymlops.telemetry.inbox import Inbox
    from tinymlops.telemetry.mqtt_bridge import Bridge
    from tinymlops.telemetry.mqtt_figures import BridgeFigures
    from tinymlops.telemetry.mqtt_settings import BrokerSettings, broker_address

    host, port, tls = broker_address(broker)
    login = _login(username, password_file)
    settings = BrokerSettings(host=host, port=port, tls=tls, ca=ca, login=login, share=share, client_id=client_id)
    secret = GatewayKey.load(key or key_path())
    store = open_store(telemetry_address or default_telemetry())
    probe(store)
    configure_logging()
    figures = BridgeFigures()
    with open_fleet(database_url or default_database()) as fleet, _shown(figures, listen):
        carried = CarriedTelemetry(Inbox(store, fleet, time.time), fleet, secret.sign, time.time)
        click.echo(f"Taking telemetry from {host}:{port} (Ctrl-C stops it).")
        Bridge(settings, carried, figures).run(_stopped_by_signals())


def _login(username: str | None, password_file: Path | None) -> Any:
    from tinymlops.errors import UsageError
    from tinymlops.gateway.private_files import private_text
    from tinymlops.telemetry.mqtt_settings import Login

    if username is None and password_file is None:
        return None
    if username is None or password_file is None:
        raise UsageError("a login is a name and a password", "give both --username and --password-file")
    return Login(username, private_text(password_file, "password"))


def _shown(figures: Any, listen: str | None) -> contextlib.AbstractContextManager[object]:
    from tinymlops.cli.gateway import listening_address
    from tinymlops.telemetry.mqtt_figures import showing

    return contextlib.nullcontext() if listen is None else showing(figures, *listening_address(listen))


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
