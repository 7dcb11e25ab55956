"""What releases cost: publishing for one device of many, what a device downloads, and differences of real models.

``python bench/releases.py`` prints all of it; about four minutes, most of them training the models.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from bench.retrained_models import CHANGES, LARGE, LARGE_HEAD, SMALL, Shape, retrained_models
from tinymlops.files import sha256
from tinymlops.releases.creation import create_repository
from tinymlops.releases.deltas import candidates, smallest
from tinymlops.releases.edition import Edition, utc_now
from tinymlops.releases.keyring import RoleKeys
from tinymlops.releases.metadata_files import key_of
from tinymlops.releases.repository import Repository
from tinymlops.releases.roles import SNAPSHOT, RepositorySettings
from tinymlops.releases.roots import ROOT_ROLES, first_root, sign_root
from tinymlops.store import DirectoryStore
from tinymlops.wire.deltas import apply
from tinymlops.wire.key_wrapping import new_content_key
from tinymlops.wire.sealing import Cipher, SealedModel, seal

ASSIGNMENT_BYTES = 600
PUBLISH_GOAL_MS = 20
GOALS = {"head": 0.10, "fine-tuned": 0.40}


def main() -> None:
    """Print every figure with its goal."""
    with tempfile.TemporaryDirectory(prefix="tinymlops-bench-") as name:
        publishing(Path(name))
    for shape in (SMALL, LARGE, LARGE_HEAD):
        differences(shape)


def publishing(folder: Path) -> None:
    """One device's offer, against signing everything anew; and what the device downloads then."""
    for devices, bin_bits in ((10_000, 8), (10_000, 10), (100_000, 8), (100_000, 10)):
        repository = _repository(folder / f"{devices}-{bin_bits}", bin_bits)
        repository.assign({_id(number): _assignment(number) for number in range(devices)})
        busy = time.process_time()
        one = median(_ms(partial(repository.assign, {_id(number): b"new"})) for number in range(20))
        busy = (time.process_time() - busy) / 20 * 1000
        everything = _ms(partial(repository.edit, _sign_all_anew))
        goal = f"; goal under {PUBLISH_GOAL_MS} ms" if devices == 10_000 else ""
        fetched = _fetched_bytes(repository) / 1000
        print(
            f"{devices:7,} devices, {2**bin_bits:5,} bins: one device {one:5.1f} ms, {busy:.1f} of them CPU{goal};",
            end=" ",
        )
        print(
            f"all metadata anew {everything:6.0f} ms, ratio {one / everything:.4f}; a device fetches {fetched:.1f} KB"
        )


def differences(shape: Shape) -> None:
    """Size of each encoding, and of the sealed package that is chosen, against the whole one."""
    models = retrained_models(shape)
    first = models["first"]
    print(f"{shape.name}: {len(first):,} bytes")
    for change in CHANGES:
        new = models[change]
        found = candidates(first, new)
        encoding, payload = smallest(first, new)
        took = _ms(partial(apply, encoding, payload, base=first, size=len(new)))
        share = _sealed_bytes(first, new) / _sealed_bytes(None, new)
        sizes = "  ".join(f"{name} {len(content) / len(new):6.1%}" for name, content in found.items())
        goal = f"; goal at most {GOALS[change]:.0%}" if change in GOALS else ""
        print(f"  {change:10} of the file: {sizes}")
        print(f"  {'':10} {encoding} package is {share:6.1%} of the whole one, applied in {took:.1f} ms{goal}")


def _repository(place: Path, bin_bits: int) -> Repository:
    keys = RoleKeys.generate()
    public = {role: [getattr(keys, role).public_key] for role in ROOT_ROLES if role != "root"}
    public["root"] = [key.public_key for key in keys.root]
    root = sign_root(first_root(public, threshold=2, now=utc_now()), keys.root)
    settings = RepositorySettings(bin_bits=bin_bits)
    store = DirectoryStore(place)
    return create_repository(store, keys.keyring(), root=root, devices_key=keys.devices, settings=settings)


def _sign_all_anew(edition: Edition) -> None:
    for name in edition.bins():
        edition.change(name)


def _fetched_bytes(repository: Repository) -> int:
    """Timestamp, snapshot, one bin and the assignment: what one device reads when its offer has changed."""
    edition = repository.read()
    name = edition.bin_of(f"devices/{_id(0)}")
    keys = (
        "metadata/timestamp.json",
        key_of(SNAPSHOT, edition.basis.snapshot.version),
        key_of(name, edition.bin(name).version),
    )
    return sum(repository.store.head(key).size for key in keys) + ASSIGNMENT_BYTES


def _sealed_bytes(old: bytes | None, new: bytes) -> int:
    encoding, payload = smallest(old, new)
    facts = SealedModel(
        key_id="0" * 32, encoding=encoding, sha256=sha256(new), size=len(new), base=sha256(old) if old else ""
    )
    return len(seal(payload, new_content_key(), facts, Cipher.AES_256_GCM))


def _id(number: int) -> str:
    return f"{number:032x}"


def _assignment(number: int) -> bytes:
    return number.to_bytes(4, "big") * (ASSIGNMENT_BYTES // 4)


def _ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
