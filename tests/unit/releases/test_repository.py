"""Publishing, assigning and renewing, as devices see it; and what the publisher itself refuses to build on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, TargetFile, Targets

from tests.support.repositories import FEW_BINS, Device, ago, device_id, new_repository, signed_root
from tinymlops.errors import FormatError, ReleaseError, UntrustedError
from tinymlops.releases.creation import create_repository
from tinymlops.releases.garbage import collect_garbage
from tinymlops.releases.keyring import Keyring, RoleKeys
from tinymlops.releases.metadata_files import TIMESTAMP_KEY, key_of
from tinymlops.releases.renewal import expiries, renew
from tinymlops.releases.repository import Repository, Target
from tinymlops.releases.roles import BIN_PREFIX, DEVICES, SNAPSHOT, TARGETS, TIMESTAMP, Lifetimes, RepositorySettings
from tinymlops.releases.values import Published
from tinymlops.releases.verification import verify_repository
from tinymlops.store import DirectoryStore, NotFoundError

MANIFEST = "releases/activity/1/int8.manifest"
WEEK = timedelta(days=7)


@pytest.fixture
def keys() -> RoleKeys:
    return RoleKeys.generate()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def repository(store: DirectoryStore, keys: RoleKeys) -> Repository:
    return new_repository(store, keys)


@pytest.fixture
def device(repository: Repository, tmp_path: Path) -> Device:
    return Device(repository.store, repository.files.root_bytes, tmp_path / "device")


def reopened(
    repository: Repository, keyring: Keyring | None = None, settings: RepositorySettings = FEW_BINS
) -> Repository:
    """Another process's view, starting from the root that it keeps."""
    return Repository(
        repository.store,
        repository.keyring if keyring is None else keyring,
        trusted_root=repository.files.root_bytes,
        settings=settings,
    )


def test_a_device_reads_what_was_published_and_assigned(repository: Repository, device: Device) -> None:
    repository.publish_targets({MANIFEST: Target(b"manifest", {"recipe": "int8"})})
    repository.assign({device_id(1): b"run it", device_id(2): b"wait"})
    assert device.read(MANIFEST) == b"manifest"
    assert device.read(f"devices/{device_id(1)}") == b"run it"
    assert device.read(f"devices/{device_id(2)}") == b"wait"
    assert device.read(f"devices/{device_id(3)}") is None
    assert device.read("releases/activity/2/int8.manifest") is None


def test_the_owner_reads_it_too(repository: Repository) -> None:
    repository.publish_targets({MANIFEST: Target(b"manifest", {"recipe": "int8"}), "releases/b/1/x": Target(b"")})
    repository.assign({device_id(1): b"run it"})
    facts = repository.targets()[MANIFEST]
    assert (facts.path, facts.size, facts.custom) == (MANIFEST, 8, {"recipe": "int8"})
    assert repository.targets()["releases/b/1/x"].custom is None
    assert repository.target(MANIFEST) == b"manifest"
    assert repository.assignment(device_id(1)) == b"run it"
    assert repository.assignment(device_id(2)) is None
    with pytest.raises(NotFoundError, match="there is no 'releases/c/1/x'"):
        repository.target("releases/c/1/x")


def test_a_new_assignment_replaces_the_old_one(repository: Repository, device: Device) -> None:
    repository.assign({device_id(1): b"first"})
    assert device.read(f"devices/{device_id(1)}") == b"first"
    repository.assign({device_id(1): b"second"})
    assert device.read(f"devices/{device_id(1)}") == b"second"


def test_what_is_withdrawn_is_found_no_more(repository: Repository, device: Device) -> None:
    repository.publish_targets({MANIFEST: Target(b"manifest")})
    repository.assign({device_id(1): b"run it"})
    repository.remove_targets([MANIFEST, "releases/never/1/was"])
    repository.unassign([device_id(1), device_id(2)])
    assert device.read(MANIFEST) is None
    assert device.read(f"devices/{device_id(1)}") is None


def test_one_device_changes_one_bin(repository: Repository) -> None:
    repository.assign({device_id(number): b"before" for number in range(40)})
    before = repository.read().basis.snapshot.meta
    repository.assign({device_id(7): b"after"})
    after = repository.read().basis.snapshot.meta
    assert [name for name in after if after[name].version != before[name].version] == [
        f"{repository.read().bin_of(f'devices/{device_id(7)}')}.json"
    ]


def test_only_a_device_id_is_assigned_and_only_releases_are_published(repository: Repository) -> None:
    with pytest.raises(FormatError, match="is not a device id"):
        repository.assign({"../../evil": b""})
    with pytest.raises(ReleaseError, match="is no path of a release"):
        repository.publish_targets({"devices/evil": Target(b"")})


def test_each_job_needs_its_own_keys(repository: Repository, keys: RoleKeys) -> None:
    online = reopened(repository, Keyring([keys.devices, keys.snapshot, keys.timestamp]))
    online.assign({device_id(1): b"run it"})
    with pytest.raises(ReleaseError, match="the targets metadata needs 1 of the keys .*, and 0 of them are here"):
        online.publish_targets({MANIFEST: Target(b"manifest")})
    owner = reopened(repository, Keyring([keys.targets, keys.snapshot, keys.timestamp]))
    owner.publish_targets({MANIFEST: Target(b"manifest")})
    with pytest.raises(ReleaseError, match="the bin-. metadata needs 1 of the keys"):
        owner.assign({device_id(1): b"run it"})
    reader = reopened(repository, Keyring())
    assert reader.target(MANIFEST) == b"manifest"
    assert reader.assignment(device_id(1)) == b"run it"


def test_a_store_holds_one_repository(repository: Repository, keys: RoleKeys) -> None:
    for root in (repository.files.root_bytes, signed_root(keys), signed_root(RoleKeys.generate())):
        with pytest.raises(ReleaseError, match="there is a repository in .* already"):
            create_repository(repository.store, keys.keyring(), root=root, devices_key=keys.devices, settings=FEW_BINS)


def test_an_empty_store_holds_none(store: DirectoryStore, keys: RoleKeys) -> None:
    with pytest.raises(ReleaseError, match="there is no repository in .*: create it first"):
        Repository(store, Keyring(), trusted_root=signed_root(keys)).targets()


# --- publishers that meet


def test_of_two_publishers_the_second_starts_again(repository: Repository, device: Device) -> None:
    other = reopened(repository)
    raced: list[Published] = []

    def assign_after_another(edition: object) -> None:
        if not raced:
            raced.append(other.assign({device_id(1): b"other"}))
        edition.change(edition.bin_of(f"devices/{device_id(2)}"))  # type: ignore[attr-defined]

    published = repository.edit(assign_after_another)
    assert published.attempts == 2
    assert published.timestamp == raced[0].timestamp + 1
    assert device.read(f"devices/{device_id(1)}") == b"other"
    assert verify_repository(repository).problems == ()


def test_many_publishers_lose_nothing(repository: Repository, device: Device) -> None:
    def publish(first: int) -> None:
        mine = reopened(repository)
        for number in range(first, first + 5):
            mine.assign({device_id(number): b"of %d" % number})

    threads = [threading.Thread(target=publish, args=(first,)) for first in range(0, 20, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [device.read(f"devices/{device_id(number)}") for number in range(20)] == [b"of %d" % n for n in range(20)]
    assert verify_repository(repository).devices == 20


def test_who_never_comes_first_is_told(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(DirectoryStore, "put_if_match", lambda *_: None)
    with pytest.raises(ReleaseError, match="other publishers came first 30 times in a row"):
        repository.assign({device_id(1): b""})


# --- what a publisher refuses to build on: nobody without a key gets anything signed


def plant(
    repository: Repository, key: str, change: Callable[[Metadata[Any]], None], signer: CryptoSigner | None
) -> None:
    metadata = Metadata.from_bytes(repository.store.get(key))
    change(metadata)
    if signer is not None:
        metadata.sign(signer)
    repository.store.put(key, metadata.to_bytes())


def add_a_device(metadata: Metadata[Targets]) -> None:
    path = f"devices/{device_id(66)}"
    metadata.signed.targets[path] = TargetFile.from_data(path, b"planted", ["sha256"])


@pytest.mark.parametrize("signer", [None, CryptoSigner.generate_ed25519()])
def test_a_planted_bin_is_not_signed_anew(repository: Repository, signer: CryptoSigner | None) -> None:
    name = repository.read().bin_of(f"devices/{device_id(66)}")
    plant(repository, key_of(name, 1), add_a_device, signer)
    ids = [device_id(n) for n in range(200) if repository.read().bin_of(f"devices/{device_id(n)}") == name]
    with pytest.raises(UntrustedError, match=f"{name}.json is not signed as it should be.*restore it from a copy"):
        repository.assign({ids[0]: b"run it"})


@pytest.mark.parametrize("role", [TARGETS, DEVICES, SNAPSHOT])
def test_other_planted_metadata_stops_publishing(repository: Repository, role: str) -> None:
    def change(metadata: Metadata[Any]) -> None:
        metadata.signed.unrecognized_fields["planted"] = True

    plant(repository, key_of(role, 1), change, CryptoSigner.generate_ed25519())
    with pytest.raises(UntrustedError, match=f"{role}.json is not signed as it should be"):
        repository.assign({device_id(1): b"run it"})


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"signed": {}, "signatures": []}'])
@pytest.mark.parametrize("key", [TIMESTAMP_KEY, key_of(SNAPSHOT, 1), key_of("root", 2)])
def test_what_is_no_metadata_is_one_sentence(repository: Repository, key: str, content: bytes) -> None:
    repository.store.put(key, content)
    with pytest.raises(UntrustedError, match="is not metadata"):
        repository.assign({device_id(1): b"run it"})


def test_one_kind_of_metadata_is_not_another(repository: Repository) -> None:
    repository.store.put(TIMESTAMP_KEY, repository.store.get(key_of(SNAPSHOT, 1)))
    with pytest.raises(UntrustedError, match="is snapshot metadata, not timestamp"):
        repository.targets()


def test_an_older_version_under_a_newer_name_is_refused(repository: Repository) -> None:
    repository.assign({device_id(1): b"run it"})
    repository.store.put(key_of(SNAPSHOT, 2), repository.store.get(key_of(SNAPSHOT, 1)))
    with pytest.raises(UntrustedError, match="2.snapshot.json has version 1 inside"):
        repository.targets()


def test_a_store_that_went_back_is_refused(repository: Repository) -> None:
    old = repository.store.get(TIMESTAMP_KEY)
    repository.assign({device_id(1): b"run it"})
    repository.store.put(TIMESTAMP_KEY, old)
    with pytest.raises(UntrustedError, match="went back from version 2 to 1"):
        repository.targets()


def test_a_repository_of_somebody_else_is_refused(tmp_path: Path, repository: Repository) -> None:
    foreign = new_repository(DirectoryStore(tmp_path / "foreign"))
    impostor = Repository(foreign.store, repository.keyring, trusted_root=repository.files.root_bytes)
    with pytest.raises(UntrustedError, match="timestamp.json is not signed as it should be"):
        impostor.assign({device_id(1): b"run it"})


@pytest.mark.parametrize("signatures", [0, 1])
def test_a_root_with_too_few_signatures_is_no_anchor(store: DirectoryStore, keys: RoleKeys, signatures: int) -> None:
    root = Metadata.from_bytes(signed_root(keys))
    for key_id in list(root.signatures)[signatures:]:
        del root.signatures[key_id]
    with pytest.raises(UntrustedError, match=f"root was signed by {signatures}/2 keys"):
        Repository(store, Keyring(), trusted_root=root.to_bytes())


def test_stored_bytes_that_changed_are_refused(repository: Repository) -> None:
    repository.publish_targets({MANIFEST: Target(b"manifest")})
    repository.assign({device_id(1): b"run it"})
    for found in repository.store.list("targets/"):
        repository.store.put(found.key, b"changed")
    with pytest.raises(UntrustedError, match="is not the signed one"):
        repository.target(MANIFEST)
    with pytest.raises(UntrustedError, match="is not the signed one"):
        repository.assignment(device_id(1))


# --- what the online keys can't do


def forged(repository: Repository, keys: RoleKeys, role: str, change: Callable[[Metadata[Targets]], None]) -> None:
    """What a thief of all online keys publishes: ``role`` changed, snapshot and timestamp to match."""
    edition = repository.read()
    version = edition.basis.snapshot.meta[f"{role}.json"].version
    metadata: Metadata[Targets] = Metadata.from_bytes(repository.store.get(key_of(role, version)))
    metadata.signed.version += 1
    change(metadata)
    metadata.sign(keys.devices)
    snapshot, timestamp = edition.basis.snapshot, edition.basis.timestamp
    snapshot.meta[f"{role}.json"] = MetaFile(metadata.signed.version)
    snapshot.version += 1
    timestamp.snapshot_meta = MetaFile(snapshot.version)
    timestamp.version += 1
    repository.store.put(key_of(role, metadata.signed.version), metadata.to_bytes())
    for signed, signer, key in (
        (snapshot, keys.snapshot, key_of(SNAPSHOT, snapshot.version)),
        (timestamp, keys.timestamp, TIMESTAMP_KEY),
    ):
        forged_one: Metadata[Any] = Metadata(signed)
        forged_one.sign(signer)
        repository.store.put(key, forged_one.to_bytes())


def add_a_model(metadata: Metadata[Targets]) -> None:
    entry = TargetFile.from_data(MANIFEST, b"evil", ["sha256"])
    metadata.signed.targets[MANIFEST] = entry


@pytest.mark.parametrize("role", [DEVICES, "bin-0", "bin-1", "bin-2", "bin-3"])
def test_stolen_online_keys_bring_in_no_model(
    repository: Repository, device: Device, keys: RoleKeys, role: str
) -> None:
    device.refresh()
    forged(repository, keys, role, add_a_model)
    assert device.read(MANIFEST) is None
    repository.store.put(f"targets/releases/activity/1/{'0' * 64}.int8.manifest", b"evil")
    if role != DEVICES:
        with pytest.raises(UntrustedError, match=f"{role} lists {MANIFEST}, which is not its own"):
            verify_repository(reopened(repository))


def test_stolen_online_keys_sign_no_targets(repository: Repository, device: Device, keys: RoleKeys) -> None:
    from tuf.api.exceptions import UnsignedMetadataError

    device.refresh()
    forged(repository, keys, TARGETS, add_a_model)
    with pytest.raises(UnsignedMetadataError):
        device.read(MANIFEST)
    with pytest.raises(UntrustedError):
        reopened(repository).targets()


# --- attacks from the network, seen by the reference client


def test_a_device_refuses_what_is_older_than_what_it_saw(repository: Repository, device: Device) -> None:
    from tuf.api.exceptions import BadVersionNumberError

    old = repository.store.get(TIMESTAMP_KEY)
    repository.assign({device_id(1): b"run it"})
    device.refresh()
    repository.store.put(TIMESTAMP_KEY, old)
    with pytest.raises(BadVersionNumberError):
        device.refresh()


def test_a_device_refuses_a_mix_of_old_and_new(repository: Repository, device: Device, keys: RoleKeys) -> None:
    from tuf.api.exceptions import BadVersionNumberError

    repository.assign({device_id(1): b"first"})
    name = repository.read().bin_of(f"devices/{device_id(1)}")
    device.read(f"devices/{device_id(1)}")
    edition = repository.read()
    snapshot, timestamp = edition.basis.snapshot, edition.basis.timestamp
    snapshot.meta[f"{name}.json"] = MetaFile(1)
    snapshot.version += 1
    timestamp.snapshot_meta = MetaFile(snapshot.version)
    timestamp.version += 1
    pairs = ((snapshot, keys.snapshot, key_of(SNAPSHOT, snapshot.version)), (timestamp, keys.timestamp, TIMESTAMP_KEY))
    for signed, signer, key in pairs:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(signer)
        repository.store.put(key, metadata.to_bytes())
    with pytest.raises(BadVersionNumberError):
        device.read(f"devices/{device_id(1)}")


def test_a_device_is_not_frozen_in_the_past(store: DirectoryStore, keys: RoleKeys, tmp_path: Path) -> None:
    from tuf.api.exceptions import ExpiredMetadataError

    repository = new_repository(store, keys, now=ago(days=4))  # the timestamp lived three days
    device = Device(store, repository.files.root_bytes, tmp_path / "device")
    with pytest.raises(ExpiredMetadataError, match="timestamp"):
        device.refresh()
    renew(reopened(repository))
    device.refresh()


def test_a_device_refuses_altered_bytes(repository: Repository, device: Device) -> None:
    from tuf.api.exceptions import RepositoryError

    repository.publish_targets({MANIFEST: Target(b"manifest")})
    (key,) = [found.key for found in repository.store.list("targets/")]
    repository.store.put(key, b"manifesT")
    with pytest.raises(RepositoryError):
        device.read(MANIFEST)


def test_a_device_finds_its_target_in_any_bin(repository: Repository, device: Device) -> None:
    repository.assign({device_id(number): b"for %d" % number for number in range(40)})
    names = {repository.read().bin_of(f"devices/{device_id(number)}") for number in range(40)}
    assert names == {f"{BIN_PREFIX}-{number}" for number in range(4)}
    assert all(device.read(f"devices/{device_id(number)}") == b"for %d" % number for number in range(40))


# --- time


def test_fresh_metadata_is_left_alone(repository: Repository) -> None:
    renewal = renew(repository)
    assert renewal.renewed == ()
    assert renewal.due == ()
    assert renewal.published.timestamp == 2


def test_what_is_past_half_its_life_is_signed_anew(store: DirectoryStore, keys: RoleKeys) -> None:
    old = new_repository(store, keys, now=ago(days=20))
    online = reopened(old, Keyring([keys.devices, keys.snapshot, keys.timestamp]))
    renewal = renew(online)
    assert set(renewal.renewed) == {DEVICES, *(f"{BIN_PREFIX}-{number}" for number in range(4))}
    assert [end.role for end in expiries(online) if end.due] == []
    assert renew(online).renewed == ()


def test_what_only_offline_keys_renew_is_said(store: DirectoryStore, keys: RoleKeys) -> None:
    repository = new_repository(store, keys, now=ago(days=60))
    renewal = renew(reopened(repository))
    assert [end.role for end in renewal.due] == [TARGETS]
    repository.now = ago(days=0)
    repository.publish_targets({})
    assert renew(repository).due == ()


def test_lifetimes_can_be_chosen(store: DirectoryStore) -> None:
    settings = RepositorySettings(bin_bits=1, lifetimes=Lifetimes(timestamp_days=1, snapshot_days=2, devices_days=3))
    repository = new_repository(store, settings=settings)
    lives = {end.role: round((end.expires - repository.now()).total_seconds() / 86400) for end in expiries(repository)}
    assert lives == {"root": 365, TARGETS: 90, DEVICES: 3, "bin-0": 3, SNAPSHOT: 2, TIMESTAMP: 1}


# --- the whole of it


def test_a_sound_repository_has_no_problems(repository: Repository) -> None:
    repository.publish_targets({MANIFEST: Target(b"manifest")})
    repository.assign({device_id(number): b"run it" for number in range(3)})
    verified = verify_repository(repository)
    assert (verified.root, verified.timestamp, verified.targets, verified.devices) == (1, 3, 1, 3)
    assert verified.problems == ()


def test_every_damaged_file_is_named(store: DirectoryStore, keys: RoleKeys) -> None:
    repository = new_repository(store, keys, now=ago(days=4))
    repository.publish_targets({MANIFEST: Target(b"manifest"), "releases/b/1/x": Target(b"x")})
    first, second = sorted(found.key for found in store.list("targets/releases/"))
    store.delete(second)
    store.put(first, b"changed")
    assert verify_repository(reopened(repository)).problems == (
        f"timestamp ran out on {(repository.now() + timedelta(days=3)):%Y-%m-%d}",
        f"{MANIFEST} is not the signed one",
        "releases/b/1/x is missing",
    )


def test_garbage_goes_and_nothing_else(repository: Repository, device: Device) -> None:
    repository.publish_targets({MANIFEST: Target(b"manifest"), "releases/old/1/x": Target(b"old")})
    for number in range(5):
        repository.assign({device_id(1): b"offer %d" % number})
    repository.remove_targets(["releases/old/1/x"])
    repository.store.put(key_of("bin-0", 99), b"left by a crash")
    assert collect_garbage(repository) == ()

    repository.now = ago(days=-8)
    gone = collect_garbage(repository)
    assert key_of("bin-0", 99) in gone
    assert any(key.startswith("targets/releases/old/") for key in gone)
    assert sorted(found.key for found in repository.store.list("metadata/") if "snapshot" in found.key) == [
        key_of(SNAPSHOT, repository.read().basis.snapshot.version)
    ]
    repository.now = ago(days=0)
    assert verify_repository(repository).problems == ()
    assert device.read(MANIFEST) == b"manifest"
    assert device.read(f"devices/{device_id(1)}") == b"offer 4"
    assert collect_garbage(repository) == ()


def test_an_edition_that_was_current_within_the_grace_period_stays(repository: Repository) -> None:
    import os
    import time

    repository.assign({device_id(1): b"first"})
    month_ago = time.time() - 30 * 86400
    assert isinstance(repository.store, DirectoryStore)
    for file in repository.store.folder.rglob("*"):
        os.utime(file, (month_ago, month_ago))
    repository.assign({device_id(1): b"second"})  # until now, devices were reading the first
    assert set(collect_garbage(repository)) == {
        key_of(SNAPSHOT, 1),
        key_of(repository.read().bin_of(f"devices/{device_id(1)}"), 1),
    }
