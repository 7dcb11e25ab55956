from __future__ import annotations

import itertools
import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.samples import CONTENT_KEY, FACTS, HEADER, each_bit_flipped
from tinymlops.errors import FormatError, UntrustedError
from tinymlops.wire import sealing
from tinymlops.wire.encoding import encode_packed
from tinymlops.wire.fields import MOST_MODEL_BYTES
from tinymlops.wire.sealing import CHUNK_BYTES, Cipher, PackageHeader, SealedModel, read_header, seal, unseal

TAG = 16
SMALL = 32
THREE_CHUNKS = bytes(range(3 * SMALL))
REJECTED = (FormatError, UntrustedError)
ciphers = pytest.mark.parametrize("cipher", list(Cipher))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 32 bytes, so that a package of several is small enough to try everything. No setting does this."""
    monkeypatch.setattr(sealing, "CHUNK_BYTES", SMALL)


def _start(package: bytes | bytearray) -> int:
    return 8 + int.from_bytes(package[4:8], "big")


def _chunks(package: bytes) -> list[bytes]:
    body, step = package[_start(package) :], SMALL + TAG
    return [body[at : at + step] for at in range(0, len(body), step)]


def _with(header: PackageHeader, *chunks: bytes) -> bytes:
    packed = encode_packed(header)
    return b"".join((b"TMZ\x01", len(packed).to_bytes(4, "big"), packed, *chunks))


# --- what was sealed comes back


@ciphers
@pytest.mark.parametrize(
    "length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5]
)
def test_the_payload_comes_back(cipher: Cipher, length: int) -> None:
    payload = os.urandom(length)
    package = seal(payload, CONTENT_KEY, FACTS, cipher)
    assert unseal(package, CONTENT_KEY) == payload
    assert unseal(memoryview(package), CONTENT_KEY) == payload
    chunks = max(1, -(-length // CHUNK_BYTES))
    assert len(package) == _start(package) + length + TAG * chunks


@ciphers
@pytest.mark.usefixtures("small_chunks")
@given(payload=st.binary(max_size=200))
def test_any_payload_comes_back(cipher: Cipher, payload: bytes) -> None:
    assert unseal(seal(payload, CONTENT_KEY, FACTS, cipher), CONTENT_KEY) == payload


def test_the_header_says_what_was_sealed() -> None:
    facts = msgspec.structs.replace(FACTS, base="6c" * 32)
    header = read_header(seal(b"payload", CONTENT_KEY, facts, Cipher.AES_256_GCM))
    assert (header.v, header.cipher, header.payload_bytes, header.chunk_bytes) == (1, "aes-256-gcm", 7, 65536)
    assert SealedModel(**{name: getattr(header, name) for name in SealedModel.__struct_fields__}) == facts


def test_two_packages_never_share_a_nonce_prefix_by_design() -> None:
    packages = [seal(b"payload", CONTENT_KEY, FACTS, Cipher.AES_256_GCM) for _ in range(50)]
    assert len({read_header(package).nonce_prefix for package in packages}) == 50


@pytest.mark.usefixtures("small_chunks")
def test_the_nonces_of_one_package_all_differ() -> None:
    nonces = [
        nonce for _, nonce in sealing._chunks(read_header(seal(THREE_CHUNKS, CONTENT_KEY, FACTS, Cipher.AES_256_GCM)))
    ]
    assert [nonce[7:].hex() for nonce in nonces] == ["0000000000", "0000000100", "0000000201"]
    assert len({nonce[:7] for nonce in nonces}) == 1


# --- what was changed does not


@ciphers
@pytest.mark.usefixtures("small_chunks")
def test_every_single_bit_counts(cipher: Cipher) -> None:
    package = seal(THREE_CHUNKS, CONTENT_KEY, FACTS, cipher)
    for changed in each_bit_flipped(package):
        with pytest.raises(REJECTED):
            unseal(changed, CONTENT_KEY)


@ciphers
@pytest.mark.usefixtures("small_chunks")
def test_every_truncation_and_every_extra_byte_is_rejected(cipher: Cipher) -> None:
    package = seal(THREE_CHUNKS, CONTENT_KEY, FACTS, cipher)
    for changed in (*(package[:length] for length in range(len(package))), package + b"\x00", package * 2):
        with pytest.raises(REJECTED):
            unseal(changed, CONTENT_KEY)


@ciphers
@pytest.mark.usefixtures("small_chunks")
def test_chunks_stay_where_they_are(cipher: Cipher) -> None:
    """Every choice of one to four of the three chunks, in any order, also where the header's length is made to fit."""
    package = seal(THREE_CHUNKS, CONTENT_KEY, FACTS, cipher)
    header, chunks = read_header(package), _chunks(package)
    for count in range(5):
        for chosen in itertools.product(range(3), repeat=count):
            bodies = [chunks[number] for number in chosen]
            fitting = msgspec.structs.replace(header, payload_bytes=count * SMALL)
            for changed in (package[: _start(package)] + b"".join(bodies), _with(fitting, *bodies)):
                if changed != package:
                    with pytest.raises(REJECTED):
                        unseal(changed, CONTENT_KEY)


@ciphers
@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("other_key", [CONTENT_KEY, bytes(32)], ids=["same key", "other key"])
def test_chunks_do_not_move_into_another_package(cipher: Cipher, other_key: bytes) -> None:
    """Even where the owner made the mistake of one key for two packages, and even under one nonce prefix."""
    one = seal(THREE_CHUNKS, CONTENT_KEY, FACTS, cipher)
    other = seal(THREE_CHUNKS, other_key, msgspec.structs.replace(FACTS, key_id="activity-6-int8"), cipher)
    same_prefix = msgspec.structs.replace(read_header(other), nonce_prefix=read_header(one).nonce_prefix)
    for origins in itertools.product((one, other), repeat=4):
        bodies = [_chunks(origin)[number] for number, origin in enumerate(origins[1:])]
        if len(set(map(id, origins))) > 1:
            with pytest.raises(REJECTED):
                unseal(origins[0][: _start(origins[0])] + b"".join(bodies), CONTENT_KEY)
            with pytest.raises(REJECTED):
                unseal(_with(same_prefix, *bodies), CONTENT_KEY)


@ciphers
@pytest.mark.parametrize(
    "change",
    [
        {"key_id": "activity-8-int8"},
        {"encoding": "patch-zstd"},
        {"sha256": "5e" * 32},
        {"base": "5e" * 32},
        {"size": 1001},
        {"nonce_prefix": bytes(7)},
        {"cipher": Cipher.AES_256_GCM},
        {"cipher": Cipher.CHACHA20_POLY1305},
    ],
    ids=str,
)
def test_no_word_of_the_header_can_be_replaced(cipher: Cipher, change: dict[str, object]) -> None:
    package = seal(b"payload", CONTENT_KEY, FACTS, cipher)
    header = read_header(package)
    changed = PackageHeader(**{**{name: getattr(header, name) for name in header.__struct_fields__}, **change})
    if changed != header:
        with pytest.raises(UntrustedError, match="does not hold"):
            unseal(_with(changed, package[_start(package) :]), CONTENT_KEY)


def test_the_header_counts_as_it_is_spelt() -> None:
    """The same fields in another order are another header: nobody can write one package in two ways."""
    package = seal(b"payload", CONTENT_KEY, FACTS, Cipher.AES_256_GCM)
    fields = msgspec.msgpack.decode(package[8 : _start(package)])
    for other in (dict(reversed(fields.items())), {**fields, "new": 1}):
        packed = msgspec.msgpack.encode(other)
        changed = b"TMZ\x01" + len(packed).to_bytes(4, "big") + packed + package[_start(package) :]
        assert read_header(changed) == read_header(package)
        with pytest.raises(UntrustedError):
            unseal(changed, CONTENT_KEY)


@ciphers
@pytest.mark.parametrize("offset", [0, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + TAG, 2 * (CHUNK_BYTES + TAG), -1])
def test_chunks_of_the_real_size_hold_as_well(cipher: Cipher, offset: int) -> None:
    package = bytearray(seal(bytes(2 * CHUNK_BYTES + 100), CONTENT_KEY, FACTS, cipher))
    package[offset if offset < 0 else _start(package) + offset] ^= 1
    with pytest.raises(UntrustedError, match=f"the seal of package {FACTS.key_id} does not hold"):
        unseal(bytes(package), CONTENT_KEY)


@ciphers
def test_no_other_key_opens_it(cipher: Cipher) -> None:
    package = seal(b"payload", CONTENT_KEY, FACTS, cipher)
    for other in each_bit_flipped(CONTENT_KEY):
        with pytest.raises(UntrustedError):
            unseal(package, other)


# --- sizes, and what is no package


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_shorter_key_is_not_a_weaker_seal(length: int) -> None:
    """AES takes 16 bytes as well; a package never does."""
    with pytest.raises(FormatError, match="32 bytes"):
        seal(b"payload", bytes(length), FACTS, Cipher.AES_256_GCM)
    with pytest.raises(UntrustedError, match="32 bytes"):
        unseal(seal(b"payload", CONTENT_KEY, FACTS, Cipher.AES_256_GCM), bytes(length))


@pytest.mark.parametrize(
    "change",
    [
        {"payload_bytes": -1},
        {"payload_bytes": 2**40},
        {"payload_bytes": 2**64 - 1},
        {"size": -2},
        {"size": MOST_MODEL_BYTES + 1},
        {"chunk_bytes": 0},
        {"chunk_bytes": -1},
        {"chunk_bytes": 1},
        {"chunk_bytes": 2**31},
        {"nonce_prefix": b""},
        {"nonce_prefix": bytes(12)},
        {"cipher": "rot13"},
        {"key_id": "a\n"},
        {"key_id": "../key"},
        {"sha256": "5D" * 32},
        {"v": 2},
    ],
    ids=str,
)
def test_an_impossible_header_is_refused_before_memory_is_taken(change: dict[str, object]) -> None:
    fields = msgspec.to_builtins(HEADER, builtin_types=(bytes,))
    packed = msgspec.msgpack.encode({**fields, **change})
    package = b"TMZ\x01" + len(packed).to_bytes(4, "big") + packed + bytes(38)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_header(package)
        with pytest.raises(FormatError):
            unseal(package, CONTENT_KEY)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_a_header_that_promises_more_than_came_takes_no_memory() -> None:
    promised = msgspec.structs.replace(HEADER, payload_bytes=200_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="has 38 encrypted bytes and not"):
            unseal(_with(promised, bytes(38)), CONTENT_KEY)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "package",
    [
        b"",
        b"TMZ\x01",
        b"TMZ\x02" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"TMZ\x01\xff\xff\xff\xff" + bytes(100),
        b"TMZ\x01\x00\x00\x10\x01" + bytes(5000),
        b"TMZ\x01\x00\x00\x00\x00",
        b"TMZ\x01\x00\x00\x00\x01\xc0",
    ],
)
def test_what_is_no_package_is_refused(package: bytes) -> None:
    with pytest.raises(FormatError):
        read_header(package)


def test_nothing_is_sealed_that_could_not_be_opened() -> None:
    with pytest.raises(FormatError, match="the header of a package can't be read"):
        seal(b"payload", CONTENT_KEY, msgspec.structs.replace(FACTS, sha256=""), Cipher.AES_256_GCM)


@pytest.mark.parametrize(
    ("cpuinfo", "cipher"),
    [
        ("flags\t\t: fpu sse2 aes avx\n", Cipher.AES_256_GCM),
        ("Features\t: fp asimd aes pmull\n", Cipher.AES_256_GCM),
        ("flags\t\t: fpu sse2 vaes_like aesni\n", Cipher.CHACHA20_POLY1305),
        ("model name\t: aes machine\nFeatures\t: half thumb\n", Cipher.CHACHA20_POLY1305),
        ("", Cipher.CHACHA20_POLY1305),
    ],
)
def test_the_cpu_decides_on_the_cipher(cpuinfo: str, cipher: Cipher, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert sealing.preferred_cipher(tmp_path / "cpuinfo") is cipher


def test_a_machine_that_says_nothing_gets_the_cipher_for_everywhere(tmp_path: Path) -> None:
    assert sealing.preferred_cipher(tmp_path / "absent") is Cipher.CHACHA20_POLY1305
