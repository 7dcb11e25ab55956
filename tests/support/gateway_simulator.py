"""A gateway and an owner in memory, that do what real ones do and, where a test says so, something else."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.repository_simulator import DEVICES, NOW_S, RepositorySimulator
from tests.unit.devices.flatbuffer_models import dense
from tinymlops.edge.seams import Answer, Call
from tinymlops.errors import TinyMLOpsError, UnreachableError
from tinymlops.files import sha256
from tinymlops.releases import deltas
from tinymlops.wire.assignment import Assignment, Offer, PackageOffer, VariantOffer, target_of
from tinymlops.wire.device_state import VariantCost
from tinymlops.wire.encoding import decode, decode_packed, encode
from tinymlops.wire.enrolment_code import EnrolmentCode, secret_digest
from tinymlops.wire.identity import PublicKeys
from tinymlops.wire.key_wrapping import new_content_key, wrap
from tinymlops.wire.manifest import HealthBounds, Histogram, Manifest, SelfTest, Statistic, Tensor
from tinymlops.wire.messages import (
    Acknowledgement,
    Enrolment,
    EnrolmentRequest,
    HealthReport,
    Problem,
    Record,
    SignedBytes,
    TelemetryBatch,
    TimeAnswer,
    TimeRequest,
)
from tinymlops.wire.observations import Feature, FeatureKind
from tinymlops.wire.request_signing import Request, check, is_timely, read_signature
from tinymlops.wire.sealing import SealedModel, preferred_cipher, seal

PROFILE = "x86-gateway"
WORKLOAD = "activity"
FEATURES, CLASSES = 16, 4
COUNTED_INPUTS = tuple(
    Histogram(
        name=f"channel {channel} mean", channel=channel, statistic=Statistic.MEAN, edges=(-1.0, 0.0, 1.0),
        reference=(0.25,) * 4, rows=100,
    )
    for channel in (0, 3)
)  # fmt: skip
COUNTED_ANSWERS = (
    Feature(name="confidence", kind=FeatureKind.CONFIDENCE, edges=(20.0, 60.0), reference=(0.5, 0.25, 0.25), rows=50),
    Feature(name="class", kind=FeatureKind.CLASS, edges=(0.5, 1.5, 2.5), reference=(0.25,) * 4, rows=50),
    Feature(name="error", kind=FeatureKind.ERROR, edges=(0.5,), reference=(0.9, 0.1), rows=50),
)


def tiny_model(seed: int, features: int = FEATURES) -> bytes:
    return dense(features, CLASSES, seed=seed)


def raw_outputs(model: bytes, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from tinymlops.edge.litert import LiteRT

    engine = LiteRT(model)
    return np.stack([engine.invoke(row) for row in inputs])


def manifest_of(
    model: bytes, version: int, *, recipe: str = "int8", features: int = FEATURES, **changes: Any
) -> Manifest:
    inputs = np.random.default_rng(0).integers(-50, 50, (3, 1, features)).astype(np.int8)
    test = SelfTest(rows=3, inputs=inputs.tobytes(), outputs=raw_outputs(model, inputs).tobytes(), tolerance=1.0)
    facts = Manifest(
        workload=WORKLOAD, version=version, recipe=recipe, profile=PROFILE, sha256=sha256(model), size=len(model),
        runtime="litert 2.3.0", minimum_agent="0.1.0", operators=("FULLY_CONNECTED",),
        input=Tensor(shape=(1, features), dtype="int8", scale=0.5, zero_point=0),
        output=Tensor(shape=(1, CLASSES), dtype="int8", scale=1.0, zero_point=3),
        labels=("sit", "stand", "walk", "run"), classifies=True, self_test=test,
        bounds=HealthBounds(error_rate=0.05), histograms=COUNTED_INPUTS, output_features=COUNTED_ANSWERS,
    )  # fmt: skip
    return msgspec.structs.replace(facts, **changes)


@dataclass(frozen=True)
class Package:
    path: str
    key_id: str
    key: bytes
    size: int
    base: str = ""


@dataclass
class Released:
    """What the owner knows of a release."""

    version: int
    variants: list[tuple[str, Manifest, bytes, list[Package]]] = field(default_factory=list)


class World:
    """Owner, repository and gateway.

    Args:
        now_s: Time at the gateway.
    """

    def __init__(self, now_s: float = NOW_S, **repository: Any) -> None:
        self.now_s = now_s
        self.repository = RepositorySimulator(now_s, **repository)
        self.key = Ed25519PrivateKey.generate()
        self.public_key = self.key.public_key().public_bytes_raw()
        self.code = EnrolmentCode.new(self.repository.roots[0], self.public_key)
        self.secrets: dict[str, str | None] = {secret_digest(self.code.secret): None}
        self.devices: dict[str, PublicKeys] = {}
        self.profiles: dict[str, str] = {}
        self.health: dict[str, list[HealthReport]] = {}
        self.telemetry: dict[str, dict[int, Record]] = {}
        self.released: dict[int, Released] = {}
        self.nonces: set[tuple[str, str]] = set()
        self.sent: Counter[str] = Counter()
        self.sent_to: Counter[tuple[str, str]] = Counter()
        self.asked: list[str] = []
        self.poll_s = 60.0
        self.tamper: Callable[[Call, Answer], Answer] = lambda _, answer: answer
        self._counters: dict[str, Iterator[int]] = {}
        self._lock = threading.Lock()

    # --- the owner

    def new_code(self) -> EnrolmentCode:
        code = EnrolmentCode.new(self.repository.roots[0], self.public_key)
        self.secrets[secret_digest(code.secret)] = None
        return code

    def release(
        self, version: int, models: Sequence[bytes], *, base: int | None = None, whole: bool = True, **changes: Any
    ) -> Released:
        """Seal, describe and sign a release; with differences from release ``base``."""
        made = Released(version)
        for place, model in enumerate(models):
            recipe = f"int8-{place}" if place else "int8"
            options = {"cost": VariantCost(points=float(place), time=-float(place)), "recipe": recipe, **changes}
            manifest = manifest_of(model, version, **options)
            folder = f"releases/{WORKLOAD}/{version}"
            path = f"{folder}/{recipe}.{PROFILE}.manifest"
            self.repository.add_target("targets", path, encode(manifest))
            packages = []
            old = self.released[base].variants[place] if base is not None else None
            if old is not None:
                encoding, payload = deltas.smallest(old[2], model)
                packages.append(self._package(folder, f"{recipe}-delta", model, encoding, payload, old[1].sha256))
            if whole:
                encoding, payload = deltas.smallest(None, model)
                packages.append(self._package(folder, f"{recipe}-whole", model, encoding, payload))
            made.variants.append((path, manifest, model, packages))
        self.repository.publish("targets")
        self.released[version] = made
        return made

    def _package(self, folder: str, name: str, model: bytes, encoding: str, payload: bytes, base: str = "") -> Package:
        key, key_id = new_content_key(), f"{name}-{folder.rpartition('/')[2]}"
        facts = SealedModel(key_id=key_id, encoding=encoding, sha256=sha256(model), size=len(model), base=base)
        sealed = seal(payload, key, facts, preferred_cipher())
        path = f"{folder}/{name}.tmz"
        self.repository.add_target("targets", path, sealed)
        return Package(path, key_id, key, len(sealed), base)

    def offer(self, device_id: str, version: int) -> Offer:
        keys = self.devices[device_id]
        variants = tuple(
            VariantOffer(
                manifest=path,
                packages=tuple(
                    PackageOffer(
                        path=package.path, key_id=package.key_id, bytes=package.size, base=package.base,
                        wrapped_key=wrap(package.key, keys, package.key_id),
                    )
                    for package in packages
                ),
            )
            for path, _, _, packages in self.released[version].variants
        )  # fmt: skip
        return Offer(workload=WORKLOAD, version=version, variants=variants)

    def assign(self, device_id: str, *versions: int, counter: int | None = None) -> Assignment:
        number = counter or next(self._counters.setdefault(device_id, itertools.count(1)))
        offers = tuple(self.offer(device_id, version) for version in versions)
        assignment = Assignment(device_id=device_id, counter=number, issued_s=self.now_s, offers=offers)
        self.put_assignment(device_id, encode(assignment))
        return assignment

    def put_assignment(self, device_id: str, content: bytes) -> None:
        self.repository.add_target(DEVICES, target_of(device_id), content)
        self.repository.publish(DEVICES)

    # --- the gateway

    def send(self, call: Call) -> Answer:
        """The in-memory `Transport`."""
        with self._lock:
            self.asked.append(f"{call.method} {call.target}")
            answer = self.tamper(call, self._answer(call))
        return replace(answer, chunks=self._counted(call, answer.chunks))

    def bytes_sent(self, part: str) -> int:
        """Bytes of bodies of everything whose target contains ``part``."""
        return sum(count for target, count in self.sent.items() if part in target)

    def _counted(self, call: Call, chunks: Any) -> Iterator[bytes]:
        device = device_of(call)
        for chunk in chunks:
            self.sent[call.target] += len(chunk)
            self.sent_to[device, call.target] += len(chunk)
            yield chunk

    def _answer(self, call: Call) -> Answer:
        try:
            return self._admitted(call)
        except TinyMLOpsError as error:
            return problem(400, error.cause)

    def _admitted(self, call: Call) -> Answer:
        headers = {name.lower(): value for name, value in call.headers.items()}
        claimed = read_signature(headers)
        request = Request(call.method, call.target, call.body)
        if call.target == "/v1/enrol":
            asked = decode(call.body, EnrolmentRequest)
            keys = PublicKeys(asked.signing_key, asked.sealing_key)
        else:
            known = self.devices.get(claimed.device_id)
            if known is None:
                return problem(403, "this device is not enrolled")
            keys = known
        check(request, claimed, keys.signing)
        if call.target != "/v1/time" and not is_timely(claimed, now_s=self.now_s):
            return problem(401, "the time of the request is wrong", now_s=self.now_s)
        nonce = (claimed.device_id, claimed.nonce)
        if nonce in self.nonces:
            return problem(401, "this request was played before")
        self.nonces.add(nonce)
        return self._route(call, headers, claimed.device_id, keys)

    def _route(self, call: Call, headers: dict[str, str], device_id: str, keys: PublicKeys) -> Answer:
        kind, _, rest = call.target.removeprefix("/v1/").partition("/")
        if kind == "metadata":
            return _file(self.repository.answer(unquote(rest)), "")
        if kind == "targets":
            return _file(self.repository.files.get(unquote(rest)), headers.get("range", ""))
        routes: dict[str, Callable[[], msgspec.Struct | Answer]] = {
            "enrol": lambda: self._enrol(call.body, keys),
            "time": lambda: self._time(call.body),
            "health": lambda: self._health(call.body, device_id),
            "telemetry": lambda: self._telemetry(call.body, device_id),
        }
        answer = routes[kind]()
        return answer if isinstance(answer, Answer) else body(encode(answer))

    def _enrol(self, content: bytes, keys: PublicKeys) -> msgspec.Struct | Answer:
        asked = decode(content, EnrolmentRequest)
        secret = secret_digest(asked.secret)
        if self.secrets.get(secret, keys.device_id) not in {None, keys.device_id} or secret not in self.secrets:
            return problem(409, "this code was used")
        self.secrets[secret] = keys.device_id
        self.devices[keys.device_id] = keys
        self.profiles[keys.device_id] = asked.profile
        root = self.repository.roots[0]
        return Enrolment(device_id=keys.device_id, root=root, gateway_key=self.public_key, poll_s=self.poll_s)

    def _time(self, content: bytes) -> msgspec.Struct:
        told = encode(TimeAnswer(now_s=self.now_s, nonce=decode(content, TimeRequest).nonce))
        return SignedBytes(told, self.key.sign(told))

    def _health(self, content: bytes, device_id: str) -> msgspec.Struct:
        report = decode(content, HealthReport)
        self.health.setdefault(device_id, []).append(report)
        return Acknowledgement(through=report.sequence, poll_s=self.poll_s)

    def _telemetry(self, content: bytes, device_id: str) -> msgspec.Struct:
        kept = self.telemetry.setdefault(device_id, {})
        for record in decode_packed(content, TelemetryBatch).records:
            kept.setdefault(record.sequence, record)
        return Acknowledgement(through=max(kept, default=0))


def body(content: bytes, status: int = 200, **headers: str) -> Answer:
    parts = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, parts)


def device_of(call: Call) -> str:
    """Who a request says that it is from."""
    claimed = {name.lower(): value for name, value in call.headers.items()}.get("signature-input", "")
    return claimed.partition('keyid="')[2][:32]


def problem(status: int, text: str, now_s: float | None = None) -> Answer:
    return body(msgspec.json.encode(Problem(text, "look at the test", now_s)), status)


def broken_off(answer: Answer, after: int) -> Answer:
    """The same answer, but the line breaks after so many bytes."""

    def chunks() -> Iterator[bytes]:
        content = b"".join(answer.chunks)
        yield content[:after]
        raise UnreachableError("the line broke", "wait")

    return replace(answer, chunks=chunks())


def _file(content: bytes | None, asked: str) -> Answer:
    if content is None:
        return problem(404, "there is no such file")
    if not asked:
        return body(content)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    return body(content[start:], 206, content_range=f"bytes {start}-{len(content) - 1}/{len(content)}")
