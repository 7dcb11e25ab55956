"""Every payload gives its model back, the shortest is taken, and a damaged one is one sentence, not a full memory."""

from __future__ import annotations

import lzma
import random
import tracemalloc

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import FormatError
from tinymlops.releases.deltas import candidates, smallest
from tinymlops.wire.deltas import Encoding, apply

models = st.binary(min_size=1, max_size=400)


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - no secret


def moved_a_little(model: bytes, seed: int) -> bytes:
    """Every byte one up, one down or as it was: what fine-tuning does to int8 weights."""
    generator = random.Random(seed)  # noqa: S311 - no secret
    return bytes((byte + generator.choice((-1, 0, 0, 0, 0, 1))) % 256 for byte in model)


@given(old=st.none() | models, new=models)
def test_every_candidate_gives_the_model_back(old: bytes | None, new: bytes) -> None:
    for encoding, payload in candidates(old, new).items():
        assert apply(encoding, payload, base=old, size=len(new)) == new


@given(old=models, new=models)
def test_the_smallest_is_never_larger_than_the_whole(old: bytes, new: bytes) -> None:
    whole, (encoding, payload) = smallest(None, new), smallest(old, new)
    assert whole[0] == Encoding.ZSTD
    assert len(payload) <= len(whole[1])
    assert apply(encoding, payload, base=old, size=len(new)) == new


def test_each_kind_of_change_has_its_encoding() -> None:
    old = noise(50_000, 1)
    assert smallest(None, old)[0] == Encoding.ZSTD
    assert smallest(old, moved_a_little(old, 3))[0] in {Encoding.SUBTRACT_ZSTD, Encoding.SUBTRACT_LZMA2}
    assert smallest(old, b"one byte more" + old)[0] == Encoding.PATCH_ZSTD


def test_a_difference_that_saves_next_to_nothing_is_not_made() -> None:
    old, new = noise(50_000, 1), noise(50_000, 2)
    assert smallest(old, new) == smallest(None, new)


@pytest.mark.parametrize("encoding", Encoding)
def test_every_cut_of_a_payload_is_refused(encoding: Encoding) -> None:
    old = noise(300, 1)
    new = moved_a_little(old, 2)
    payload = candidates(old, new)[encoding]
    for end in range(len(payload)):
        with pytest.raises(FormatError, match="does not decompress to 300 bytes"):
            apply(encoding, payload[:end], base=old, size=300)
    for wrong in (payload + b"\0", payload + payload):
        with pytest.raises(FormatError):
            apply(encoding, wrong, base=old, size=300)
    for size in (0, 1, 299, 301, 5_000):
        with pytest.raises(FormatError):
            apply(encoding, payload, base=old, size=size)


@given(
    encoding=st.sampled_from([*Encoding, "unknown"]),
    payload=st.binary(max_size=200),
    base=st.none() | models,
    size=st.integers(0, 1_000),
)
def test_any_bytes_are_a_model_of_that_size_or_refused(
    encoding: str, payload: bytes, base: bytes | None, size: int
) -> None:
    try:
        assert len(apply(encoding, payload, base=base, size=size)) == size
    except FormatError:
        return


@given(data=st.data())
def test_any_flipped_byte_is_a_model_of_that_size_or_refused(data: st.DataObject) -> None:
    old = noise(400, 1)
    encoding = data.draw(st.sampled_from(Encoding))
    payload = bytearray(candidates(old, moved_a_little(old, 2))[encoding])
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert len(apply(encoding, payload, base=old, size=400)) == 400
    except FormatError:
        return


def bomb(encoding: Encoding) -> bytes:
    content = bytes(64 << 20)
    if encoding == Encoding.SUBTRACT_LZMA2:
        return lzma.compress(content, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    return zstd.compress(content)


@pytest.mark.parametrize("encoding", Encoding)
def test_a_bomb_costs_no_more_memory_than_the_model(encoding: Encoding) -> None:
    payload = bomb(encoding)
    tracemalloc.start()
    with pytest.raises(FormatError):
        apply(encoding, payload, base=b"base", size=1_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_window_larger_than_the_model_is_refused() -> None:
    options = {int(zstd.CompressionParameter.window_log): 27, int(zstd.CompressionParameter.content_size_flag): 0}
    compressor = zstd.ZstdCompressor(options=options)
    payload = compressor.compress(b"a" * 500) + compressor.flush()
    with pytest.raises(FormatError):
        apply(Encoding.ZSTD, payload, base=None, size=500)


@pytest.mark.parametrize("encoding", [each for each in Encoding if each != Encoding.ZSTD])
def test_a_difference_without_its_base_says_so(encoding: Encoding) -> None:
    with pytest.raises(FormatError, match="needs the model that it starts from"):
        apply(encoding, b"", base=None, size=1)
