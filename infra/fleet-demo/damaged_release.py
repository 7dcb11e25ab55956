"""Publish a release as a broken build machine would: the newest one's self-tests, and weights with some bits lost.

Signatures, seals and digests are all in order: nothing but the devices' own self-test can tell.
"""

from __future__ import annotations

import time

import msgspec
import numpy as np

from tinymlops.files import sha256
from tinymlops.model_file import read_model
from tinymlops.premises import Premises
from tinymlops.wire.encoding import decode
from tinymlops.wire.manifest import Manifest


def damaged(model: bytes) -> bytes:
    """``model`` with the sign of every fourth weight of its largest layer turned."""
    largest = max(read_model(model, "model").weight_tensors(), key=lambda tensor: tensor.values.nbytes)
    raw = largest.values.tobytes()
    at = model.index(raw)
    weights = np.frombuffer(raw, largest.values.dtype).copy()
    weights[::4] = -weights[::4]
    return model[:at] + weights.tobytes() + model[at + len(raw) :]


publisher = Premises.from_environment().publisher()
newest = publisher.records.newest("activity")
if newest is None:
    raise SystemExit("There is no release of activity: run `tinymlops release activity` first.")
manifests, models = [], {}
for variant in newest.variants:
    manifest = decode(publisher.repository.target(variant.manifest), Manifest)
    model = damaged(publisher.model(newest, variant.sha256))
    models[sha256(model)] = model
    manifests.append(msgspec.structs.replace(manifest, version=newest.version + 1, sha256=sha256(model)))
record = publisher.publish(manifests, models, why="damaged on purpose", now_s=time.time())
print(f"Release {record.version} of activity: damaged, and nobody knows yet.")
