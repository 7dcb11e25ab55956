"""The agent's updater against the cases of the public TUF client conformance suite, by the same names.

The cases are those of theupdateframework/tuf-conformance as far as they apply to a device; docs/agent.md lists the ones
that do not. Repository and adapter are our own.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, Targets

from tests.support.devices import SteppingClock
from tests.support.gateway_simulator import World, body
from tests.support.repository_simulator import NOW_S, RepositorySimulator
from tinymlops.edge.link import Link
from tinymlops.edge.metadata import FOLDER, Metadata, Target
from tinymlops.edge.seams import Answer, Call
from tinymlops.edge.settings import Limits
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import ignore
from tinymlops.edge.trusted_clock import TrustedClock
from tinymlops.errors import TinyMLOpsError
from tinymlops.files import sha256
from tinymlops.wire.identity import DeviceKeys

DAY_S = 86400.0
TOP = ("root", "timestamp", "snapshot", "targets")


class Client:
    """The adapter: a device with an empty cache that trusts the first root.

    Args:
        folder: Keeps its cache.
        root: That it trusts; the repository's first unless given.
    """

    def __init__(self, folder: Path, root: bytes | None = None) -> None:
        self.world = World()
        self.repository: RepositorySimulator = self.world.repository
        self.root = root if root is not None else self.repository.roots[0]
        self.clock = SteppingClock(NOW_S)
        self.folder = Folder(folder, durable=False)
        keys = DeviceKeys.generate()
        self.world.devices[keys.device_id] = keys.public
        trusted = TrustedClock(self.clock, self.folder, ignore)
        self.link = Link(self.world, keys, trusted, Limits())
        self.walk: Metadata | None = None

    def refresh(self) -> bool:
        self.world.asked.clear()
        self.world.now_s = self.clock.now_s
        try:
            self.walk = Metadata(self.folder, self.link, self.root, self.clock.now_s, ignore)
            self.walk.refresh()
        except TinyMLOpsError:
            return False
        return True

    def find(self, path: str) -> Target | None:
        assert self.walk is not None
        return self.walk.find(path)

    def download(self, path: str) -> bytes | None:
        """A target's content, if it is signed and came as signed."""
        try:
            target = self.find(path) if self.refresh() else None
            if target is None:
                return None
            content = self.link.get(target.url, most_bytes=target.length)
        except TinyMLOpsError:
            return None
        return content if sha256(content) == target.sha256 else None

    def trusted(self) -> dict[str, int]:
        """Versions in the cache."""
        names = [name for name in self.folder.names(FOLDER) if name.endswith(".json")]
        found = {name.removesuffix(".json"): self._version(f"{FOLDER}/{name}") for name in names}
        roots = self.folder.names(f"{FOLDER}/root_history")
        return {**found, "root": max((int(name.partition(".")[0]) for name in roots), default=0)}

    def _version(self, name: str) -> int:
        content = self.folder.read(name)
        return int(msgspec.json.decode(content)["signed"]["version"]) if content else 0

    def requests(self) -> list[str]:
        return [asked.removeprefix("GET /v1/metadata/") for asked in self.world.asked]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "state")


# --- basic


def test_basic_refresh_requests(client: Client) -> None:
    assert client.refresh()
    assert client.requests() == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert client.refresh()
    assert client.requests() == ["2.root.json", "timestamp.json"]


def test_basic_refresh_trusted_data(client: Client) -> None:
    assert client.refresh()
    for role in TOP[1:]:
        assert client.folder.read(f"{FOLDER}/{role}.json") == client.repository.metadata(role)


def test_implicit_refresh(client: Client) -> None:
    assert client.download("nothing") is None
    assert client.trusted()["targets"] == 1


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json", b'{"signed": {"_type": "root"}, "signatures": []}'])
def test_invalid_initial_root(tmp_path: Path, damage: bytes) -> None:
    client = Client(tmp_path, root=damage)
    assert not client.refresh()
    assert client.requests() == []


def test_unsigned_initial_root(tmp_path: Path) -> None:
    client = Client(tmp_path, root=RepositorySimulator.signed(RepositorySimulator().root, []))
    assert not client.refresh()
    assert client.requests() == []


@pytest.mark.parametrize("role", TOP)
def test_unsigned_metadata(client: Client, role: str) -> None:
    assert client.refresh()
    wrong = [CryptoSigner.generate_ed25519()]
    if role == "root":
        client.repository.publish_root(signers=list(wrong))
    else:
        client.repository.publish("targets")
        client.repository.signers[role] = list(wrong)
    before = client.trusted()
    assert not client.refresh()
    assert client.trusted()[role] == before[role]


@pytest.mark.parametrize("role", ["snapshot", "targets", "root"])
def test_url_and_metadata_version_mismatch(client: Client, role: str) -> None:
    assert client.refresh()
    if role == "root":
        client.repository.root.version += 1
        client.repository.publish_root()
    else:
        client.repository.publish("targets")
        signed = {"snapshot": client.repository.snapshot, "targets": client.repository.targets}[role]
        signed.version += 1
    assert not client.refresh()
    assert client.trusted()[role] == 1


def test_timestamp_content_changes(client: Client) -> None:
    client.repository.update_timestamp()
    assert client.refresh()
    kept = client.folder.read(f"{FOLDER}/timestamp.json")
    client.repository.timestamp.snapshot_meta.version = 99
    assert client.refresh(), "the same version again is no news, whatever else it says"
    assert client.folder.read(f"{FOLDER}/timestamp.json") == kept


def test_basic_metadata_hash_support(client: Client) -> None:
    client.repository.with_hashes = True
    client.repository.publish("targets")
    assert client.refresh()
    assert client.trusted()["targets"] == 2


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_hash_mismatch(client: Client, role: str) -> None:
    client.repository.with_hashes = True
    client.repository.publish("targets")
    meta = client.repository.snapshot.meta["targets.json"]
    if role == "targets":
        meta.hashes = {"sha256": "0" * 64}
        client.repository.update_snapshot()
    else:
        client.repository.timestamp.snapshot_meta.hashes = {"sha256": "0" * 64}
    assert not client.refresh()
    assert role not in client.trusted()


def test_metadata_bytes_match(client: Client) -> None:
    """What is cached is what was signed, byte for byte, whatever the spelling of its JSON."""
    client.world.tamper = lambda call, answer: (
        body(msgspec.json.format(b"".join(answer.chunks), indent=4)) if "timestamp" in call.target else answer
    )
    assert client.refresh()
    cached = client.folder.read(f"{FOLDER}/timestamp.json")
    assert cached == msgspec.json.format(client.repository.metadata("timestamp") or b"", indent=4)


def test_custom_fields(client: Client) -> None:
    for signed in (client.repository.timestamp, client.repository.snapshot, client.repository.targets):
        signed.unrecognized_fields["custom"] = {"for": "somebody else"}
    client.repository.publish("targets")
    assert client.refresh()


@pytest.mark.parametrize("role", ["snapshot", "targets", "timestamp"])
def test_404(client: Client, role: str) -> None:
    name = "timestamp.json" if role == "timestamp" else f"1.{role}.json"
    client.world.tamper = lambda call, answer: body(b"", 404) if call.target.endswith(name) else answer
    assert not client.refresh()
    assert role not in client.trusted()


@pytest.mark.parametrize("role", TOP[1:])
def test_incorrect_metadata_type(client: Client, role: str) -> None:
    other = {"timestamp": "snapshot", "snapshot": "targets", "targets": "timestamp"}[role]

    def tamper(call: Call, answer: Answer) -> Answer:
        return body(client.repository.metadata(other) or b"") if f"{role}.json" in call.target else answer

    client.world.tamper = tamper
    assert not client.refresh()
    assert role not in client.trusted()


def test_faketime(client: Client) -> None:
    """The updater goes by the agent's trusted time, not by the machine's."""
    client.clock.now_s = NOW_S + 29 * DAY_S
    assert client.refresh()
    client.clock.now_s = NOW_S + 31 * DAY_S
    assert not client.refresh()


# --- expiration


def test_root_expired(client: Client) -> None:
    client.repository.root.expires -= timedelta(days=60)
    client.repository.publish_root()
    assert not client.refresh()
    assert client.trusted() == {"root": 2}


def test_timestamp_expired(client: Client) -> None:
    client.repository.timestamp.expires -= timedelta(days=60)
    client.repository.update_timestamp()
    assert not client.refresh()
    assert "timestamp" not in client.trusted()


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_metadata_expired(client: Client, role: str) -> None:
    signed = client.repository.snapshot if role == "snapshot" else client.repository.targets
    signed.expires -= timedelta(days=60)
    client.repository.publish("targets")
    assert not client.refresh()
    assert role not in client.trusted()


def test_expired_local_root(client: Client) -> None:
    client.repository.root.expires -= timedelta(days=60)
    client.root = client.repository.signed(client.repository.root, client.repository.signers["root"])
    client.repository.root.expires += timedelta(days=120)
    client.repository.publish_root()
    assert client.refresh(), "an expired root still leads to its successor"
    assert client.trusted()["root"] == 2


def test_expired_local_timestamp(client: Client) -> None:
    assert client.refresh()
    client.clock.now_s += 40 * DAY_S
    client.repository.timestamp.version = 1
    for signed in (client.repository.timestamp, client.repository.snapshot, client.repository.targets):
        signed.expires += timedelta(days=60)
    client.repository.root.expires += timedelta(days=60)
    client.repository.publish_root()
    client.repository.publish("targets")
    assert client.refresh()
    assert client.trusted()["timestamp"] == 2


# --- download

PATH = "releases/activity/1/x.tmz"


def publish(client: Client, content: bytes, path: str = PATH) -> None:
    client.repository.add_target("targets", path, content)
    client.repository.publish("targets")


@pytest.mark.parametrize("path", ["plain", PATH])
def test_client_downloads_expected_file(client: Client, path: str) -> None:
    publish(client, b"content", path)
    assert client.download(path) == b"content"


@pytest.mark.parametrize("sent", [b"another", b"longer than signed", b"cont"])
def test_repository_substitutes_target_file(client: Client, sent: bytes) -> None:
    publish(client, b"content")
    client.world.tamper = lambda call, answer: body(sent) if "targets/releases" in call.target else answer
    assert client.download(PATH) is None


def test_multiple_changes_to_target(client: Client) -> None:
    for content in (b"first", b"second", b"third"):
        publish(client, content)
        assert client.download(PATH) == content


def test_download_with_unknown_hash_algorithm(client: Client) -> None:
    publish(client, b"content")
    client.repository.targets.targets[PATH].hashes = {"sha512": "0" * 128}
    client.repository.publish("targets")
    assert client.download(PATH) is None


# --- keys


def test_snapshot_does_not_meet_threshold(client: Client) -> None:
    client.repository.root.roles["snapshot"].threshold = 2
    client.repository.publish_root()
    assert not client.refresh()
    client.repository.add_key("snapshot")
    client.repository.publish_root()
    assert client.refresh()


def test_snapshot_has_too_few_keys(client: Client) -> None:
    client.repository.root.roles["snapshot"].threshold = 3
    client.repository.publish_root()
    assert not client.refresh()
    assert "snapshot" not in client.trusted()


def test_duplicate_keys(client: Client) -> None:
    role = client.repository.root.roles["snapshot"]
    role.keyids, role.threshold = role.keyids * 2, 2
    raw = msgspec.json.decode(client.repository.signed(client.repository.root, client.repository.signers["root"]))
    assert len(raw["signed"]["roles"]["snapshot"]["keyids"]) == 2
    client.repository.publish_root()
    assert not client.refresh()


def test_duplicate_sig_keyids(client: Client) -> None:
    client.repository.root.roles["timestamp"].threshold = 2
    client.repository.publish_root()

    def tamper(call: Call, answer: Answer) -> Answer:
        if not call.target.endswith("timestamp.json"):
            return answer
        told = msgspec.json.decode(b"".join(answer.chunks))
        told["signatures"] *= 2
        return body(msgspec.json.encode(told))

    client.world.tamper = tamper
    assert not client.refresh()


def test_invalid_sig_in_valid_metadata(client: Client) -> None:
    """A signature that does not hold takes nothing from those that do."""
    extra = client.repository.add_key("timestamp")
    client.repository.publish_root()

    def tamper(call: Call, answer: Answer) -> Answer:
        if not call.target.endswith("timestamp.json"):
            return answer
        told = msgspec.json.decode(b"".join(answer.chunks))
        for signature in told["signatures"]:
            if signature["keyid"] == extra.public_key.keyid:
                signature["sig"] = "00" * 64
        return body(msgspec.json.encode(told))

    client.world.tamper = tamper
    assert client.refresh()


# --- rollback


def test_new_timestamp_version_rollback(client: Client) -> None:
    client.repository.update_timestamp()
    assert client.refresh()
    client.repository.timestamp.version = 1
    assert not client.refresh()
    assert client.trusted()["timestamp"] == 2


def test_snapshot_rollback(client: Client) -> None:
    client.repository.publish("targets")
    assert client.refresh()
    client.repository.snapshot.version = 1
    client.repository.update_timestamp()
    assert not client.refresh()
    assert client.trusted()["snapshot"] == 2


def test_targets_role_removal(client: Client) -> None:
    assert client.refresh()
    del client.repository.snapshot.meta["targets.json"]
    client.repository.update_snapshot()
    assert not client.refresh()


def test_targets_rollback(client: Client) -> None:
    client.repository.publish("targets")
    assert client.refresh()
    client.repository.snapshot.meta["targets.json"] = MetaFile(1)
    client.repository.update_snapshot()
    assert not client.refresh()
    assert client.trusted()["targets"] == 2


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_fast_forward_recovery(client: Client, role: str) -> None:
    """A version that an attacker drove up is left behind once the owner rotates the keys of that role."""
    repository = client.repository
    if role == "timestamp":
        repository.timestamp.version = 99_999
    else:
        repository.snapshot.version = 99_999
        repository.update_timestamp()
    assert client.refresh()
    for renewed in ("timestamp", "snapshot"):
        repository.root.revoke_key(repository.signers[renewed][0].public_key.keyid, renewed)
        repository.signers[renewed] = []
        repository.add_key(renewed)
    repository.publish_root()
    repository.timestamp.version, repository.snapshot.version = 1, 1
    repository.timestamp.snapshot_meta.version = 1
    assert client.refresh()
    assert client.trusted()[role] == 1


# --- delegation


def graph(client: Client, edges: list[tuple[str, str, bool]]) -> None:
    for parent, name, terminating in edges:
        client.repository.delegate(parent, name, ["*"], terminating=terminating)
    client.repository.publish("targets")


@pytest.mark.parametrize(
    ("edges", "visited"),
    [
        ([("targets", "A", False), ("targets", "B", False)], ["A", "B"]),
        ([("targets", "A", False), ("A", "B", False), ("targets", "C", False)], ["A", "B", "C"]),
        ([("targets", "A", True), ("targets", "B", False)], ["A"]),
        ([("targets", "A", False), ("A", "B", False), ("B", "A", False)], ["A", "B"]),
        ([("targets", "A", False), ("A", "B", True), ("A", "C", False), ("targets", "D", False)], ["A", "B"]),
    ],
)
def test_graph_traversal(client: Client, edges: list[tuple[str, str, bool]], visited: list[str]) -> None:
    assert client.repository.targets.delegations is not None
    assert client.repository.targets.delegations.roles is not None
    client.repository.targets.delegations.roles.clear()
    graph(client, edges)
    assert client.refresh()
    client.world.asked.clear()
    assert client.find("nowhere") is None
    assert [name.split(".")[1] for name in client.requests()] == visited


def test_targetfile_search(client: Client) -> None:
    graph(client, [("targets", "A", False)])
    client.repository.add_target("A", "there", b"x")
    client.repository.publish("A")
    assert client.download("there") == b"x"


def test_cached_role_is_verified_against_current_delegator(client: Client) -> None:
    graph(client, [("targets", "A", False)])
    client.repository.add_target("A", "there", b"x")
    client.repository.publish("A")
    assert client.download("there") == b"x"
    delegations = client.repository.targets.delegations
    assert delegations is not None
    old = client.repository.signers.pop("A")[0]
    client.repository.targets.revoke_key(old.public_key.keyid, "A")
    client.repository.add_key("A", client.repository.targets)
    client.repository.publish("targets")
    client.repository.signers["A"] = [old]
    assert client.download("there") is None, "the cached file's signer is no longer trusted"


def test_delegation_not_in_snapshot(client: Client) -> None:
    graph(client, [("targets", "A", False)])
    del client.repository.snapshot.meta["A.json"]
    client.repository.update_snapshot()
    assert client.refresh()
    with pytest.raises(TinyMLOpsError):
        client.find("there")


# --- rotation


def test_root_rotation(client: Client) -> None:
    """Each root is signed by enough of its own keys and of those before it; else it is refused."""
    repository = client.repository
    assert client.refresh()
    old = repository.signers["root"]
    new = [CryptoSigner.generate_ed25519() for _ in range(3)]
    for signer in old:
        repository.root.revoke_key(signer.public_key.keyid, "root")
    for signer in new:
        repository.root.add_key(signer.public_key, "root")
    repository.publish_root(signers=[*old[:1], *new])
    assert not client.refresh(), "one of the old keys, where two are needed"
    repository.roots.pop()
    repository.root.version -= 1
    repository.publish_root(signers=[*old, *new[:1]])
    assert not client.refresh(), "one of the new keys, where two are needed"
    repository.roots.pop()
    repository.root.version -= 1
    repository.publish_root(signers=[*old[:2], *new[:2]])
    assert client.refresh()
    assert client.trusted()["root"] == 2


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_non_root_rotations(client: Client, role: str) -> None:
    repository = client.repository
    assert client.refresh()
    old = repository.signers[role][0]
    repository.root.revoke_key(old.public_key.keyid, role)
    repository.signers[role] = []
    repository.add_key(role)
    repository.publish_root()
    repository.publish("targets")
    assert client.refresh()
    repository.signers[role] = [old]
    repository.publish("targets")
    assert not client.refresh()


# --- quoting


@pytest.mark.parametrize("name", ["?", "#", "/delegatedrole", "../delegatedrole", "ünïcode"])
def test_unusual_role_name(client: Client, name: str) -> None:
    graph(client, [("targets", name, False)])
    assert client.refresh()
    assert client.find("nowhere") is None
    kept = client.folder.names(FOLDER)
    assert all((client.folder.path(FOLDER) / one).parent == client.folder.path(FOLDER) for one in kept)
    assert not (client.folder.root.parent / "delegatedrole.json").exists()


# --- beyond the suite


def test_a_torn_cache_heals_itself(client: Client) -> None:
    """Half a file in the cache, as after a power cut on a bad disk, is fetched again and stops nothing."""
    client.repository.publish("targets")
    assert client.refresh()
    for name in ("timestamp.json", "snapshot.json", "targets.json", "root_history/1.root.json"):
        path = client.folder.path(f"{FOLDER}/{name}")
        path.write_bytes(path.read_bytes()[:100])
        assert client.refresh(), name
        assert client.trusted()["targets"] == 2


def test_devices_role_cannot_provide_releases(client: Client) -> None:
    """The online key lists packages too; nobody finds them there."""
    client.repository.add_target("devices", PATH, b"evil")
    client.repository.publish("devices")
    assert client.download(PATH) is None
    assert isinstance(client.repository.delegates["devices"], Targets)
