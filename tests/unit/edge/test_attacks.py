"""Uptane's list of attacks (Uptane Standard 2.1.0 §4.3), one by one, and what the owner's own mishaps are like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec.structs import replace as with_changes
from securesystemslib.signer import CryptoSigner

from tests.support.devices import Recorder, SteppingClock
from tests.support.gateway_simulator import WORKLOAD, World, body, tiny_model
from tests.support.repository_simulator import DEVICES
from tinymlops.edge.agent import Agent
from tinymlops.edge.metadata import ExpiredError
from tinymlops.edge.seams import Answer, Call
from tinymlops.edge.transitions import Transition
from tinymlops.errors import UnreachableError, UntrustedError
from tinymlops.files import sha256
from tinymlops.wire.assignment import target_of
from tinymlops.wire.encoding import encode
from tinymlops.wire.messages import Phase, SignedBytes, TimeAnswer

WINDOW = [0.5] * 16
DAY_S = 86400.0


def running(agent: Agent) -> int | None:
    release = agent.models[WORKLOAD].release if WORKLOAD in agent.models else None
    return None if release is None else release.record.release


def install(agent: Agent, version: int) -> None:
    assert agent.cycle().error is None
    assert running(agent) == version


def offer_next(world: World, agent: Agent) -> None:
    world.release(2, [tiny_model(2)])
    world.assign(agent.device_id, 2)


def test_eavesdrop(agent: Agent, world: World) -> None:
    """Nothing of the model is on the line, and nothing that opens it."""
    heard: list[bytes] = []

    def listen(call: Call, answer: Answer) -> Answer:
        parts = list(answer.chunks)
        heard.extend((call.body, *parts))
        return replace(answer, chunks=parts)

    world.tamper = listen
    install(agent, 1)
    line, model = b"".join(heard), world.released[1].variants[0][2]
    assert len(line) > 1000
    assert b"TFL3" not in line
    assert all(model[at : at + 64] not in line for at in range(0, len(model) - 64, 8))
    assert world.released[1].variants[0][3][0].key not in line
    assert agent.keys.to_bytes()[4:36] not in line


def test_drop_request(agent: Agent, world: World) -> None:
    """Whoever swallows requests delays updates; what runs goes on, and the next round catches up."""
    install(agent, 1)
    offer_next(world, agent)

    def swallow(call: Call, answer: Answer) -> Answer:
        raise UnreachableError("swallowed", "wait")

    world.tamper = swallow
    done = agent.cycle()
    assert isinstance(done.error, UnreachableError)
    assert agent.models[WORKLOAD].predict(WINDOW).version == 1
    world.tamper = lambda _, answer: answer
    install(agent, 2)


@pytest.mark.parametrize("part", ["timestamp.json", ".tmz", "devices/"])
def test_slow_retrieval(agent: Agent, world: World, clock: SteppingClock, part: str) -> None:
    """An answer that drips is given up; the time that it takes is bounded."""
    install(agent, 1)
    offer_next(world, agent)

    def drip(call: Call, answer: Answer) -> Answer:
        def chunks() -> Iterator[bytes]:
            for byte in b"".join(answer.chunks):
                clock.pass_time(5.0)
                yield bytes([byte])

        return replace(answer, chunks=chunks()) if part in call.target else answer

    world.tamper = drip
    before = clock.up_s
    error = agent.cycle().error
    assert isinstance(error, UnreachableError)
    assert "bytes a second" in error.cause
    assert clock.up_s - before < 60
    assert running(agent) == 1


def test_freeze(agent: Agent, world: World, clock: SteppingClock) -> None:
    """Old metadata, played for ever, is refused once it has expired; the model runs on."""
    install(agent, 1)
    clock.pass_time(40 * DAY_S)
    world.now_s = clock.now_s
    assert isinstance(agent.cycle().error, ExpiredError)
    assert agent.models[WORKLOAD].predict(WINDOW).version == 1


def test_partial_bundle(agent: Agent, world: World) -> None:
    """A release of which one variant never comes is not installed in part."""
    install(agent, 1)
    world.release(2, [tiny_model(2), tiny_model(3)])
    world.assign(agent.device_id, 2)
    world.tamper = lambda call, answer: body(b"", 404) if "int8-1-whole" in call.target else answer
    assert agent.cycle().error is not None
    assert running(agent) == 1
    health = world.health[agent.device_id][-1].releases
    assert [(one.version, one.phase) for one in health] == [(2, Phase.DOWNLOADING), (1, Phase.GOOD)]
    world.tamper = lambda _, answer: answer
    install(agent, 2)


def test_rollback_of_the_assignment(agent: Agent, world: World) -> None:
    """An old assignment is refused, also if the online key signs it anew."""
    old = world.assign(agent.device_id, 1)
    world.release(2, [tiny_model(2)])
    world.assign(agent.device_id, 2)
    install(agent, 2)
    world.put_assignment(agent.device_id, encode(old))
    error = agent.cycle().error
    assert isinstance(error, UntrustedError)
    assert "counter" in error.cause
    assert running(agent) == 2


def test_two_assignments_of_one_counter(agent: Agent, world: World) -> None:
    install(agent, 1)
    world.release(2, [tiny_model(2)])
    world.assign(agent.device_id, 2, counter=1)
    assert isinstance(agent.cycle().error, UntrustedError)
    assert running(agent) == 1


def test_roll_back_that_the_owner_wants(agent: Agent, world: World) -> None:
    """A lower version under a higher counter is installed, from the other slot, without a download."""
    install(agent, 1)
    offer_next(world, agent)
    install(agent, 2)
    world.assign(agent.device_id, 1)
    sent = world.bytes_sent(".tmz")
    install(agent, 1)
    assert world.bytes_sent(".tmz") == sent


@pytest.mark.parametrize("part", ["timestamp.json", "2.root.json", ".manifest", ".tmz", "devices/", "/v1/health"])
def test_endless_data(agent: Agent, world: World, part: str) -> None:
    """What never ends is cut off at its bound, and little is kept of it."""
    taken = 0

    def endless(call: Call, answer: Answer) -> Answer:
        def chunks() -> Iterator[bytes]:
            nonlocal taken
            while True:
                taken += 65536
                yield bytes(65536)

        return Answer(200, {}, chunks()) if part in call.target else answer

    world.tamper = endless
    error = agent.cycle().error
    assert isinstance(error, UntrustedError)
    assert taken < 1_000_000
    assert agent.folder.used() < 200_000


def test_mix_and_match(agent: Agent, world: World) -> None:
    """Files of different states of the repository do not go together: the snapshot decides."""
    install(agent, 1)
    old = world.repository.signed(world.repository.targets, world.repository.signers["targets"])
    offer_next(world, agent)
    world.tamper = lambda call, answer: body(old) if call.target.endswith("targets.json") else answer
    assert isinstance(agent.cycle().error, UntrustedError)
    assert running(agent) == 1


def test_mix_of_manifest_and_package(agent: Agent, world: World) -> None:
    """Even the online key can't pair a manifest with another signed package."""
    offer_next(world, agent)
    good = world.offer(agent.device_id, 1)
    other = world.release(3, [tiny_model(3)]).variants[0][3][0]
    world.repository.add_target(
        "targets", "releases/activity/1/other.tmz", world.repository.files[_file_of(world, other.path)]
    )
    world.repository.publish("targets")
    from tinymlops.wire.key_wrapping import wrap

    wrapped = wrap(other.key, world.devices[agent.device_id], other.key_id)
    swapped = with_changes(
        good.variants[0].packages[0], path="releases/activity/1/other.tmz", key_id=other.key_id, wrapped_key=wrapped
    )
    offer = with_changes(good, variants=(with_changes(good.variants[0], packages=(swapped,)),))
    assignment = with_changes(world.assign(agent.device_id, 1), offers=(offer,), counter=50)
    world.put_assignment(agent.device_id, encode(assignment))
    assert agent.cycle().error is None
    assert running(agent) is None
    assert "another model than its manifest says" in world.health[agent.device_id][-1].releases[0].reason


def _file_of(world: World, path: str) -> str:
    name = path.rpartition("/")[2]
    return next(file for file in world.repository.files if file.endswith(f".{name}"))


@pytest.mark.parametrize("part", [".tmz", ".manifest", "devices/"])
def test_arbitrary_software(agent: Agent, world: World, part: str) -> None:
    """Other bytes of the same length are refused, and fetched anew when they are right."""
    world.tamper = lambda call, answer: body(bytes(len(b"".join(answer.chunks)))) if part in call.target else answer
    assert isinstance(agent.cycle().error, UntrustedError)
    assert running(agent) is None
    world.tamper = lambda _, answer: answer
    install(agent, 1)


def test_a_release_that_nobody_signed(agent: Agent, world: World) -> None:
    """The online key offers what the offline key never listed."""
    offer = world.offer(agent.device_id, 1)
    path = "releases/activity/1/evil.manifest"
    evil = with_changes(offer, variants=(with_changes(offer.variants[0], manifest=path),))
    world.repository.add_target(DEVICES, path, b"evil")
    assignment = with_changes(world.assign(agent.device_id, 1), offers=(evil,))
    world.put_assignment(agent.device_id, encode(assignment))
    agent.cycle()
    assert running(agent) is None
    report = world.health[agent.device_id][-1].releases[0]
    assert report.phase is Phase.FAILED
    assert "not signed" in report.reason


def test_another_devices_assignment(agent: Agent, world: World) -> None:
    assignment = with_changes(world.assign(agent.device_id, 1), device_id="0" * 32, counter=9)
    world.repository.add_target(DEVICES, target_of(agent.device_id), encode(assignment))
    world.repository.publish(DEVICES)
    assert isinstance(agent.cycle().error, UntrustedError)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", DEVICES])
def test_a_wrong_key(agent: Agent, world: World, role: str) -> None:
    world.repository.signers[role] = [CryptoSigner.generate_ed25519()]
    world.repository.publish("targets", DEVICES)
    assert isinstance(agent.cycle().error, UntrustedError)
    assert running(agent) is None


def test_key_compromise_below_threshold(agent: Agent, world: World) -> None:
    """One stolen root key of three makes no new root."""
    install(agent, 1)
    repository = world.repository
    stolen = repository.signers["root"][0]
    repository.root.revoke_key(repository.signers["targets"][0].public_key.keyid, "targets")
    repository.signers["targets"] = []
    repository.add_key("targets")
    repository.publish_root(signers=[stolen])
    assert isinstance(agent.cycle().error, UntrustedError)
    assert agent.models[WORKLOAD].predict(WINDOW).version == 1


def test_root_rotation(agent: Agent, world: World) -> None:
    """Three rotations while the device slept are followed, one by one."""
    install(agent, 1)
    repository = world.repository
    for _ in range(3):
        old = list(repository.signers["root"])
        repository.root.revoke_key(old[0].public_key.keyid, "root")
        repository.signers["root"] = old[1:]
        repository.add_key("root")
        repository.publish_root(signers=[*old, repository.signers["root"][-1]])
    repository.root.revoke_key(repository.signers["targets"][0].public_key.keyid, "targets")
    repository.signers["targets"] = []
    repository.add_key("targets")
    repository.publish_root()
    offer_next(world, agent)
    install(agent, 2)


def test_clock_reset_to_1970(
    agent: Agent, world: World, clock: SteppingClock, restarted: Callable[[], Agent], recorder: Recorder
) -> None:
    """A device without a battery for its clock asks the gateway, and believes only a signed answer to its question."""
    install(agent, 1)
    clock.now_s = 0.0
    again = restarted()
    assert again.clock.now() >= world.now_s, "never before what was signed"
    assert again.models[WORKLOAD].predict(WINDOW).version == 1
    offer_next(world, agent)
    recorder.seen.clear()
    install(again, 2)
    assert Transition.CLOCK_ADVANCED in recorder.seen


def test_a_clock_in_1970_does_not_bring_expired_metadata_back(
    agent: Agent, world: World, clock: SteppingClock, restarted: Callable[[], Agent]
) -> None:
    install(agent, 1)
    world.repository.publish(DEVICES)
    clock.pass_time(40 * DAY_S)
    world.now_s = clock.now_s
    assert isinstance(agent.cycle().error, ExpiredError)
    clock.now_s = 0.0
    world.tamper = lambda call, answer: body(b"", 500) if call.target == "/v1/time" else answer
    assert agent.clock.now() >= world.now_s
    assert agent.cycle().error is not None
    assert restarted().clock.now() >= world.now_s


def test_a_clock_that_runs_ahead(agent: Agent, world: World, clock: SteppingClock) -> None:
    """A clock a year ahead makes nothing expire, once the gateway was asked."""
    clock.now_s += 365 * DAY_S
    install(agent, 1)


@pytest.mark.parametrize("lie", ["old answer", "other key", "earlier time"])
def test_lies_about_the_time(agent: Agent, world: World, clock: SteppingClock, lie: str) -> None:
    install(agent, 1)
    before = agent.clock.now()
    clock.pass_time(2 * DAY_S)

    def tamper(call: Call, answer: Answer) -> Answer:
        if call.target != "/v1/time":
            return answer
        nonce = bytes(16) if lie == "old answer" else agent.clock._nonce
        told = encode(TimeAnswer(now_s=before - 9e6 if lie == "earlier time" else before + 9e6, nonce=nonce))
        key = agent.keys if lie == "other key" else world.key
        return body(encode(SignedBytes(told, key.sign(told))))

    world.tamper = tamper
    assert isinstance(agent.cycle().error, UntrustedError)
    assert agent.clock.now() < before + 3 * DAY_S


def test_a_redirect_to_elsewhere(agent: Agent, world: World) -> None:
    """Storage that the gateway points to gets no signature, and what comes from there is held against the digest."""
    calls: list[Call] = []

    def redirect(call: Call, answer: Answer) -> Answer:
        if ".tmz" in call.target and call.target.startswith("/"):
            return Answer(307, {"location": f"https://bucket.test{call.target}?signature=x"})
        return answer

    world.tamper = redirect
    send = world.send

    def sending(call: Call) -> Answer:
        if call.target.startswith("https://bucket.test"):
            calls.append(call)
            path = call.target.removeprefix("https://bucket.test/v1/targets/").partition("?")[0]
            return body(world.repository.files[path])
        return send(call)

    world.send = sending  # type: ignore[method-assign]
    install(agent, 1)
    assert len(calls) == 1
    assert not calls[0].headers
    offer_next(world, agent)
    world.tamper = lambda call, answer: (
        Answer(307, {"location": "file:///etc/passwd"}) if ".tmz" in call.target else answer
    )
    assert isinstance(agent.cycle().error, UntrustedError)


def test_expired_metadata_never_stops_a_model(
    agent: Agent, world: World, clock: SteppingClock, restarted: Callable[[], Agent]
) -> None:
    """Months without a network: restart after restart, the verified model answers."""
    install(agent, 1)
    world.repository.timestamp.expires -= timedelta(days=365)
    for _ in range(5):
        clock.pass_time(60 * DAY_S)
        assert restarted().models[WORKLOAD].predict(WINDOW).version == 1


def test_what_is_on_the_disk_is_sealed(agent: Agent, world: World) -> None:
    install(agent, 1)
    model = world.released[1].variants[0][2]
    held = b"".join(path.read_bytes() for path in agent.folder.root.rglob("*") if path.is_file())
    assert len(held) > 1000
    assert sha256(model).encode() in held
    assert b"TFL3" not in held
