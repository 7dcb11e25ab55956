"""The gateway as an ASGI app: parts put together, errors put into words."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tinymlops import __version__
from tinymlops.errors import TinyMLOpsError
from tinymlops.fleet import Fleet
from tinymlops.gateway.device_routes import busy_routes, device_routes
from tinymlops.gateway.keys import GatewayKey
from tinymlops.gateway.observing import Observed
from tinymlops.gateway.openapi import describe
from tinymlops.gateway.operator_routes import operator_routes
from tinymlops.gateway.pages.routes import page_routes
from tinymlops.gateway.problems import Refusal, answer, refusal_of
from tinymlops.gateway.services import Gateway
from tinymlops.gateway.settings import GatewaySettings
from tinymlops.gateway.webhooks import webhook_routes
from tinymlops.store import ObjectStore
from tinymlops.wire.messages import Problem

_OWN_FIGURES: Any = {"tracing": False, "metrics": False, "logs": False}
"""`Observed` does that; FastAPI would look for an OpenTelemetry exporter at each request."""


def create_app(
    settings: GatewaySettings,
    fleet: Fleet,
    store: ObjectStore,
    key: GatewayKey,
    *,
    clock: Callable[[], float] = time.time,
    telemetry: ObjectStore | None = None,
) -> FastAPI:
    """The gateway. It needs no server and no lifespan events: any caller of ASGI will do, one event loop at a time.

    Args:
        settings: How it behaves. With a simulated clock, leave the rate limits out and set ``timestamp_ttl_s`` to 0.
        fleet: Record of the devices; stays the caller's to close.
        store: Holds the repository.
        key: Signs the time; enrolment codes name it.
        clock: Seconds since 1970.
        telemetry: Takes telemetry; ``store`` unless given.

    Returns:
        The app; its ``state.gateway`` is the `Gateway`, whose ``close`` a caller without lifespan events may await.

    Raises:
        UsageError: A rate limit is written in a way that is not known.
    """
    gateway = Gateway(settings, fleet, store, key, clock, telemetry or store)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if gateway.dispatcher is not None:
            gateway.dispatcher.start()  # goes on with what the last gateway left
        yield
        await gateway.close()

    app = FastAPI(
        title="TinyMLOps gateway",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=_OWN_FIGURES,
    )
    app.state.gateway = gateway
    app.router.routes.extend(busy_routes(gateway))
    app.include_router(device_routes(gateway))
    app.include_router(operator_routes(gateway))
    app.include_router(webhook_routes(gateway))
    app.include_router(page_routes(gateway, telemetry or store))
    _put_errors_into_words(app, gateway)
    app.add_middleware(Observed, metrics=gateway.metrics)
    description = describe()
    app.openapi = lambda: description  # type: ignore[method-assign]
    return app


def _put_errors_into_words(app: FastAPI, gateway: Gateway) -> None:
    async def refused(request: Request, error: Any) -> Response:
        refusal = error if isinstance(error, Refusal) else _refusal_of(error)
        if isinstance(error, TinyMLOpsError) and refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            structlog.get_logger("tinymlops.gateway").error("storage", cause=str(error))
        request.state.reason = refusal.reason
        gateway.metrics.refused(refusal.reason)
        return answer(refusal)

    for kind in (Refusal, TinyMLOpsError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, refused)


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, TinyMLOpsError):
        return refusal_of(error)
    if isinstance(error, RequestValidationError):
        places = sorted({".".join(str(part) for part in one["loc"]) for one in error.errors()})
        return Refusal(400, "malformed", Problem(f"{', '.join(places)[:200]} can't be understood", "see /openapi.json"))
    if isinstance(error, HTTPException):
        words = HTTPStatus(error.status_code).phrase.lower()
        return Refusal(error.status_code, words, Problem(words, "see /openapi.json"), error.headers)
    raise error
