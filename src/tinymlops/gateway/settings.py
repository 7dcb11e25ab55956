"""What can be set about a gateway; read once, when it starts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from tinymlops.errors import UsageError
from tinymlops.gateway.prefect_api import PrefectAddress
from tinymlops.gateway.private_files import private_text
from tinymlops.gateway.webhook_signatures import Secret

_SHORTEST_TOKEN = 16
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "TINYMLOPS_OPERATOR_TOKEN", "TINYMLOPS_OPERATOR_TOKEN_FILE"


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How often is too often, as ``"<number>/<second, minute, hour or day>"``.

    Attributes:
        address: Requests from one IP address (one /64 of IPv6) before anything is looked at. Wide, since a whole site
            may share an address.
        device: Requests of one device, once its signature holds: nobody else can use them up.
        enrolment: Enrolments tried from one IP address.
        webhook: Webhooks from one IP address, before anything is looked at.
        login: Logins tried from one IP address.
        storage: Where the counts are kept, as an address of the package ``limits`` (``redis://…``), so that several
            gateways share them; None for the memory of this process.
    """

    address: str = "30000/minute"
    device: str = "600/minute"
    enrolment: str = "60/minute"
    webhook: str = "300/minute"
    login: str = "10/minute"
    storage: str | None = None


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may ask for a retraining by webhook, and what becomes of it.

    Attributes:
        secrets: Known to the senders; each of them counts.
        workloads: Those that may be asked for.
        prefect: Where the runs are started.
        deployment: Of Prefect, as ``flow/deployment``.
        body_bytes: Largest body.
        answer_s: How long an answer waits for the run's beginning, in seconds.
    """

    secrets: tuple[Secret, ...]
    workloads: tuple[str, ...]
    prefect: PrefectAddress = PrefectAddress()
    deployment: str = "retrain/retrain"
    body_bytes: int = 16 * 1024
    answer_s: float = 3.0


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a gateway behaves.

    Attributes:
        operator_token_sha256: Digest of the bearer token for the operator's routes, hexadecimal; None shuts them.
        poll_s: How often devices shall ask for news, in seconds.
        rates: How often is too often; None for no limit, as with a simulated clock.
        small_body_bytes: Largest body of any route but telemetry.
        telemetry_body_bytes: Largest body of telemetry.
        bodies_bytes: Bodies held in memory at once, all requests together; more are told to come back.
        body_timeout_s: How long a body may take to arrive, in seconds.
        timestamp_ttl_s: How long the newest timestamp is believed without looking, in seconds; 0 to look always.
        most_in_a_commit: Requests that share a transaction at most.
        segment_bytes: Telemetry that is written as one object at most.
        inbox_bytes: Telemetry that waits to be written at most; more is told to come back.
        cache_bytes: Metadata and packages held in memory.
        redirects: Whether packages are fetched from the store itself, by a signed URL, where it can make one.
        redirect_s: How long such a URL lasts, in seconds.
        webhooks: Opens ``/webhooks/retrain``; None shuts it.
        tables: Address of the tables of telemetry, for the summary of consents on ``/fleet``; None to leave it out.
    """

    operator_token_sha256: str | None = None
    poll_s: float = 3600.0
    rates: RateLimits | None = RateLimits()
    small_body_bytes: int = 128 * 1024
    telemetry_body_bytes: int = 1024 * 1024
    bodies_bytes: int = 64 * 1024 * 1024
    body_timeout_s: float = 20.0
    timestamp_ttl_s: float = 1.0
    most_in_a_commit: int = 500
    segment_bytes: int = 4 * 1024 * 1024
    inbox_bytes: int = 16 * 1024 * 1024
    cache_bytes: int = 64 * 1024 * 1024
    redirects: bool = False
    redirect_s: int = 600
    webhooks: WebhookSettings | None = None
    tables: str | None = None


def operator_token(file: Path | None = None) -> str | None:
    """Digest of the operator's token, for `GatewaySettings`; the token itself is not kept.

    Args:
        file: Holds it, else the file named by ``TINYMLOPS_OPERATOR_TOKEN_FILE``, else the token is the variable
            ``TINYMLOPS_OPERATOR_TOKEN``, else there is none.

    Raises:
        UsageError: The file can't be read or others may read it, or the token is too short.
    """
    named = os.environ.get(TOKEN_FILE_VARIABLE)
    file = file or (Path(named) if named else None)
    token = os.environ.get(TOKEN_VARIABLE) if file is None else private_text(file, "token")
    if not token:
        return None
    if len(token) < _SHORTEST_TOKEN:
        raise UsageError(
            f"the operator's token has fewer than {_SHORTEST_TOKEN} characters",
            "make one with `openssl rand -base64 32`",
        )
    return token_digest(token)


def token_digest(token: str) -> str:
    """What is kept of a token, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()
