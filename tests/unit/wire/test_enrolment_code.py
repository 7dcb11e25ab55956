from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.samples import CODE, GATEWAY_KEY, ROOT
from tinymlops.errors import UntrustedError, UsageError
from tinymlops.wire.enrolment_code import EnrolmentCode, secret_digest

PARTS = st.binary(min_size=15, max_size=15)


@given(PARTS, PARTS)
def test_a_code_comes_back_however_it_was_typed(secret: bytes, anchor: bytes) -> None:
    code = EnrolmentCode(secret, anchor)
    for text in (str(code), str(code).lower(), f"  {code}\n"):
        assert EnrolmentCode.parse(text) == code
    assert len(str(code)) == 53


@given(PARTS, PARTS, st.integers(4, 52), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_two_codes_never_mean_the_same(secret: bytes, anchor: bytes, at: int, letter: str) -> None:
    text = str(EnrolmentCode(secret, anchor))
    changed = text[:at] + letter + text[at + 1 :]
    if changed != text:
        try:
            assert EnrolmentCode.parse(changed) != EnrolmentCode(secret, anchor)
        except UsageError:
            assert text[at] == "-"


@given(st.text())
def test_what_is_no_code_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="not an enrolment code"):
        EnrolmentCode.parse(text)


@pytest.mark.parametrize("change", [("TM1", "TM2"), ("TM1-", ""), ("A", "0"), ("A", "1"), ("-", "_"), ("A", "")])
def test_almost_a_code_is_none(change: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        EnrolmentCode.parse(str(CODE).replace(*change, 1))


def test_fresh_codes_share_the_anchor_and_nothing_else() -> None:
    one, other = EnrolmentCode.new(ROOT, GATEWAY_KEY), EnrolmentCode.new(ROOT, GATEWAY_KEY)
    assert one.anchor == other.anchor
    assert one.secret != other.secret


def test_the_anchor_holds_for_this_root_and_gateway_alone() -> None:
    CODE.check_anchor(ROOT, GATEWAY_KEY)
    for root, key in ((ROOT + b" ", GATEWAY_KEY), (ROOT, bytes(32)), (b"", GATEWAY_KEY), (ROOT + GATEWAY_KEY, b"")):
        with pytest.raises(UntrustedError, match="somebody sits in between"):
            CODE.check_anchor(root, key)


def test_the_gateway_keeps_a_digest_that_is_no_secret() -> None:
    digest = secret_digest(CODE.secret)
    assert digest == "337af8f6f48f0e88df5ab57d8cd333b2c2ebde425d799d7361c6fdc9aacd3a29"
    assert digest != secret_digest(bytes(15))


def test_the_secret_shows_only_where_it_is_asked_for() -> None:
    assert str(CODE).startswith("TM1-AAAQEAYEAUDAOCAJBIFQYDIO-")
    assert str(CODE)[4:28] not in repr(CODE)
    assert repr(CODE.secret) not in repr(CODE)
    assert CODE.anchor.hex() in repr(CODE)


@pytest.mark.parametrize("lengths", [(14, 15), (15, 16), (0, 0)])
def test_the_parts_of_a_code_have_their_length(lengths: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="15 bytes"):
        EnrolmentCode(bytes(lengths[0]), bytes(lengths[1]))
