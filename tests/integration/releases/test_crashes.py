"""A crash at every single write: devices see the old repository or the new one, and the same call goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from securesystemslib.signer import CryptoSigner

from tests.support.repositories import FEW_BINS, Device, ago, device_id, key_id, new_repository, signed_root
from tinymlops.releases.creation import create_repository
from tinymlops.releases.edition import utc_now
from tinymlops.releases.garbage import collect_garbage
from tinymlops.releases.keyring import RoleKeys
from tinymlops.releases.renewal import renew
from tinymlops.releases.repository import Repository, Target
from tinymlops.releases.roles import DEVICES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from tinymlops.releases.rotation import rotate
from tinymlops.releases.verification import verify_repository
from tinymlops.store import DirectoryStore, ETag

T = TypeVar("T")
MANIFEST = "releases/activity/1/int8.manifest"
MINE = f"devices/{device_id(1)}"
KEYS = RoleKeys.generate()
FRESH = CryptoSigner.generate_ed25519()


class Crash(BaseException):
    """The process is gone: nothing may catch it."""


class CrashingStore(DirectoryStore):
    """Dies at one of its writes, before or after it took effect.

    Args:
        folder: See `DirectoryStore`.
        at: Number of the write, from 0.
        done: Whether the write still takes effect.
    """

    def __init__(self, folder: Path, at: int, *, done: bool) -> None:
        super().__init__(folder)
        self._left, self._done = at, done

    def put_many(self, contents: Mapping[str, bytes]) -> None:
        for key, content in contents.items():  # one by one: a crash leaves any part of them
            self._write(lambda key=key, content=content: DirectoryStore.put_many(self, {key: content}))  # type: ignore[misc]

    def put_if_absent(self, key: str, content: bytes) -> ETag | None:
        return self._write(lambda: DirectoryStore.put_if_absent(self, key, content))

    def put_if_match(self, key: str, content: bytes, etag: ETag) -> ETag | None:
        return self._write(lambda: DirectoryStore.put_if_match(self, key, content, etag))

    def delete(self, key: str) -> None:
        self._write(lambda: DirectoryStore.delete(self, key))

    def _write(self, write: Callable[[], T]) -> T:
        self._left -= 1
        if self._left == -1 and not self._done:
            raise Crash
        result = write()
        if self._left == -1:
            raise Crash
        return result


def opened(store: DirectoryStore, root: bytes) -> Repository:
    return Repository(store, KEYS.keyring().with_(FRESH), trusted_root=root, settings=FEW_BINS)


JOBS: dict[str, Callable[[Repository], object]] = {
    "publish": lambda repository: repository.publish_targets(
        {MANIFEST: Target(b"new"), "releases/activity/2/x": Target(b"x")}
    ),
    "remove": lambda repository: repository.remove_targets([MANIFEST]),
    "assign": lambda repository: repository.assign({device_id(number): b"new" for number in range(4)}),
    "unassign": lambda repository: repository.unassign([device_id(1)]),
    "renew": renew,
    "collect garbage": lambda repository: collect_garbage(repository, grace_s=-60),
    "rotate root": lambda repository: rotate(repository, ROOT, FRESH, replaces=key_id(KEYS.root[0])),
    "rotate targets": lambda repository: rotate(repository, TARGETS, FRESH),
    "rotate snapshot": lambda repository: rotate(repository, SNAPSHOT, FRESH),
    "rotate timestamp": lambda repository: rotate(repository, TIMESTAMP, FRESH),
    "rotate devices": lambda repository: rotate(repository, DEVICES, FRESH),
}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository in ``store`` that a device has seen whose memory is in ``device``."""
    folder = tmp_path_factory.mktemp("before")
    store = DirectoryStore(folder / "store")
    repository = new_repository(store, KEYS, now=ago(days=2))
    repository.publish_targets({MANIFEST: Target(b"old")})
    repository.assign({device_id(number): b"old" for number in range(4)})
    Device(store, repository.files.root_bytes, folder / "device").refresh()
    return folder


@pytest.mark.parametrize("done", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("job", JOBS)
def test_a_crash_leaves_the_old_repository_or_the_new_one(before: Path, tmp_path: Path, job: str, done: bool) -> None:
    root = (before / "store" / "metadata" / "1.root.json").read_bytes()
    at = 0
    while True:
        folder = tmp_path / str(at)
        shutil.copytree(before, folder)
        try:
            JOBS[job](opened(CrashingStore(folder / "store", at, done=done), root))
        except Crash:
            check_after_crash(job, DirectoryStore(folder / "store"), root, folder)
            at += 1
            continue
        break
    assert at >= 2


def check_after_crash(job: str, store: DirectoryStore, root: bytes, folder: Path) -> None:
    device = Device(store, root, folder / "device")
    seen = (device.read(MANIFEST), device.read(MINE))
    assert seen[0] in (b"old", {"publish": b"new", "remove": None}.get(job, b"old"))
    assert seen[1] in (b"old", {"assign": b"new", "unassign": None}.get(job, b"old"))
    repository = opened(store, root)
    assert verify_repository(repository).problems == ()
    if not job.startswith("rotate"):
        JOBS[job](repository)
    repository.publish_targets({MANIFEST: Target(b"later")})
    repository.assign({device_id(1): b"later"})
    assert (device.read(MANIFEST), device.read(MINE)) == (b"later", b"later")
    assert verify_repository(repository).problems == ()


@pytest.mark.parametrize("done", [False, True], ids=["before the write", "after the write"])
def test_a_crash_while_a_repository_begins_leaves_none_or_a_whole_one(tmp_path: Path, done: bool) -> None:
    root = signed_root(KEYS, now=utc_now)
    at = 0
    while True:
        folder = tmp_path / str(at)
        try:
            create(CrashingStore(folder, at, done=done), root)
        except Crash:
            store = DirectoryStore(folder)
            if not (folder / "metadata" / "timestamp.json").exists():
                create(store, root)
            assert verify_repository(opened(store, root)).problems == ()
            Device(store, root, tmp_path / f"device-{at}").refresh()
            at += 1
            continue
        break
    assert at == 9  # root, four bins, devices, targets, snapshot, timestamp


def create(store: DirectoryStore, root: bytes) -> None:
    create_repository(store, KEYS.keyring(), root=root, devices_key=KEYS.devices, settings=FEW_BINS)
