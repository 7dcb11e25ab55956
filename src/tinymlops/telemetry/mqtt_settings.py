"""Where a broker is, and how the bridge meets it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tinymlops.errors import SetupError, UsageError
from tinymlops.wire.carried import MOST_BODY_BYTES, TOLD

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_DAY_S = 86_400


class Login(msgspec.Struct, frozen=True):
    """Who the broker takes the bridge for.

    Attributes:
        name: Of the user.
        password: Never shown.
    """

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Login(name={self.name!r}, password=…)"


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A broker that speaks MQTT 5, and how much of it at once.

    Attributes:
        host: Its name.
        port: Its port.
        login: None for nobody.
        tls: Whether the connection is encrypted, and the broker's certificate checked.
        ca: Certificates that are believed instead of the system's, PEM.
        share: Name of a group of bridges of which each message reaches one; empty for a bridge alone.
        client_id: The broker keeps messages for the client of this name; no two bridges may have the same.
        most_waiting: Messages that are received and not durable, at most.
        most_bytes: Of a message; the broker drops larger ones.
        session_s: How long the broker keeps messages for a bridge that is gone, in seconds.
    """

    host: str
    port: int
    login: Login | None = None
    tls: bool = False
    ca: Path | None = None
    share: str = ""
    client_id: str = ""
    most_waiting: int = 64
    most_bytes: int = MOST_BODY_BYTES + 4096
    session_s: int = 7 * _DAY_S

    @property
    def name(self) -> str:
        """The client's name; bridges that share have their machine's in it."""
        return self.client_id or (f"tinymlops-bridge-{socket.gethostname()}" if self.share else "tinymlops-bridge")

    @property
    def filter(self) -> str:
        """Of topics."""
        return f"$share/{self.share}/{TOLD}/+" if self.share else f"{TOLD}/+"

    def ssl_context(self) -> ssl.SSLContext:
        """For TLS 1.2 or newer, with the certificate checked against ``host``.

        Raises:
            SetupError: ``ca`` holds no certificates.
        """
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except (OSError, ssl.SSLError) as error:
            raise SetupError(f"{self.ca} holds no certificates ({error})", "give PEM to --ca") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def broker_address(text: str) -> tuple[str, int, bool]:
    """Host, port, and whether to use TLS, of ``mqtt://host:port`` or ``mqtts://host:port``.

    Raises:
        UsageError: It is no such address.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in _PORTS or parts.username or parts.path.strip("/") or parts.query:
        raise UsageError(f"{text!r} is no address of a broker", "write it like mqtt://host:1883 or mqtts://host:8883")
    return host, port or _PORTS[parts.scheme], parts.scheme == "mqtts"
