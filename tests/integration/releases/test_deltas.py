"""What devices download when a real model is trained on: the goals for differences, on models trained just now."""

from __future__ import annotations

import pytest

from bench.retrained_models import LARGE, SMALL, Shape, retrained_models
from tinymlops.files import sha256
from tinymlops.releases.deltas import smallest
from tinymlops.wire.deltas import Encoding, apply
from tinymlops.wire.key_wrapping import new_content_key
from tinymlops.wire.sealing import Cipher, SealedModel, seal

GOALS = {"head": 0.10, "fine-tuned": 0.40}


def package_bytes(old: bytes | None, new: bytes) -> int:
    """Size of what a device downloads, sealed as a release seals it; checked to give the model back."""
    encoding, payload = smallest(old, new)
    assert apply(encoding, payload, base=old, size=len(new)) == new
    assert (encoding == Encoding.ZSTD) == (old is None)
    base = sha256(old) if old else ""
    facts = SealedModel(key_id="0" * 32, encoding=encoding, sha256=sha256(new), size=len(new), base=base)
    return len(seal(payload, new_content_key(), facts, Cipher.AES_256_GCM))


@pytest.mark.parametrize(("shape", "bytes_about"), [(SMALL, 50_000), (LARGE, 700_000)], ids=["50 KB", "700 KB"])
def test_a_difference_is_a_fraction_of_the_whole_package(shape: Shape, bytes_about: int) -> None:
    models = retrained_models(shape)
    assert abs(len(models["first"]) - bytes_about) < 0.1 * bytes_about
    for change, goal in GOALS.items():
        share = package_bytes(models["first"], models[change]) / package_bytes(None, models[change])
        assert share <= goal, change
