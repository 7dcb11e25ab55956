"""Anything at all, at every route: answers are what the description says, and never a failure of the gateway.

The requests come from the OpenAPI description (schemathesis) and are signed by an enrolled device, so that they reach
what lies behind the signature; others are not signed, or signed wrongly.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.unit.gateway.rig import TOKEN, FakeDevice, Rig, problem
from tinymlops.errors import UsageError

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 15
OURS = {"signature", "signature-input", "content-digest", "authorization", "content-length", "host"}
METHOD_OR_PATH = {404, 405}


@schemathesis.serializer("application/msgpack")
def packed(_: Any, value: Any) -> bytes:
    """MessagePack of what was made up; what MessagePack can't hold goes as JSON."""
    try:
        return value if isinstance(value, bytes) else msgspec.msgpack.encode(with_bytes(value))
    except OverflowError:
        return json.dumps(value).encode()


def with_bytes(value: Any) -> Any:
    """A batch whose contents are bytes, where the description can only say base64."""
    records = value.get("records") if isinstance(value, dict) else None
    if not isinstance(records, list):
        return value
    mended = [
        [*one[:2], one[2].encode(errors="replace"), *one[3:]]
        if isinstance(one, list) and len(one) > 2 and isinstance(one[2], str)
        else one
        for one in records
    ]
    return {**value, "records": mended}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("fuzz"))
    rig.store.put("metadata/timestamp.json", b"{}")
    rig.fleet.save_rollout("r", b"{}", expected=None, now_s=1.0)
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def device(rig: Rig) -> FakeDevice:
    return rig.device()


def operations(rig: Rig) -> list[Any]:
    schema = schemathesis.openapi.from_dict(rig.app.openapi())
    found = list(schema.get_all_operations())
    assert all(isinstance(one, Ok) for one in found)
    return [one.ok() for one in found if isinstance(one, Ok)]


def raw(headers: Mapping[str, str | bytes]) -> list[tuple[bytes, bytes]]:
    """Header fields as bytes, which may be anything that HTTP lets through."""
    return [
        (name.encode(), value.strip().encode("latin-1") if isinstance(value, str) else value)
        for name, value in headers.items()
    ]


def send(rig: Rig, device: FakeDevice, case: Any) -> httpx.Response:
    """A case over the wire, signed or with the operator's token as its route wants."""
    sent = requests.Request(**case.as_transport_kwargs(base_url="http://gateway")).prepare()
    body = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
    target = sent.path_url
    headers = {name: value for name, value in sent.headers.items() if name.lower() not in OURS}
    with contextlib.suppress(UsageError):  # what can't be signed goes unsigned
        headers |= device.signed(str(sent.method), target, body)
    headers["Authorization"] = f"Bearer {TOKEN}"
    request = httpx.Request(
        str(sent.method),
        httpx.URL("http://gateway", raw_path=target.encode()),
        content=body,
        headers=raw(headers),
    )
    return rig.loop.run_until_complete(rig.client.send(request))


def try_out(
    rig: Rig, device: FakeDevice, operation: Any, mode: GenerationMode, statuses: Counter[tuple[str, int]]
) -> None:
    @settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        answer = send(rig, device, case)
        statuses[operation.label, answer.status_code] += 1
        if answer.status_code in METHOD_OR_PATH:  # another method or path than the description's
            problem(answer)
            return
        case.validate_response(answer, checks=CHECKS)

    answered()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_that_the_description_leads_to_makes_the_gateway_fail(
    rig: Rig, device: FakeDevice, mode: GenerationMode
) -> None:
    statuses: Counter[tuple[str, int]] = Counter()
    for operation in operations(rig):
        # nothing that could be wrong about a request, or a path of several parts: the test of paths has those
        with contextlib.suppress(Unsatisfiable):
            try_out(rig, device, operation, mode, statuses)
    reached = {label for label, _ in statuses}
    assert len(reached) >= (10 if mode == GenerationMode.POSITIVE else 8), statuses
    assert not {status for _, status in statuses if status >= 500}
    # what lies behind the signature was reached, and what is well formed was taken
    if mode == GenerationMode.POSITIVE:
        assert statuses["POST /v1/health", 200] > 0, statuses
        assert statuses["POST /v1/time", 200] > 0, statuses


@settings(max_examples=300)
@given(
    route=st.sampled_from(["enrol", "health", "time", "telemetry"]),
    body=st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    ).map(msgspec.msgpack.encode)
    | st.from_regex(r'\{"v":1,("[a-z_]{1,9}":[0-9\[\]{}"a-z.-]{0,9},?){0,5}\}', fullmatch=True).map(str.encode),
)
def test_any_signed_body_is_answered_with_a_sentence(rig: Rig, device: FakeDevice, route: str, body: bytes) -> None:
    answer = device.ask("POST", f"/v1/{route}", body)
    assert answer.status_code in {200, 400, 401}
    if answer.status_code != 200:
        problem(answer)


@settings(max_examples=300)
@given(
    headers=st.dictionaries(
        st.sampled_from(["Signature", "Signature-Input", "Content-Digest", "Range", "If-None-Match", "Authorization"]),
        st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=200),
    ),
    signed=st.booleans(),
    target=st.sampled_from(["/v1/health", "/v1/metadata/timestamp.json", "/v1/metadata/1.root.json", "/v1/devices"]),
)
def test_any_headers_are_answered_with_a_sentence(
    rig: Rig, device: FakeDevice, headers: dict[str, str], signed: bool, target: str
) -> None:
    own = device.signed("GET", target) if signed else {}
    request = rig.client.build_request("GET", target, headers=raw({**own, **headers}))
    answer = rig.loop.run_until_complete(rig.client.send(request))
    assert answer.status_code < 500
    if answer.status_code not in {200, 304}:
        problem(answer)


@settings(max_examples=300)
@given(st.text(max_size=80) | st.from_regex(r"/v1/(targets|metadata)/[a-z0-9./%\\-]{0,60}", fullmatch=True))
def test_any_path_is_answered_with_a_sentence(rig: Rig, device: FakeDevice, path: str) -> None:
    target = "/" + quote(path.lstrip("/"), safe="/%.\\-")
    request = httpx.Request("GET", httpx.URL("http://gateway", raw_path=target.encode()))
    with contextlib.suppress(UsageError):
        request.headers.update(device.signed("GET", target))
    answer = rig.loop.run_until_complete(rig.client.send(request))
    assert answer.status_code in {200, 400, 401, 403, 404, 405}
    if answer.status_code != 200:
        problem(answer)
