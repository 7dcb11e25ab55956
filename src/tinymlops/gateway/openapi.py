"""The gateway's description in OpenAPI 3.1, from the very types that the messages are decoded with."""

from __future__ import annotations

from typing import Any

import msgspec

from tinymlops import __version__
from tinymlops.gateway.operator_routes import MOST_DEVICES, DevicePage, RolloutLine, RolloutList
from tinymlops.gateway.services import Wellbeing
from tinymlops.gateway.webhooks import PATH, RetrainRequest, RetrainStatus
from tinymlops.wire.messages import (
    Acknowledgement,
    Enrolment,
    EnrolmentRequest,
    HealthReport,
    Problem,
    SignedBytes,
    TelemetryBatch,
    TimeRequest,
)
from tinymlops.wire.metering import UsageAnswer, UsageReport, VoucherList

_JSON, _PACKED, _BYTES, _TEXT = "application/json", "application/msgpack", "application/octet-stream", "text/plain"
_SIGNED, _OPERATOR, _WEBHOOK = "deviceSignature", "operatorToken", "webhookSignature"
_TYPES = (
    EnrolmentRequest,
    Enrolment,
    HealthReport,
    Acknowledgement,
    TimeRequest,
    SignedBytes,
    TelemetryBatch,
    VoucherList,
    UsageReport,
    UsageAnswer,
    Problem,
    DevicePage,
    RolloutList,
    RolloutLine,
    Wellbeing,
    RetrainRequest,
    RetrainStatus,
)
_BASE64 = {20: "^[A-Za-z0-9+/]{20}$", 24: "^[A-Za-z0-9+/]{22}==$", 44: "^[A-Za-z0-9+/]{43}=$"}
"""Of exactly 15, 16 and 32 bytes."""
_REFUSALS = {
    "400": "The request can't be understood.",
    "401": "The signature, its time or the token does not hold, or the device is not enrolled.",
    "403": "The device was revoked, the code is worthless, or this belongs to another device.",
    "404": "There is nothing like this.",
    "408": "The body came too slowly.",
    "409": "The request was here before.",
    "413": "The body is too large.",
    "416": "No byte of the range exists.",
    "429": "Too many requests.",
    "503": "Database, store or memory is not there now.",
}
_EVERY_DEVICE = ("401", "403", "408", "409", "413", "429", "503")
_ABOUT = """Devices sign every request (HTTP Message Signatures, RFC 9421): `@method`, `@path`, `@query` and
`content-digest`, with `created`, `keyid` (the device id), `nonce`, `alg="ed25519"` and `tag="tinymlops-device-v1"`.
Byte strings are base64. Every error is a `Problem`: one sentence, and what to do next."""


def describe() -> dict[str, Any]:
    """The whole document."""
    schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")[1]
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            _sharpen(name, field)
    return {
        "openapi": "3.1.0",
        "info": {"title": "TinyMLOps gateway", "version": __version__, "description": _ABOUT},
        "paths": {**_device_paths(), **_operator_paths(), **_webhook_paths()},
        "components": {"schemas": schemas, "securitySchemes": _security_schemes()},
    }


def _sharpen(name: str, field: dict[str, Any]) -> None:
    """Say what msgspec checks and does not describe: the version, and what base64 looks like."""
    if name == "v" and field.get("type") == "integer":
        field["const"] = field["default"]
    if field.get("contentEncoding") == "base64":
        field["pattern"] = _BASE64.get(field.get("minLength", 0), "^[A-Za-z0-9+/]*={0,2}$")


def _device_paths() -> dict[str, Any]:
    fixed = "Everything but `timestamp.json` never changes."
    return {
        "/v1/enrol": {
            "post": _operation(
                "Be let in with an enrolment code; signed by the key that the request carries",
                takes=EnrolmentRequest,
                gives=Enrolment,
            )
        },
        "/v1/health": {"post": _operation("Report health", takes=HealthReport, gives=Acknowledgement)},
        "/v1/time": {"post": _operation("Ask for the time, signed", takes=TimeRequest, gives=SignedBytes)},
        "/v1/telemetry": {
            "post": _operation("Hand in records", takes=TelemetryBatch, gives=Acknowledgement, media=_PACKED)
        },
        "/v1/vouchers": {"get": _operation("Fetch the device's vouchers, signed (COSE)", gives=VoucherList)},
        "/v1/usage": {
            "post": _operation(
                "Report metered use: a signed checkpoint (COSE) and its records",
                takes=UsageReport,
                gives=UsageAnswer,
                media=_PACKED,
            )
        },
        "/v1/metadata/{name}": {
            "get": _operation(
                f"Read metadata of the signed repository. {fixed}",
                parameters=[
                    _path("name", r"^(timestamp|[1-9][0-9]*\.[A-Za-z0-9_-]+)\.json$"),
                    _header("If-None-Match"),
                ],
                gives=_JSON,
                others={"304": "It is still the same."},
                refusals=("404",),
            )
        },
        "/v1/targets/{path}": {
            "get": _operation(
                "Read a package, a manifest or the device's own assignment, by its name with its digest",
                parameters=[_path("path", r"^(releases|devices)/.+$"), _header("Range")],
                gives=_BYTES,
                others={"206": "The bytes that were asked for.", "307": "The store itself has it at this address."},
                refusals=("404", "416"),
            )
        },
    }


def _operator_paths() -> dict[str, Any]:
    words = {"type": "array", "items": {"type": "string"}, "maxItems": 64}
    limit = {"type": "integer", "minimum": 1, "maximum": MOST_DEVICES, "default": 100}
    choice: list[dict[str, Any]] = [
        *({"name": name, "in": "query", "schema": words, "explode": True} for name in ("profile", "tag", "region")),
        {"name": "after", "in": "query", "schema": {"type": "string", "maxLength": 64}},
        {"name": "limit", "in": "query", "schema": limit},
    ]
    return {
        "/v1/devices": {"get": _asked("List devices", DevicePage, ("400",), choice)},
        "/v1/rollouts": {"get": _asked("List roll-outs", RolloutList)},
        "/v1/rollouts/{rollout_id}": {
            "get": _asked("Look at a roll-out", RolloutLine, ("404",), [_path("rollout_id", "^.+$")])
        },
        "/metrics": {"get": _asked("Figures for Prometheus", _TEXT)},
        "/healthz": {
            "get": {
                "summary": "Whether database and store answer",
                "security": [],
                "responses": {"200": _content("All is well.", _JSON, Wellbeing), **_problems(("503",))},
            }
        },
    }


def _webhook_paths() -> dict[str, Any]:
    signature = [_header(name, required=True) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")]
    refusals = _problems(("400", "401", "404", "408", "413", "429", "503"))
    kept = _content("Kept; the run has begun, or will.", _JSON, RetrainStatus)
    asked = {
        "summary": "Ask for a retraining; again under the same id for the same answer",
        "security": [{_WEBHOOK: []}],
        "parameters": signature,
        "requestBody": {"required": True, "content": {_JSON: {"schema": _ref(RetrainRequest)}}},
        "responses": {"202": kept, **refusals, **_problems(("409",))},
    }
    told = {
        "summary": "Where a webhook stands; signed under its id, with an empty body",
        "security": [{_WEBHOOK: []}],
        "parameters": [_path("webhook_id", "^[A-Za-z0-9_-]{1,64}$"), *signature],
        "responses": {"200": _content("As it is now.", _JSON, RetrainStatus), **refusals},
    }
    return {PATH: {"post": asked}, PATH + "/{webhook_id}": {"get": told}}


def _operation(  # noqa: PLR0913 - what an operation is made of
    summary: str,
    *,
    gives: type[msgspec.Struct] | str,
    takes: type[msgspec.Struct] | None = None,
    media: str = _JSON,
    parameters: list[dict[str, Any]] | None = None,
    others: dict[str, str] | None = None,
    refusals: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A device's operation."""
    given = _content("Done.", gives, None) if isinstance(gives, str) else _content("Done.", _JSON, gives)
    binary = {code: {"description": words} for code, words in (others or {}).items()}
    if "206" in binary:
        binary["206"] = _content(binary["206"]["description"], _BYTES, None)
    operation: dict[str, Any] = {
        "summary": summary,
        "security": [{_SIGNED: []}],
        "parameters": parameters or [],
        "responses": {"200": given, **binary, **_problems(("400", *_EVERY_DEVICE, *refusals))},
    }
    if takes is not None:
        operation["requestBody"] = {"required": True, "content": {media: {"schema": _ref(takes)}}}
    return operation


def _asked(
    summary: str,
    gives: type[msgspec.Struct] | str,
    refusals: tuple[str, ...] = (),
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """An operator's operation."""
    given = _content("Done.", gives, None) if isinstance(gives, str) else _content("Done.", _JSON, gives)
    return {
        "summary": summary,
        "security": [{_OPERATOR: []}],
        "parameters": parameters or [],
        "responses": {"200": given, **_problems(("401", "503", *refusals))},
    }


def _content(words: str, media: str, kind: type[msgspec.Struct] | None) -> dict[str, Any]:
    return {"description": words, "content": {media: {"schema": {} if kind is None else _ref(kind)}}}


def _problems(codes: tuple[str, ...]) -> dict[str, Any]:
    return {code: _content(_REFUSALS[code], _JSON, Problem) for code in sorted(set(codes))}


def _ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _path(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": pattern}}


def _header(name: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "schema": {"type": "string"}}


def _security_schemes() -> dict[str, Any]:
    signature = {
        "type": "apiKey",
        "in": "header",
        "name": "Signature",
        "description": "With Signature-Input; RFC 9421.",
    }
    webhook = {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "With webhook-id and webhook-timestamp; Standard Webhooks 1.0, symmetric.",
    }
    return {_SIGNED: signature, _OPERATOR: {"type": "http", "scheme": "bearer"}, _WEBHOOK: webhook}
