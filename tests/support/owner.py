"""An owner with a real repository, vault and fleet database in a folder: small models, keys in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tests.unit.devices.flatbuffer_models import dense
from tinymlops.files import sha256
from tinymlops.fleet import CodeTerms, Fleet, Heard, Verdict, open_fleet
from tinymlops.releases.creation import create_repository
from tinymlops.releases.keyring import RoleKeys
from tinymlops.releases.publishing import Publisher
from tinymlops.releases.records import Records, ReleaseRecord
from tinymlops.releases.roles import RepositorySettings
from tinymlops.releases.roots import ROOT_ROLES, first_root, sign_root
from tinymlops.releases.vault import Vault, new_vault_key
from tinymlops.steering import Steering
from tinymlops.store import DirectoryStore
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.manifest import HealthBounds, Manifest, SelfTest, Tensor
from tinymlops.wire.messages import EnrolmentRequest, HealthReport, Phase, ReleaseHealth
from tinymlops.wire.sealing import Cipher

WORKLOAD = "tiny"
PROFILES = ("x86-gateway", "raspberry-pi-zero-2")
FEATURES, CLASSES = 16, 4
NOW_S = 1_800_000_000.0


def tiny_model(seed: int, features: int = FEATURES) -> bytes:
    """A model of one layer that LiteRT runs; another seed gives other weights."""
    return dense(features, CLASSES, seed=seed)


def outputs_of(model: bytes, inputs: np.ndarray[Any, Any]) -> bytes:
    """What LiteRT makes of raw input rows."""
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    rows = []
    for row in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tobytes())
    return b"".join(rows)


def tiny_manifest(model: bytes, version: int, profile: str, *, recipe: str = "int8", broken: bool = False) -> Manifest:
    """The manifest of a `tiny_model`; a broken one expects what the model does not give."""
    inputs = np.random.default_rng(1).integers(-20, 20, (2, FEATURES)).astype(np.int8)
    outputs = np.frombuffer(outputs_of(model, inputs), np.int8)
    expected = np.clip(outputs.astype(int) + (40 if broken else 0), -128, 127).astype(np.int8)
    return Manifest(
        workload=WORKLOAD,
        version=version,
        recipe=recipe,
        profile=profile,
        sha256=sha256(model),
        size=len(model),
        runtime="litert 2.3.0, builtin",
        minimum_agent="0.1.0",
        operators=("FULLY_CONNECTED",),
        input=Tensor(shape=(1, FEATURES), dtype="int8", scale=0.5),
        output=Tensor(shape=(1, CLASSES), dtype="int8", scale=1.0, zero_point=3),
        labels=("a", "b", "c", "d"),
        classifies=True,
        self_test=SelfTest(rows=2, inputs=inputs.tobytes(), outputs=expected.tobytes(), tolerance=1.0),
        bounds=HealthBounds(error_rate=0.05),
    )


@dataclass
class Owner:
    """Everything that an owner has.

    Attributes:
        root: First root metadata.
        publisher: With all keys.
        fleet: In an SQLite file.
        steering: On top of both.
        hand: What the owner's clock shows, unless it was given another; turn it by hand.
    """

    root: bytes
    publisher: Publisher
    fleet: Fleet
    steering: Steering
    hand: list[float]

    @property
    def now_s(self) -> float:
        """Seconds since 1970."""
        return self.steering.clock()

    def say(self, keys: DeviceKeys, version: int, phase: Phase, **changes: object) -> None:
        """A device's health report, past the gateway: about the release that it was assigned last."""
        known = self.fleet.find_device(keys.device_id)
        assert known is not None
        counter = self.fleet.assignments([keys.device_id])[keys.device_id].counter
        health = ReleaseHealth(workload=WORKLOAD, version=version, assignment=counter, phase=phase)
        health = msgspec.structs.replace(health, **changes)
        report = HealthReport(
            sequence=known.sequence + 1, sent_at=self.now_s, agent_version="0.1.0", releases=(health,)
        )
        heard = Heard(device_id=keys.device_id, nonce=os.urandom(11).hex(), at_s=self.now_s, report=report)
        assert self.fleet.admit([heard])[0].verdict == Verdict.ACCEPTED

    def release(self, seed: int, *, broken: bool = False, profiles: Sequence[str] = PROFILES) -> ReleaseRecord:
        """Publish the `tiny_model` of a seed as the next release."""
        model, version = tiny_model(seed), self.publisher.next_version(WORKLOAD)
        manifests = [tiny_manifest(model, version, profile, broken=broken) for profile in profiles]
        return self.publisher.publish(manifests, {sha256(model): model}, why=f"seed {seed}", now_s=self.now_s)

    def enrol(self, profile: str = PROFILES[0], *, region: str | None = None) -> DeviceKeys:
        """Let a device in, past the gateway."""
        keys = DeviceKeys.generate()
        terms = CodeTerms(expires_s=self.now_s + 60, root_version=1, region=region)
        code = self.fleet.new_code(terms, root=self.root, gateway_key=bytes(32))
        request = EnrolmentRequest(
            secret=code.secret,
            signing_key=keys.public.signing,
            sealing_key=keys.public.sealing,
            profile=profile,
            agent_version="0.1.0",
            cipher=Cipher.CHACHA20_POLY1305,
        )
        self.fleet.enrol(request, now_s=self.now_s)
        return keys


def make_owner(folder: Path, *, bin_bits: int = 2, clock: Callable[[], float] | None = None) -> Owner:
    """An owner whose repository is empty.

    Args:
        folder: For all of it.
        bin_bits: Bins of the repository, as a power of two.
        clock: Seconds since 1970; the owner's own hand-turned clock if not given.
    """
    keys, settings = RoleKeys.generate(), RepositorySettings(bin_bits=bin_bits)
    hand = [NOW_S]
    shown: Callable[[], float] = clock or (lambda: hand[0])
    public = {"root": [key.public_key for key in keys.root]}
    public |= {role: [getattr(keys, role).public_key] for role in ROOT_ROLES if role != "root"}
    start = datetime.fromtimestamp(shown(), UTC)
    root = sign_root(first_root(public, threshold=2, now=start, lifetimes=settings.lifetimes), keys.root)
    repository = create_repository(
        DirectoryStore(folder / "repository"),
        keys.keyring(),
        root=root,
        devices_key=keys.devices,
        settings=settings,
        now=lambda: datetime.fromtimestamp(shown(), UTC),
    )
    private = DirectoryStore(folder / "private")
    vault, records = Vault(private, new_vault_key()), Records(private)
    fleet = open_fleet(f"sqlite:///{folder / 'fleet.sqlite'}")
    steering = Steering(fleet, repository, vault, records, clock=shown)
    return Owner(root, Publisher(repository, vault, records), fleet, steering, hand)
