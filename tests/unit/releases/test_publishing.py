from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.owner import PROFILES, WORKLOAD, make_owner, tiny_manifest, tiny_model
from tinymlops.errors import ReleaseError, UntrustedError
from tinymlops.files import sha256
from tinymlops.releases.assigning import Recipient, make_assignment
from tinymlops.releases.publishing import unchanged
from tinymlops.wire import deltas
from tinymlops.wire.encoding import decode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.key_wrapping import unwrap
from tinymlops.wire.manifest import Manifest
from tinymlops.wire.sealing import Cipher, read_header, unseal


def test_a_release_lists_manifests_and_packages_for_every_kind_of_device(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)

    record = owner.release(1)

    listed = owner.publisher.repository.targets()
    assert [one.profile for one in record.variants] == list(PROFILES)
    assert {one.manifest for one in record.variants} <= set(listed)
    assert {one.path for one in record.packages[record.variants[0].sha256]} <= set(listed)
    assert {one.cipher for one in record.packages[record.variants[0].sha256]} == set(Cipher)
    assert owner.publisher.records.load(WORKLOAD, 1) == record


def test_a_manifest_is_published_as_it_was_given(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)

    record = owner.release(1)

    content = owner.publisher.repository.target(record.variants[1].manifest)
    assert decode(content, Manifest) == tiny_manifest(tiny_model(1), 1, PROFILES[1])


def test_no_package_holds_the_model_in_the_clear(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    owner.release(1)
    model = tiny_model(1)

    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert model[:64] not in file.read_bytes()


def test_a_released_model_comes_back_from_its_package(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    record = owner.release(1)

    assert owner.publisher.model(record, sha256(tiny_model(1))) == tiny_model(1)


def test_the_next_release_brings_differences_from_the_ones_before(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    models = [tiny_model(seed) for seed in (1, 2, 3)]
    for seed in (1, 2):
        owner.release(seed)

    record = owner.release(3)

    packages = record.packages[sha256(models[2])]
    assert {one.base for one in packages} == {"", sha256(models[0]), sha256(models[1])}
    for package in packages:
        content = owner.publisher.repository.target(package.path)
        payload = unseal(content, owner.publisher.vault.get(package.key_id))
        base = next((one for one in models if sha256(one) == package.base), None)
        made = deltas.apply(read_header(content).encoding, payload, base=base, size=len(models[2]))
        assert made == models[2]


def test_every_package_has_a_content_key_of_its_own(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    records = [owner.release(seed) for seed in (1, 2)]

    ids = [one.key_id for record in records for packages in record.packages.values() for one in packages]

    assert len({owner.publisher.vault.get(one) for one in ids}) == len(ids)


def test_a_crash_before_the_record_leaves_the_number_to_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = make_owner(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(type(owner.publisher.records), "keep", _crash)
        with pytest.raises(InterruptedError):
            owner.release(1)

    record = owner.release(2)

    assert record.version == 1
    assert owner.publisher.model(record, record.variants[0].sha256) == tiny_model(2)


def _crash(_self: object, _record: object) -> None:
    raise InterruptedError


def test_two_who_release_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    record = owner.release(1)

    with pytest.raises(ReleaseError, match="somebody else has just made release 1"):
        owner.publisher.records.keep(msgspec.structs.replace(record, why="other"))


def test_a_release_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    owner.release(1)

    with pytest.raises(ReleaseError, match="there is no release 7 of tiny: the releases are 1"):
        owner.publisher.records.load(WORKLOAD, 7)


def test_a_manifest_of_another_model_is_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    manifest = tiny_manifest(tiny_model(1), 1, PROFILES[0])

    with pytest.raises(ReleaseError, match="is not of its model"):
        owner.publisher.publish([manifest], {manifest.sha256: tiny_model(2)}, why="", now_s=0.0)


def test_manifests_of_two_versions_are_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    model = tiny_model(1)
    manifests = [tiny_manifest(model, version, PROFILES[0]) for version in (1, 2)]

    with pytest.raises(ReleaseError, match="of one workload and version, not of 2"):
        owner.publisher.publish(manifests, {sha256(model): model}, why="", now_s=0.0)


def test_the_same_variants_again_are_nothing_new(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    record = owner.release(1)
    same = [(one.profile, one.recipe, one.sha256) for one in record.variants]

    assert unchanged(record, same)
    assert not unchanged(record, same[:1])
    assert not unchanged(None, [])
    assert not unchanged(record, same, metered=True)


def test_a_record_says_whether_queries_have_to_be_paid_for(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    model = tiny_model(1)
    manifest = msgspec.structs.replace(tiny_manifest(model, 1, PROFILES[0]), metered=True)
    record = owner.publisher.publish([manifest], {sha256(model): model}, why="", now_s=0.0)

    assert record.metered
    assert owner.publisher.records.newest(WORKLOAD) == record
    assert not owner.release(1).metered


def test_an_assignment_is_for_one_device_alone(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    record, keys, other = owner.release(1), DeviceKeys.generate(), DeviceKeys.generate()
    recipient = Recipient(keys=keys.public, profile=PROFILES[0], cipher=Cipher.AES_256_GCM)

    assignment = make_assignment(recipient, [record], owner.publisher.vault, counter=3, now_s=1.0)

    (offer,) = assignment.offers[0].variants[0].packages
    assert (assignment.device_id, assignment.counter) == (keys.device_id, 3)
    assert offer.path.endswith("aes-256-gcm.tmz")
    content = owner.publisher.repository.target(offer.path)
    unseal(content, unwrap(offer.wrapped_key, keys, offer.key_id))
    with pytest.raises(UntrustedError):
        unwrap(offer.wrapped_key, other, offer.key_id)


def test_differences_are_offered_to_devices_that_can_start_from_them(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    owner.release(1)
    record, keys = owner.release(2), DeviceKeys.generate()
    recipient = Recipient(keys=keys.public, profile=PROFILES[0], cipher=Cipher.AES_256_GCM)
    knowing = msgspec.structs.replace(recipient, models=frozenset({sha256(tiny_model(1))}))

    without, with_ = (
        make_assignment(one, [record], owner.publisher.vault, counter=1, now_s=0.0).offers[0].variants[0].packages
        for one in (recipient, knowing)
    )

    assert [one.base for one in without] == [""]
    assert {one.base for one in with_} == {"", sha256(tiny_model(1))}
    assert [one.bytes for one in with_] == sorted(one.bytes for one in with_)


def test_a_kind_of_device_without_a_variant_is_named(tmp_path: Path) -> None:
    owner = make_owner(tmp_path)
    record = owner.release(1)
    recipient = Recipient(keys=DeviceKeys.generate().public, profile="toaster", cipher=Cipher.AES_256_GCM)

    with pytest.raises(ReleaseError, match="has no variant for toaster"):
        make_assignment(recipient, [record], owner.publisher.vault, counter=1, now_s=0.0)
