"""The examples of docs/protocol.md, made from the samples by the code that the product runs."""

from __future__ import annotations

import base64
import hashlib
import json
import textwrap

from tests.unit.wire import golden
from tests.unit.wire.samples import (
    CODE,
    CONTENT_KEY,
    FIRST,
    GATEWAY_KEY,
    HEADER,
    KEY_ID,
    KEYS,
    NOW_S,
    RECORD,
    REQUEST,
    ROOT,
    SENT_AS_JSON,
    SENT_PACKED,
    SENT_SIGNED,
    SIGNED_TIME,
    VOUCHER,
    name_of,
)
from tinymlops.wire.cose import encode_cbor, to_be_signed
from tinymlops.wire.encoding import encode, encode_packed
from tinymlops.wire.enrolment_code import secret_digest
from tinymlops.wire.messages import Problem

PROBLEM = Problem(
    "the request is dated more than 300 seconds from the gateway's time", "ask /v1/time, and sign again", float(NOW_S)
)
NONCE = base64.urlsafe_b64encode(bytes(range(16))).rstrip(b"=").decode()


def pretty(content: bytes) -> str:
    """JSON for people: the same keys, values and order."""
    return json.dumps(json.loads(content), indent=2, ensure_ascii=False)


def hexadecimal(content: bytes) -> str:
    """32 bytes a line."""
    return "\n".join(textwrap.wrap(content.hex(), 64))


def signature_base() -> str:
    """The text that is signed, written down once more from RFC 9421 §2.5 and the profile in the page."""
    digest = base64.b64encode(hashlib.sha256(REQUEST.body).digest()).decode()
    parameters = (
        '("@method" "@path" "@query" "content-digest")'
        f';created={NOW_S};keyid="{KEYS.device_id}";alg="ed25519";nonce="{NONCE}";tag="tinymlops-device-v1"'
    )
    return "\n".join(
        (
            '"@method": POST',
            '"@path": /v1/health',
            '"@query": ?retry=1',
            f'"content-digest": sha-256=:{digest}:',
            f'"@signature-params": {parameters}',
        )
    )


def signed_headers() -> dict[str, str]:
    """The headers of that request."""
    lines = dict(line.split(": ", 1) for line in signature_base().splitlines())
    signature = base64.b64encode(KEYS.sign(signature_base().encode())).decode()
    return {
        "content-digest": lines['"content-digest"'],
        "signature-input": "sig1=" + lines['"@signature-params"'],
        "signature": f"sig1=:{signature}:",
    }


def examples() -> dict[str, str]:
    """Name → text, of all examples in the page."""
    headers = "\n".join(f"{name}: {value}" for name, value in signed_headers().items())
    request = f"POST {REQUEST.target} HTTP/1.1\n{headers}\n\n{REQUEST.body.decode()}"
    return {
        "key file": hexadecimal(KEYS.to_bytes()),
        "public keys": f"signing  {KEYS.public.signing.hex()}\nsealing  {KEYS.public.sealing.hex()}",
        "device id": KEYS.device_id,
        "signature base": signature_base(),
        "signed request": request,
        "enrolment code": str(CODE),
        "enrolment digests": f"secret  {secret_digest(CODE.secret)}\nanchor  {CODE.anchor.hex()}",
        "enrolment root": f"root         {ROOT.decode()}\ngateway key  {GATEWAY_KEY.hex()}",
        **{name_of(value): pretty(encode(value)) for value in SENT_AS_JSON},
        **{name_of(value): hexadecimal(encode_packed(value)) for value in SENT_PACKED},
        "record of use": RECORD.hex(),
        "head of the voucher": FIRST.head.hex(),
        "Sig_structure of the voucher": hexadecimal(to_be_signed(encode_cbor(VOUCHER), "voucher")),
        **{f"{kind}, signed": hexadecimal(message) for _, kind, message in SENT_SIGNED},
        "PackageHeader, as JSON": pretty(encode(HEADER)),
        "SignedBytes": pretty(encode(SIGNED_TIME)),
        "Problem": pretty(encode(PROBLEM)),
        "info": f"tinymlops/content-key/v1|{KEYS.device_id}|{KEY_ID}",
        "content key": CONTENT_KEY.hex(),
        "wrapped key": hexadecimal(golden.WRAPPED_KEY),
        "package, ChaCha20-Poly1305": hexadecimal(golden.PACKAGE_CHACHA20),
        "package, AES-256-GCM": hexadecimal(golden.PACKAGE_AES),
    }
