"""``tinymlops keys`` as a person meets it."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tinymlops.cli.main import cli
from tinymlops.errors import ReleaseError, StorageError, TinyMLOpsError, UnknownNameError, UntrustedError, UsageError
from tinymlops.releases import key_files
from tinymlops.releases.key_files import load_keyring, open_repository, read_key, read_public_key
from tinymlops.releases.repository import Target
from tinymlops.releases.verification import verify_repository
from tinymlops.store import DirectoryStore

SECRET = "correct horse battery"  # noqa: S105


@pytest.fixture(autouse=True)
def premises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of its own, and a passphrase in a file."""
    (tmp_path / "passphrase").write_text(f"{SECRET}\n")
    for name in ("TINYMLOPS_STORE", "TINYMLOPS_KEYS", "TINYMLOPS_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TINYMLOPS_STATE", str(tmp_path))
    monkeypatch.setenv("TINYMLOPS_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)
    monkeypatch.chdir(tmp_path)


def keys(*arguments: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["keys", *arguments], input=answers)


def done(*arguments: str, answers: str | None = None) -> str:
    result = keys(*arguments, answers=answers)
    assert result.exception is None, (result.output, result.exception)
    return result.output


def refused(*arguments: str, answers: str | None = None) -> TinyMLOpsError:
    result = keys(*arguments, answers=answers)
    assert isinstance(result.exception, TinyMLOpsError), (result.output, result.exception)
    return result.exception


def created(*arguments: str) -> str:
    return done("create", "--bin-bits", "1", "--passphrase-file", "passphrase", *arguments)


def test_all_keys_are_made_and_nobody_else_can_read_them(tmp_path: Path) -> None:
    said = created()
    made = {path.relative_to(tmp_path / "keys").as_posix(): path for path in (tmp_path / "keys").rglob("*.*")}
    assert sorted(made) == sorted(
        [
            *(f"offline/root-{number}.{kind}" for number in (1, 2, 3) for kind in ("pem", "pub")),
            *(f"offline/targets.{kind}" for kind in ("pem", "pub")),
            *(f"online/{role}.{kind}" for role in ("devices", "snapshot", "timestamp") for kind in ("pem", "pub")),
            "online/root.json",
            "online/vault.key",
            "root.json",
        ]
    )
    for name, path in made.items():
        secret = path.suffix in {".pem", ".key"}
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if secret else 0o644), name
        if path.suffix == ".pem":
            assert (b"ENCRYPTED" in path.read_bytes()) == name.startswith("offline/")
    assert len(made["online/vault.key"].read_bytes()) == 32
    assert "One each to different people or places" in said
    assert SECRET not in said


def test_the_repository_begins_and_can_be_used(tmp_path: Path) -> None:
    created()
    store = DirectoryStore(tmp_path / "store")
    owner = open_repository(store, tmp_path / "keys", passphrase=lambda _path: SECRET.encode())
    owner.publish_targets({"releases/a/1/x": Target(b"x")})
    server = open_repository(store, tmp_path / "keys" / "online")
    server.assign({"0" * 32: b"run it"})
    assert verify_repository(owner).problems == ()
    assert "1 files of releases, 1 devices" in done("check")


def test_development_keys_are_loud_and_need_no_passphrase(tmp_path: Path) -> None:
    said = done("create", "--development", "--bin-bits", "1")
    assert "DEVELOPMENT KEYS" in said
    assert not any(b"ENCRYPTED" in file.read_bytes() for file in (tmp_path / "keys").rglob("*.pem"))
    done("rotate", "timestamp")


def test_a_passphrase_can_be_made(tmp_path: Path) -> None:
    said = done("create", "--bin-bits", "1", answers="\n")
    found = re.search(r"Passphrase: ([a-z2-7]{4}(?:-[a-z2-7]{4}){5})\n", said)
    assert found
    read_key(tmp_path / "keys/offline/root-1.pem", lambda _path: found[1].encode())


def test_a_passphrase_can_be_typed(tmp_path: Path) -> None:
    said = done("create", "--bin-bits", "1", answers=f"{SECRET}\n{SECRET}\n")
    assert SECRET not in said
    read_key(tmp_path / "keys/offline/root-1.pem", lambda _path: SECRET.encode())


def test_a_short_passphrase_is_refused() -> None:
    assert "of 5 characters is too short" in str(refused("create", answers="short\nshort\n"))
    assert "the two passphrases differ" in str(refused("create", answers=f"{SECRET}\n{SECRET}?\n"))


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    created()
    before = {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*.*")}
    for arguments in (["create"], ["create", "--store", "other"]):
        error = refused(*arguments, "--passphrase-file", "passphrase")
        assert isinstance(error, (UsageError, ReleaseError))
    assert "root-1.pem exists already" in str(refused("new", "root-1", "--out", "keys/offline"))
    assert {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*.*")} == before


def test_a_store_in_use_is_refused_before_keys_are_made(tmp_path: Path) -> None:
    created()
    error = refused("create", "--keys", "others", "--passphrase-file", "passphrase")
    assert "there is a repository" in str(error)
    assert not (tmp_path / "others").exists()


def test_more_signatures_than_keys_can_not_be(tmp_path: Path) -> None:
    error = refused("create", "--root-keys", "2", "--threshold", "3", "--passphrase-file", "passphrase")
    assert "3 signatures of 2 root keys can't be" in str(error)
    assert not (tmp_path / "keys").exists()


def test_show_names_keys_places_and_ends() -> None:
    created()
    said = done("show")
    assert "Root 1, until 20" in said
    assert "2 of its root keys must sign" in said
    assert "offline/root-2.pem" in said
    assert "It has all signatures." in said
    assert re.search(r"timestamp +runs out 20\d\d-", said)


def test_a_wrong_passphrase_is_one_sentence(tmp_path: Path) -> None:
    created()
    (tmp_path / "wrong").write_text("another long one")
    error = refused("rotate", "timestamp", "--passphrase-file", "wrong")
    assert re.search(r"root-1.pem does not open .*: check the passphrase", str(error))


@pytest.mark.parametrize("role", ["targets", "devices", "snapshot", "timestamp"])
def test_a_key_is_exchanged(tmp_path: Path, role: str) -> None:
    created()
    said = done("rotate", role, "--passphrase-file", "passphrase")
    folder = "offline" if role == "targets" else "online"
    (fresh,) = (tmp_path / "keys" / folder).glob(f"{role}-*.pem")
    assert (b"ENCRYPTED" in fresh.read_bytes()) == (role == "targets")
    assert f"The {role} key is now {fresh}" in said
    (tmp_path / "keys" / folder / f"{role}.pem").unlink()
    owner = open_repository(
        DirectoryStore(tmp_path / "store"), tmp_path / "keys", passphrase=lambda _path: SECRET.encode()
    )
    owner.publish_targets({"releases/a/1/x": Target(b"x")})
    owner.assign({"0" * 32: b"run it"})
    assert "All is well" in done("check")


def test_a_root_key_is_exchanged_by_name() -> None:
    created()
    assert "it is not clear which key" in str(refused("rotate", "root", "--passphrase-file", "passphrase"))
    (first,) = re.findall(r"root +([0-9a-f]{16}).*root-1.pem", done("show"))
    done("rotate", "root", "--replaces", first, "--passphrase-file", "passphrase")
    assert first not in done("show")


def test_renew_needs_the_online_keys_alone(tmp_path: Path) -> None:
    created()
    for file in (tmp_path / "keys" / "offline").iterdir():
        file.unlink()
    assert "Renewed: timestamp 2, snapshot, and 0 that were due." in done("renew")


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    created()
    server = open_repository(DirectoryStore(tmp_path / "store"), tmp_path / "keys" / "online")
    server.assign({"0" * 32: b"run it"})
    for found in list(server.store.list("targets/")):
        server.store.delete(found.key)
    result = keys("check")
    assert isinstance(result.exception, UntrustedError)
    assert f"devices/{'0' * 32} is missing" in result.output


def test_root_keys_that_never_meet(tmp_path: Path) -> None:
    for place in ("anna", "bert", "carla"):
        done("new", "root", "--out", place, "--passphrase-file", "passphrase")
    done("new", "targets", "--out", "keys/offline", "--passphrase-file", "passphrase")
    for role in ("devices", "snapshot", "timestamp"):
        done("new", role, "--out", "keys/online", "--open")
    add = [f"--add=root={place}/root.pub" for place in ("anna", "bert", "carla")]
    add += ["--add=targets=keys/offline/targets.pub"]
    add += [f"--add={role}=keys/online/{role}.pub" for role in ("snapshot", "timestamp")]
    assert "Signatures still needed: 2" in done("draft", "--first", "--out", "draft.json", *add)
    for place in ("anna", "carla"):
        (tmp_path / place / "draft.json").write_bytes((tmp_path / "draft.json").read_bytes())
        done("sign", f"{place}/draft.json", "--key", f"{place}/root.pem", "--passphrase-file", "passphrase")
    assert "has all signatures" in done("combine", "anna/draft.json", "carla/draft.json", "--out", "root.json")
    with pytest.raises(AssertionError, match="UntrustedError"):
        done("publish", "anna/draft.json", "--passphrase-file", "passphrase")
    done("publish", "root.json", "--passphrase-file", "passphrase")
    assert "All is well: root 1" in done("check")
    assert (tmp_path / "keys/online/vault.key").stat().st_size == 32

    done("draft", "--threshold", "3", "--out", "next.json")
    assert "Signatures still needed: 3" in done("show", "next.json")
    for place in ("anna", "bert", "carla"):
        done("sign", "next.json", "--key", f"{place}/root.pem", answers=f"{SECRET}\n")
    assert "Root 2 is in force" in done("publish", "next.json", "--passphrase-file", "passphrase")
    assert "All is well: root 2" in done("check")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--add", "root"], UsageError, "is not a role and a key"),
        (["--add", "root="], UsageError, "is not a role and a key"),
        (["--add", "rot=keys/offline/targets.pub"], UnknownNameError, "did you mean 'root'"),
        (["--add", "root=nowhere.pub"], StorageError, "nowhere.pub can't be read"),
        (["--add", "root=passphrase"], ReleaseError, "passphrase is not a public key"),
        (["--remove", "root=0000"], ReleaseError, "the root role has no key 0000"),
        (["--threshold", "4"], ReleaseError, "4 signatures of 3 root keys"),
    ],
)
def test_a_draft_that_makes_no_sense(words: list[str], error: type[TinyMLOpsError], message: str) -> None:
    created()
    found = refused("draft", "--out", "draft.json", *words)
    assert isinstance(found, error)
    assert message in str(found)


def test_files_that_are_no_keys_are_one_sentence(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    other = generate_private_key(SECP256R1())
    (tmp_path / "other.pem").write_bytes(
        other.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    )
    (tmp_path / "other.pub").write_bytes(
        other.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "text.pem").write_text("no key")
    with pytest.raises(ReleaseError, match="is not an Ed25519 key"):
        read_key(tmp_path / "other.pem")
    with pytest.raises(ReleaseError, match="is not an Ed25519 key"):
        read_public_key(tmp_path / "other.pub")
    with pytest.raises(ReleaseError, match="text.pem does not open"):
        read_key(tmp_path / "text.pem")
    with pytest.raises(StorageError, match="nothing.pem can't be read"):
        read_key(tmp_path / "nothing.pem")
    with pytest.raises(ReleaseError, match="there are no keys"):
        load_keyring([tmp_path / "empty"])
    with pytest.raises(ReleaseError, match="there is no root.json"):
        key_files.trusted_root(tmp_path / "somewhere" / "else")


def test_an_encrypted_key_without_a_passphrase_says_so(tmp_path: Path) -> None:
    created()
    with pytest.raises(ReleaseError, match="is encrypted: give its passphrase"):
        read_key(tmp_path / "keys/offline/root-1.pem")


def test_a_folder_that_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AssertionError, match="StorageError"):
        done("new", "root", "--out", "file/below", "--open")
