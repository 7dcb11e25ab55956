"""One value of everything that is kept or sent, always the same, from keys that are no secret."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from backports import zstd
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.wire import golden
from tinymlops.wire.assignment import Assignment, Offer, PackageOffer, VariantOffer
from tinymlops.wire.carried import CarriedRequest, TelemetryKept
from tinymlops.wire.cose import signed
from tinymlops.wire.device_state import VariantCost
from tinymlops.wire.encoding import Versioned, encode, encode_packed
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.manifest import HealthBounds, Histogram, Manifest, SelfTest, Statistic, Tensor
from tinymlops.wire.messages import (
    Acknowledgement,
    Enrolment,
    EnrolmentRequest,
    HealthReport,
    Phase,
    Record,
    ReleaseHealth,
    SignedBytes,
    TelemetryBatch,
    TimeAnswer,
    TimeRequest,
)
from tinymlops.wire.metering import (
    Checkpoint,
    Revocation,
    UsageAcknowledgement,
    UsageAnswer,
    UsageRecord,
    UsageReport,
    Verdict,
    Voucher,
    VoucherList,
    end_of,
    first_mark,
)
from tinymlops.wire.observations import (
    LATENCY_EDGES_US,
    ChannelHealth,
    Consent,
    Feature,
    FeatureKind,
    Purpose,
    Sample,
    Window,
)
from tinymlops.wire.request_signing import Request
from tinymlops.wire.sealing import Cipher, PackageHeader, SealedModel

NOW_S = 1_800_000_000
KEYS = DeviceKeys.from_bytes(b"TMK\x01" + bytes(range(64)))
OTHER_KEYS = DeviceKeys.from_bytes(b"TMK\x01" + bytes(range(64, 128)))
GATEWAY = Ed25519PrivateKey.from_private_bytes(bytes(range(128, 160)))
GATEWAY_KEY = GATEWAY.public_key().public_bytes_raw()
ROOT = b'{"signed": "the TUF root metadata"}'
CONTENT_KEY = bytes(range(160, 192))
KEY_ID = "activity-7-int8"
MODEL = bytes(range(250)) * 4
DIGEST = hashlib.sha256(MODEL).hexdigest()
PAYLOAD = zstd.compress(MODEL)
FACTS = SealedModel(key_id=KEY_ID, encoding="zstd", sha256=DIGEST, size=len(MODEL))
CODE = EnrolmentCode(bytes(range(15)), EnrolmentCode.new(ROOT, GATEWAY_KEY).anchor)
REQUEST = Request("POST", "/v1/health?retry=1", b'{"a":1}')


def carried(body: bytes) -> CarriedRequest:
    """Telemetry as a broker carries it, with a nonce that is no secret; the signed text is written out in full."""
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    parameters = (
        '("@method" "@path" "@query" "content-digest")'
        f';created={NOW_S};keyid="{KEYS.device_id}";alg="ed25519";nonce="AAECAwQFBgcICQoLDA0ODw";tag="tinymlops-device-v1"'
    )
    text = (
        '"@method": POST\n"@path": /v1/telemetry\n"@query": ?\n'
        f'"content-digest": {digest}\n"@signature-params": {parameters}'
    )
    signature = base64.b64encode(KEYS.sign(text.encode())).decode()
    return CarriedRequest(
        content_digest=digest,
        signature_input=f"sig1={parameters}",
        signature=f"sig1=:{signature}:",
        body=body,
    )


MANIFEST = Manifest(
    workload="activity",
    version=7,
    recipe="int8",
    profile="x86-gateway",
    sha256=DIGEST,
    size=1000,
    runtime="litert 2.3.0, builtin kernels",
    minimum_agent="0.1.0",
    operators=("CONV_2D", "FULLY_CONNECTED"),
    input=Tensor(shape=(1, 2, 3), dtype="int8", scale=0.5, zero_point=-1),
    output=Tensor(shape=(1, 2), dtype="int8", scale=0.00390625, zero_point=-128),
    labels=("walking", "standing"),
    classifies=True,
    self_test=SelfTest(rows=2, inputs=bytes(range(12)), outputs=bytes(range(4)), tolerance=1.0),
    temperature=1.25,
    histograms=(
        Histogram(
            name="channel 0 mean", channel=0, statistic=Statistic.MEAN, edges=(-1.0, 1.0), reference=(0.25, 0.5, 0.25)
        ),
    ),
    output_features=(
        Feature(name="confidence", kind=FeatureKind.CONFIDENCE, edges=(0.75,), reference=(0.125, 0.875), rows=800),
        Feature(name="class", kind=FeatureKind.CLASS, edges=(0.5,), reference=(0.5, 0.5), rows=800),
        Feature(name="error", kind=FeatureKind.ERROR, edges=(0.5,), reference=(0.9375, 0.0625), rows=800),
    ),
    bounds=HealthBounds(error_rate=0.02, latency_p95_us=900.0),
    cost=VariantCost(points=0.5, time=1.0),
    energy_uj=15.0,
)
ASSIGNMENT = Assignment(
    device_id=KEYS.device_id,
    counter=12,
    issued_s=float(NOW_S),
    offers=(
        Offer(
            workload="activity",
            version=7,
            variants=(
                VariantOffer(
                    manifest="releases/activity/7/int8.x86-gateway.manifest",
                    packages=(
                        PackageOffer(
                            path="releases/activity/7/int8.from-6.tmz",
                            key_id="activity-7-int8-from-6",
                            wrapped_key=bytes(range(80)),
                            bytes=512,
                            base="6c" * 32,
                        ),
                        PackageOffer(
                            path="releases/activity/7/int8.tmz",
                            key_id=KEY_ID,
                            wrapped_key=golden.WRAPPED_KEY,
                            bytes=len(golden.PACKAGE_CHACHA20),
                        ),
                    ),
                ),
            ),
        ),
    ),
)
HEADER = PackageHeader(
    cipher=Cipher.CHACHA20_POLY1305,
    key_id=KEY_ID,
    encoding="zstd",
    sha256=DIGEST,
    size=1000,
    payload_bytes=270,
    nonce_prefix=bytes(range(7)),
)
TIME = TimeAnswer(now_s=float(NOW_S), nonce=bytes(range(16)))
SIGNED_TIME = SignedBytes(encode(TIME), GATEWAY.sign(encode(TIME)))

VOUCHER = Voucher(
    serial="00112233445566778899aabbccddeeff",
    device=KEYS.device_id,
    workload="activity",
    quota=50_000,
    issued_s=NOW_S,
    expires_s=NOW_S + 7_776_000,
    grace_s=604_800,
)
VOUCHER_MESSAGE = signed(VOUCHER, "voucher", GATEWAY.sign)
RECORD = UsageRecord(1, 100, NOW_S // 3600, b"\xde\xad\xbe\xef").to_bytes()
FIRST = first_mark(VOUCHER_MESSAGE)
CHECKPOINT = Checkpoint(serial=VOUCHER.serial, start=FIRST, end=end_of(FIRST, RECORD), at_s=NOW_S + 60, counter=1)
CHECKPOINT_MESSAGE = signed(CHECKPOINT, "checkpoint", KEYS.sign)
USAGE_TOLD = UsageAcknowledgement(serial=VOUCHER.serial, mark=CHECKPOINT.end, verdict=Verdict.BILLED, at_s=NOW_S + 61)
REVOCATION = Revocation(serial=VOUCHER.serial, revoked_s=NOW_S + 3600)
CONSENT = Consent(
    subject="household-12",
    number=3,
    purposes=(Purpose.OPERATIONS, Purpose.DRIFT),
    given_s=NOW_S,
    until_s=NOW_S + 31_536_000,
    wording="2026-11",
)
WINDOW = Window(
    workload="activity",
    release=7,
    recipe="int8",
    layout=MANIFEST.layout,
    began_s=float(NOW_S),
    ended_s=NOW_S + 86_400.0,
    consent=CONSENT.number,
    epsilon=0.25,
    histograms=((-3, 250, 48), (12, 290), (150, 147), (297, 6)),
    queries=300,
    errors=1,
    labelled=300,
    latencies=(300, *[0] * len(LATENCY_EDGES_US)),
    memory_kib=61_440,
    energy_uj=4500.0,
    channels=(ChannelHealth(channel=2, missing=1, stuck=40),),
)
SAMPLE = Sample(
    workload="activity",
    release=7,
    recipe="int8",
    at_s=NOW_S + 0.5,
    consent=CONSENT.number,
    inputs=bytes(24),
    output=(0.75, 0.25),
    truth=(0.0,),
)
SENT_SIGNED: tuple[tuple[Versioned, str, bytes], ...] = (
    (VOUCHER, "voucher", VOUCHER_MESSAGE),
    (CHECKPOINT, "checkpoint", CHECKPOINT_MESSAGE),
    (USAGE_TOLD, "acknowledgement", signed(USAGE_TOLD, "acknowledgement", GATEWAY.sign)),
    (REVOCATION, "revocation", signed(REVOCATION, "revocation", GATEWAY.sign)),
    (CONSENT, "consent", signed(CONSENT, "consent", KEYS.sign)),
)
"""Values that are sent in COSE messages only: each with its kind and its message."""

BATCH = TelemetryBatch(records=(Record(1, "window", b"\x00\x01"), Record(2, "receipt", b"")))
CARRIED = carried(encode_packed(BATCH))
SENT_AS_JSON: tuple[Versioned, ...] = (
    TelemetryKept(device_id=KEYS.device_id, through=2, now_s=float(NOW_S)),
    VoucherList(vouchers=(VOUCHER_MESSAGE,)),
    UsageAnswer(acknowledgement=SENT_SIGNED[2][2]),
    EnrolmentRequest(
        secret=CODE.secret,
        signing_key=KEYS.public.signing,
        sealing_key=KEYS.public.sealing,
        profile="x86-gateway",
        agent_version="0.1.0",
        cipher=Cipher.AES_256_GCM,
    ),
    Enrolment(device_id=KEYS.device_id, root=ROOT, gateway_key=GATEWAY_KEY),
    ASSIGNMENT,
    MANIFEST,
    HealthReport(
        sequence=41,
        sent_at=NOW_S + 0.5,
        agent_version="0.1.0",
        releases=(
            ReleaseHealth(
                workload="activity",
                version=7,
                assignment=12,
                phase=Phase.TRIAL,
                recipe="int8",
                sha256=DIGEST,
                queries=1000,
                errors=1,
                latency_p50_us=110.5,
                latency_p95_us=150.0,
            ),
        ),
        battery=0.5,
        free_bytes=1_000_000,
        dropped_observations=3,
    ),
    Acknowledgement(through=41, poll_s=600.0),
    TimeRequest(nonce=bytes(range(16))),
    TIME,
)
SENT_PACKED: tuple[Versioned, ...] = (
    UsageReport(checkpoint=CHECKPOINT_MESSAGE, records=RECORD),
    HEADER,
    WINDOW,
    SAMPLE,
    BATCH,
    CARRIED,
)
SENT = SENT_AS_JSON + SENT_PACKED


def name_of(value: object) -> str:
    return type(value).__name__


def changed_version(value: Versioned, version: int) -> Versioned:
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    return type(value)(**{**fields, "v": version})


def each_bit_flipped(content: bytes) -> Iterator[bytes]:
    """``content`` with one bit changed, for each of its bits."""
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
