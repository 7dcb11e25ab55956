"""Keys that go and come, in one sitting or in several, while devices of every age go on updating."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from tests.support.repositories import FEW_BINS, Device, ago, device_id, key_id, new_repository, signed_root
from tinymlops.errors import ReleaseError, UntrustedError
from tinymlops.releases.edition import utc_now
from tinymlops.releases.keyring import Keyring, RoleKeys
from tinymlops.releases.metadata_files import key_of
from tinymlops.releases.renewal import expiries
from tinymlops.releases.repository import Repository, Target
from tinymlops.releases.roles import DEVICES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from tinymlops.releases.roots import combine_roots, first_root, next_root, root_status, sign_root
from tinymlops.releases.rotation import publish_root, rotate
from tinymlops.releases.verification import verify_repository
from tinymlops.store import DirectoryStore

MANIFEST = "releases/activity/1/int8.manifest"
MINE = f"devices/{device_id(1)}"


@pytest.fixture
def keys() -> RoleKeys:
    return RoleKeys.generate()


@pytest.fixture
def repository(tmp_path: Path, keys: RoleKeys) -> Repository:
    repository = new_repository(DirectoryStore(tmp_path / "store"), keys)
    repository.publish_targets({MANIFEST: Target(b"manifest")})
    repository.assign({device_id(1): b"run it"})
    return repository


@pytest.fixture
def old_device(repository: Repository, tmp_path: Path) -> Device:
    """One that has seen the repository before anything was exchanged."""
    device = Device(repository.store, repository.files.root_bytes, tmp_path / "device")
    device.refresh()
    return device


def new_device(repository: Repository, keys: RoleKeys, tmp_path: Path) -> Device:
    return Device(repository.store, repository.store.get(key_of(ROOT, 1)), tmp_path / "new-device")


def replaced_key(repository: Repository, role: str, keys: RoleKeys) -> str | None:
    return key_id(keys.root[0]) if role == ROOT else None


@pytest.mark.parametrize("role", [ROOT, TARGETS, SNAPSHOT, TIMESTAMP, DEVICES])
def test_devices_follow_an_exchanged_key(
    repository: Repository, keys: RoleKeys, old_device: Device, tmp_path: Path, role: str
) -> None:
    fresh = CryptoSigner.generate_ed25519()
    rotate(repository, role, fresh, replaces=replaced_key(repository, role, keys))
    old_keys = {ROOT: [key_id(keys.root[0])]}.get(role) or [key_id(getattr(keys, role))]
    repository.keyring = repository.keyring.without(*old_keys)
    repository.publish_targets({MANIFEST: Target(b"after")})
    repository.assign({device_id(1): b"run this"})
    for device in (old_device, new_device(repository, keys, tmp_path)):
        assert device.read(MANIFEST) == b"after"
        assert device.read(MINE) == b"run this"
    assert verify_repository(repository).problems == ()


@pytest.mark.parametrize("role", [ROOT, TARGETS, SNAPSHOT, TIMESTAMP, DEVICES])
def test_an_exchanged_key_signs_nothing_more(repository: Repository, keys: RoleKeys, role: str) -> None:
    rotate(repository, role, CryptoSigner.generate_ed25519(), replaces=replaced_key(repository, role, keys))
    only_old = Repository(repository.store, keys.keyring(), trusted_root=repository.files.root_bytes, settings=FEW_BINS)
    if role == ROOT:
        draft = next_root(repository.files.root_bytes, now=utc_now())
        signed = sign_root(draft, keys.root[:1])
        assert root_status(signed, repository.files.root_bytes).missing == 2
        return
    with pytest.raises(ReleaseError, match="and 0 of them are here"):
        only_old.publish_targets({}) if role != DEVICES else only_old.assign({device_id(1): b""})


def test_a_device_that_slept_through_many_roots_follows_all(
    repository: Repository, keys: RoleKeys, old_device: Device
) -> None:
    rotate(repository, ROOT, CryptoSigner.generate_ed25519(), replaces=key_id(keys.root[0]))
    for role in (TIMESTAMP, SNAPSHOT, TARGETS, TIMESTAMP):
        rotate(repository, role, CryptoSigner.generate_ed25519())
    rotate(repository, ROOT, CryptoSigner.generate_ed25519(), replaces=key_id(keys.root[1]))
    assert repository.files.root().version == 7
    assert old_device.read(MINE) == b"run it"


def test_it_must_be_clear_which_key_goes(repository: Repository, keys: RoleKeys) -> None:
    fresh = CryptoSigner.generate_ed25519()
    for replaces in (None, "nothing like it"):
        with pytest.raises(ReleaseError, match="it is not clear which key of the root role goes"):
            rotate(repository, ROOT, fresh, replaces=replaces)
    with pytest.raises(ReleaseError, match="there is no role 'tragets'"):
        rotate(repository, "tragets", fresh)


def test_an_online_machine_alone_exchanges_nothing(repository: Repository, keys: RoleKeys) -> None:
    repository.keyring = Keyring([keys.devices, keys.snapshot, keys.timestamp, keys.root[0]])
    with pytest.raises(ReleaseError, match="1 more of the root keys must sign: draft the root here"):
        rotate(repository, TIMESTAMP, CryptoSigner.generate_ed25519())
    with pytest.raises(ReleaseError, match="the targets metadata needs"):
        rotate(repository, DEVICES, CryptoSigner.generate_ed25519())
    assert repository.files.root().version == 1


# --- several sittings: no two root keys on one machine


def test_two_of_three_sign_in_separate_places(repository: Repository, keys: RoleKeys, old_device: Device) -> None:
    fresh = CryptoSigner.generate_ed25519()
    current = repository.files.root_bytes
    draft = next_root(
        current, now=utc_now(), add={TIMESTAMP: [fresh.public_key]}, remove={TIMESTAMP: [key_id(keys.timestamp)]}
    )
    assert root_status(draft, current).missing == 2
    here, there = sign_root(draft, [keys.root[0]]), sign_root(draft, [keys.root[2]])
    assert root_status(here, current).missing == 1
    both = combine_roots([here, there])
    status = root_status(both, current)
    assert (status.version, status.missing, set(status.signed_by)) == (
        2,
        0,
        {key_id(keys.root[0]), key_id(keys.root[2])},
    )
    online = Repository(
        repository.store,
        Keyring([keys.devices, keys.snapshot, keys.timestamp, fresh]),
        trusted_root=current,
        settings=FEW_BINS,
    )
    publish_root(online, both)
    assert old_device.read(MINE) == b"run it"


def test_a_root_with_one_of_two_signatures_goes_nowhere(
    repository: Repository, keys: RoleKeys, old_device: Device
) -> None:
    draft = next_root(repository.files.root_bytes, now=utc_now())
    strangers = RoleKeys.generate().root
    for signers in ((), keys.root[:1], (keys.root[0], *strangers)):
        signed = sign_root(draft, signers)
        with pytest.raises(UntrustedError, match="the new root is not signed as it should be"):
            publish_root(repository, signed)
        repository.store.put(key_of(ROOT, 2), signed)  # somebody who can write to the store
        with pytest.raises(RepositoryError):
            old_device.refresh()
        with pytest.raises(UntrustedError):
            repository.targets()
        repository.store.delete(key_of(ROOT, 2))


def test_a_root_with_new_root_keys_needs_old_and_new(repository: Repository, keys: RoleKeys) -> None:
    fresh = [CryptoSigner.generate_ed25519() for _ in range(3)]
    current = repository.files.root_bytes
    draft = next_root(
        current,
        now=utc_now(),
        add={ROOT: [key.public_key for key in fresh]},
        remove={ROOT: [key_id(key) for key in keys.root]},
        threshold=3,
    )
    for signers, missing in (((), 3), (keys.root, 3), (fresh, 2), ((*keys.root[:2], *fresh[:2]), 1)):
        assert root_status(sign_root(draft, signers), current).missing == missing
        with pytest.raises(UntrustedError):
            publish_root(repository, sign_root(draft, signers))
    publish_root(repository, sign_root(draft, (*keys.root[:2], *fresh)))
    assert repository.files.root().version == 2


def test_a_longer_life_needs_no_new_key(tmp_path: Path, keys: RoleKeys) -> None:
    repository = new_repository(DirectoryStore(tmp_path / "store"), keys, now=ago(days=360))
    assert expiries(repository)[0].due is False
    repository.now = utc_now
    assert expiries(repository)[0].due is True
    draft = next_root(repository.files.root_bytes, now=utc_now())
    repository.publish_targets({})
    publish_root(repository, sign_root(draft, keys.root[:2]))
    assert expiries(repository)[0].due is False


def test_drafts_that_differ_do_not_mix(repository: Repository, keys: RoleKeys) -> None:
    first = next_root(repository.files.root_bytes, now=utc_now())
    second = next_root(repository.files.root_bytes, now=utc_now(), threshold=1)
    with pytest.raises(ReleaseError, match="copies of different drafts"):
        combine_roots([first, second])


def test_a_root_that_came_first_wins(repository: Repository, keys: RoleKeys) -> None:
    draft = sign_root(next_root(repository.files.root_bytes, now=utc_now()), keys.root)
    other = sign_root(next_root(repository.files.root_bytes, now=ago(days=1)()), keys.root)
    publish_root(repository, other)
    with pytest.raises(ReleaseError, match="the new root is version 2, and 2 is published"):
        publish_root(repository, draft)
    assert repository.store.get(key_of(ROOT, 2)) == other


def test_lost_keys_can_be_replaced_all_the_same(repository: Repository, keys: RoleKeys, old_device: Device) -> None:
    fresh = CryptoSigner.generate_ed25519()
    current = repository.files.root_bytes
    draft = next_root(
        current, now=utc_now(), add={TIMESTAMP: [fresh.public_key]}, remove={TIMESTAMP: [key_id(keys.timestamp)]}
    )
    signed = sign_root(draft, keys.root[:2])
    survivor = Repository(
        repository.store, Keyring([keys.devices, keys.snapshot, fresh]), trusted_root=current, settings=FEW_BINS
    )
    with pytest.raises(ReleaseError, match="the timestamp metadata needs 1 of the keys"):
        publish_root(survivor, signed)
    publish_root(survivor, signed, old_keys_lost=True)
    survivor.assign({device_id(1): b"run this"})
    assert old_device.read(MINE) == b"run this"


def test_a_publisher_with_the_old_key_in_between_does_not_stop_the_exchange(
    repository: Repository, keys: RoleKeys, old_device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Repository(repository.store, keys.keyring(), trusted_root=repository.files.root_bytes, settings=FEW_BINS)
    put = DirectoryStore.put_if_absent

    def publish_just_before_the_root(store: DirectoryStore, key: str, content: bytes) -> object:
        if key == key_of(ROOT, 2) and not store_was_used:
            store_was_used.append(late.assign({device_id(2): b"late"}))
        return put(store, key, content)

    store_was_used: list[object] = []
    monkeypatch.setattr(DirectoryStore, "put_if_absent", publish_just_before_the_root)
    rotate(repository, TIMESTAMP, CryptoSigner.generate_ed25519())
    assert store_was_used
    assert old_device.read(f"devices/{device_id(2)}") == b"late"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda public: first_root(public, threshold=4, now=utc_now()), "4 signatures of 3 root keys"),
        (lambda public: first_root(public, threshold=0, now=utc_now()), "0 signatures of 3 root keys"),
        (lambda public: first_root(public | {SNAPSHOT: []}, threshold=2, now=utc_now()), "1 signatures of 0 snapshot"),
    ],
)
def test_a_root_that_nobody_could_sign_is_not_drafted(
    keys: RoleKeys, make: Callable[[dict[str, list[object]]], bytes], words: str
) -> None:
    public: dict[str, list[object]] = {
        role: [getattr(keys, role).public_key] for role in (TARGETS, SNAPSHOT, TIMESTAMP)
    }
    public[ROOT] = [key.public_key for key in keys.root]
    with pytest.raises(ReleaseError, match=words):
        make(public)


def test_a_key_that_is_not_there_can_not_go(keys: RoleKeys) -> None:
    with pytest.raises(ReleaseError, match="the root role has no key 00000000"):
        next_root(signed_root(keys), now=utc_now(), remove={ROOT: ["0" * 64]})


def test_one_signature_is_counted_once(repository: Repository, keys: RoleKeys) -> None:
    draft = next_root(repository.files.root_bytes, now=utc_now())
    twice = combine_roots([sign_root(draft, [keys.root[0]]), sign_root(draft, [keys.root[0]])])
    assert root_status(twice, repository.files.root_bytes).missing == 1
    assert len(Metadata.from_bytes(twice).signatures) == 1
