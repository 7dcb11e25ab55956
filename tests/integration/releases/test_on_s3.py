"""The repository in a real bucket: the same promises, and publishers that are processes of their own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from tests.support.repositories import FEW_BINS, Device, device_id, new_repository
from tests.support.seaweedfs import S3Server
from tinymlops.releases.creation import create_repository
from tinymlops.releases.key_files import create_keys, load_keyring, open_repository, read_key
from tinymlops.releases.repository import Repository, Target
from tinymlops.releases.rotation import rotate
from tinymlops.releases.verification import verify_repository
from tinymlops.store import DirectoryStore, ObjectStore, open_store

MANIFEST = "releases/activity/1/int8.manifest"
PUBLISHERS, EACH = 3, 4


def test_devices_read_a_repository_in_a_bucket(s3_server: S3Server, tmp_path: Path) -> None:
    repository = new_repository(s3_server.store())
    device = Device(repository.store, repository.files.root_bytes, tmp_path / "device")
    repository.publish_targets({MANIFEST: Target(b"manifest")})
    repository.assign({device_id(number): b"of %d" % number for number in range(10)})
    rotate(repository, "timestamp", CryptoSigner.generate_ed25519())
    assert device.read(MANIFEST) == b"manifest"
    assert device.read(f"devices/{device_id(7)}") == b"of 7"
    assert verify_repository(repository).problems == ()


@pytest.fixture(params=["directory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ObjectStore, dict[str, str]]:
    """A store, and the environment in which another process reaches it."""
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store"), {}
    server: S3Server = request.getfixturevalue("s3_server")
    return server.store(), server.environment()


def begun(store: ObjectStore, keys: Path) -> Repository:
    root = create_keys(keys, passphrase=None)
    devices = read_key(keys / "online" / "devices.pem")
    return create_repository(store, load_keyring([keys]), root=root, devices_key=devices, settings=FEW_BINS)


def publisher(
    store: ObjectStore, environment: dict[str, str], keys: Path, first: int, count: int
) -> subprocess.Popen[bytes]:
    """A process that assigns ``count`` devices from ``first`` on, one commit each."""
    command = [sys.executable, __file__, store.address, str(keys), str(first), str(count)]
    return subprocess.Popen(command, env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_publishers_that_are_processes_lose_nothing(place: tuple[ObjectStore, dict[str, str]], tmp_path: Path) -> None:
    store, environment = place
    repository = begun(store, tmp_path / "keys")
    running = [publisher(store, environment, tmp_path / "keys", number * EACH, EACH) for number in range(PUBLISHERS)]
    try:
        assert [process.wait(timeout=180) for process in running] == [0] * PUBLISHERS
    finally:
        for process in running:
            process.kill()
            process.wait()
    for number in range(PUBLISHERS * EACH):
        assert repository.assignment(device_id(number)) == b"of %d" % number
    assert verify_repository(repository).problems == ()


def test_a_killed_publisher_leaves_a_whole_repository(
    place: tuple[ObjectStore, dict[str, str]], tmp_path: Path
) -> None:
    store, environment = place
    repository = begun(store, tmp_path / "keys")
    device = Device(store, repository.files.root_bytes, tmp_path / "device")
    published = 0
    for attempt in range(4):
        process = publisher(store, environment, tmp_path / "keys", 1000 * attempt, 1000)
        _wait_for_a_commit(repository, process)
        time.sleep(0.2 * random.random())  # noqa: S311 - no secret
        assert process.poll() is None
        process.kill()
        process.wait(timeout=30)
        device.refresh()
        verified = verify_repository(repository)
        assert verified.problems == ()
        assert verified.devices > published
        published = verified.devices
    repository.assign({device_id(9_999): b"after all"})
    assert device.read(f"devices/{device_id(9_999)}") == b"after all"


def _wait_for_a_commit(repository: Repository, process: subprocess.Popen[bytes]) -> None:
    before, end = repository.read().basis.timestamp.version, time.monotonic() + 60
    while repository.read().basis.timestamp.version < before + 2:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)


def _publish(address: str, keys: str, first: str, count: str) -> None:
    repository = open_repository(open_store(address), Path(keys) / "online", settings=FEW_BINS)
    for number in range(int(first), int(first) + int(count)):
        repository.assign({device_id(number): b"of %d" % number})


if __name__ == "__main__":
    _publish(*sys.argv[1:])
