"""Content keys come back for whoever has the vault key, under their own id, unchanged; and for nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinymlops.errors import ReleaseError, UntrustedError, UsageError
from tinymlops.releases.vault import Vault, new_vault_key
from tinymlops.store import DirectoryStore, NotFoundError

KEY, CONTENT_KEY = new_vault_key(), bytes(range(32))
ENTRY = "content-keys/release-1"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def test_keys_come_back(store: DirectoryStore) -> None:
    vault = Vault(store, KEY)
    vault.put("release-1", CONTENT_KEY)
    vault.put("release-2", bytes(32))
    assert vault.get("release-1") == CONTENT_KEY
    assert Vault(store, KEY).get("release-2") == bytes(32)
    assert sorted(vault.list()) == ["release-1", "release-2"]


def test_an_unknown_id_is_named(store: DirectoryStore) -> None:
    with pytest.raises(NotFoundError, match="release-1"):
        Vault(store, KEY).get("release-1")


def test_an_id_keeps_its_key(store: DirectoryStore) -> None:
    Vault(store, KEY).put("release-1", CONTENT_KEY)
    Vault(store, KEY).put("release-1", CONTENT_KEY)
    with pytest.raises(ReleaseError, match="holds another key called release-1"):
        Vault(store, KEY).put("release-1", bytes(32))
    assert Vault(store, KEY).get("release-1") == CONTENT_KEY


def test_the_store_holds_no_content_key(store: DirectoryStore) -> None:
    Vault(store, KEY).put("release-1", CONTENT_KEY)
    assert CONTENT_KEY[:8] not in store.get(ENTRY)


def test_another_vault_key_opens_nothing(store: DirectoryStore) -> None:
    Vault(store, KEY).put("release-1", CONTENT_KEY)
    with pytest.raises(UntrustedError, match="release-1 does not open: check the vault key"):
        Vault(store, new_vault_key()).get("release-1")


def test_an_entry_under_another_id_does_not_open(store: DirectoryStore) -> None:
    Vault(store, KEY).put("release-1", CONTENT_KEY)
    store.put("content-keys/release-2", store.get(ENTRY))
    with pytest.raises(UntrustedError):
        Vault(store, KEY).get("release-2")


def test_every_flipped_bit_and_every_cut_is_refused(store: DirectoryStore) -> None:
    Vault(store, KEY).put("release-1", CONTENT_KEY)
    sealed = store.get(ENTRY)
    changed = [sealed[:end] for end in range(len(sealed))] + [sealed + b"\0"]
    for bit in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        changed.append(bytes(flipped))
    for content in changed:
        (store.folder / ENTRY).write_bytes(content)
        with pytest.raises(UntrustedError):
            Vault(store, KEY).get("release-1")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=100))
def test_any_bytes_as_an_entry_are_refused(store: DirectoryStore, content: bytes) -> None:
    (store.folder / "content-keys").mkdir(exist_ok=True)
    (store.folder / ENTRY).write_bytes(content)
    with pytest.raises(UntrustedError):
        Vault(store, KEY).get("release-1")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_vault_key_has_32_bytes(store: DirectoryStore, length: int) -> None:
    with pytest.raises(UsageError, match=f"a vault key of {length} bytes can't be"):
        Vault(store, bytes(length))


@pytest.mark.parametrize("key_id", ["", "a/b", "..", "a b", "k" * 65])
def test_an_id_is_a_word(store: DirectoryStore, key_id: str) -> None:
    for use in (Vault(store, KEY).get, lambda key_id: Vault(store, KEY).put(key_id, CONTENT_KEY)):
        with pytest.raises(UsageError, match="is no key id"):
            use(key_id)
