"""Out of a sealed package into memory, and back under a key that this device alone can open. Never onto a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
from backports import zstd

from tinymlops.errors import UntrustedError
from tinymlops.wire import deltas, sealing
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.key_wrapping import new_content_key, unwrap, wrap
from tinymlops.wire.manifest import Manifest

_QUICK_LEVEL = 3


class Key(msgspec.Struct, frozen=True):
    """How to open a package.

    Attributes:
        key_id: Names its content key.
        wrapped: That key, wrapped for this device.
    """

    key_id: str
    wrapped: bytes


def open_package(
    package: bytes, key: Key, keys: DeviceKeys, manifest: Manifest, base: Callable[[], bytes] | None = None
) -> bytes:
    """The model in a package, in memory and verified against its manifest.

    Args:
        package: Sealed.
        key: Opens it.
        keys: Of this device.
        manifest: Says what the model is.
        base: Gives the model that a difference starts from.

    Raises:
        UntrustedError: Key, seal or digest do not hold, or it is another package than the key's.
        FormatError: It is no package, or does not decode.
    """
    header = sealing.read_header(package)
    if header.key_id != key.key_id or header.sha256 != manifest.sha256 or header.size != manifest.size:
        raise UntrustedError("a package holds another model than its manifest says", "the owner has to publish it anew")
    payload = sealing.unseal(package, unwrap(key.wrapped, keys, key.key_id))
    start = None if not header.base or base is None else base()
    model = deltas.apply(header.encoding, payload, base=start, size=manifest.size)
    if hashlib.sha256(model).hexdigest() != manifest.sha256:
        raise UntrustedError("a model is not the one that its manifest names", "it is not used; fetch it again")
    return model


def seal_again(model: bytes, manifest: Manifest, keys: DeviceKeys) -> tuple[bytes, Key]:
    """A whole package of ``model`` under a fresh key of this device's own, and that key."""
    digest = manifest.sha256
    content_key = new_content_key()
    key_id = f"own-{hashlib.sha256(content_key).hexdigest()[:16]}"
    facts = sealing.SealedModel(key_id=key_id, encoding=deltas.Encoding.ZSTD, sha256=digest, size=len(model))
    payload = zstd.compress(model, _QUICK_LEVEL)
    package = sealing.seal(payload, content_key, facts, sealing.preferred_cipher())
    return package, Key(key_id, wrap(content_key, keys.public, key_id))
