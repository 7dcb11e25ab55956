"""Prefect as the gateway knows it: two requests. The package prefect would weigh more than all of the gateway."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

from tinymlops.errors import FormatError, RefusedError, UnreachableError
from tinymlops.wire.encoding import decode

USUAL_ADDRESS = "http://127.0.0.1:4200/api"
_TIMEOUT_S = 10.0
_NOT_NOW = frozenset({401, 403, 404, 408, 409, 425, 429})
"""Answers that a person or time can change: wrong credentials, a deployment that is still to be made, a busy server."""


class _Named(msgspec.Struct, frozen=True):
    """A deployment or a run, of which only the name counts."""

    id: str


class PrefectAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where Prefect is.

    Attributes:
        api: Of its API, as ``PREFECT_API_URL``.
        ui: Of its pages, without a slash at the end.
        authorization: The header of that name, or empty.
    """

    api: str = USUAL_ADDRESS
    ui: str = USUAL_ADDRESS.removesuffix("/api")
    authorization: str = ""

    @classmethod
    def from_environment(cls, api: str | None = None) -> Self:
        """As Prefect's own variables say: ``PREFECT_API_URL``, ``PREFECT_UI_URL``, ``PREFECT_API_AUTH_STRING``.

        Args:
            api: Instead of the first one.
        """
        address = (api or os.environ.get("PREFECT_API_URL") or USUAL_ADDRESS).rstrip("/")
        secret, key = os.environ.get("PREFECT_API_AUTH_STRING"), os.environ.get("PREFECT_API_KEY")
        authorization = (
            f"Basic {base64.b64encode(secret.encode()).decode()}" if secret else f"Bearer {key}" if key else ""
        )
        pages = os.environ.get("PREFECT_UI_URL") or address.removesuffix("/api")
        return cls(api=address, ui=pages.rstrip("/"), authorization=authorization)

    def run_page(self, run_id: str) -> str:
        """Page of a run, for people."""
        return f"{self.ui}/runs/flow-run/{run_id}"

    def __repr__(self) -> str:
        return f"PrefectAddress({self.api})"


class PrefectAPI:
    """Starts runs.

    Args:
        address: Where Prefect is.
        transport: Of httpx; for tests.
    """

    def __init__(self, address: PrefectAddress, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.address = address
        headers = {"Authorization": address.authorization} if address.authorization else {}
        self._client = httpx.AsyncClient(
            base_url=address.api, headers=headers, timeout=_TIMEOUT_S, transport=transport, follow_redirects=False
        )

    async def start(self, deployment: str, parameters: Mapping[str, Any], *, key: str, tags: tuple[str, ...]) -> str:
        """Start a run of ``deployment``, and give its id; the same ``key`` again gives the run that was started.

        Args:
            deployment: As ``flow/deployment``.
            parameters: Of the flow.
            key: Prefect keeps it with the flow: no two runs of the flow share one.
            tags: Of the run.

        Raises:
            UnreachableError: Prefect is away, busy, refuses the credentials or does not know the deployment yet.
            RefusedError: It knows the deployment and will never take these parameters.
        """
        flow, _, name = deployment.partition("/")
        found = await self._ask("GET", f"/deployments/name/{quote(flow, safe='')}/{quote(name, safe='')}")
        asked = {"parameters": parameters, "idempotency_key": key, "tags": tags, "state": {"type": "SCHEDULED"}}
        return (await self._ask("POST", f"/deployments/{found.id}/create_flow_run", asked)).id

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def _ask(self, method: str, path: str, content: object = None) -> _Named:
        body = None if content is None else msgspec.json.encode(content)
        try:
            # httpx bounds each step; this bounds them all, so that a lease outlasts an attempt
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await self._client.request(
                    method, path, content=body, headers={"Content-Type": "application/json"}
                )
        except (httpx.HTTPError, TimeoutError) as error:
            raise _away(f"Prefect does not answer ({type(error).__name__})") from error
        status = answer.status_code
        if answer.is_success:
            return _named(answer)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _NOT_NOW:
            what = "does not know the deployment" if status == HTTPStatus.NOT_FOUND else f"answers {status}"
            raise _away(f"Prefect {what}")
        raise RefusedError(f"Prefect answers {status} to {path.rpartition('/')[2]}", "look into Prefect's log")


def _named(answer: httpx.Response) -> _Named:
    try:
        return decode(answer.content, _Named)
    except FormatError as error:
        raise _away("something that is not Prefect answers at its address") from error


def _away(cause: str) -> UnreachableError:
    return UnreachableError(cause, "it is tried again; check PREFECT_API_URL and `tinymlops serve`")
