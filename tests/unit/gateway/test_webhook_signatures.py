"""Who sent a webhook."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import UntrustedError, UsageError
from tinymlops.gateway.webhook_signatures import TOLERANCE_S, Secret, WebhookHeaders, check, read_headers, read_secrets

NOW_S = 1_900_000_000
SECRET = Secret(bytes(range(32)))
OTHER = Secret(bytes(32))


def headers(
    body: bytes = b"{}", *, secret: Secret = SECRET, name: str = "msg_1", time_s: int = NOW_S
) -> WebhookHeaders:
    return WebhookHeaders(webhook_id=name, timestamp_s=time_s, signatures=(secret.sign(name, time_s, body),))


def test_the_signature_is_the_one_that_standard_webhooks_publishes() -> None:
    # the vector of the reference libraries, https://github.com/standard-webhooks/standard-webhooks
    secret = Secret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(body=st.binary(max_size=200), name=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_what_was_signed_holds_and_nothing_else_does(body: bytes, name: str) -> None:
    signed = headers(body, name=name)
    check(signed, body, [OTHER, SECRET], now_s=NOW_S)
    for claimed, content, secrets in (
        (signed, body + b" ", [SECRET]),
        (signed, body, [OTHER]),
        (signed, body, []),
        (headers(body, name=name + "x"), body, [OTHER]),
        (WebhookHeaders(webhook_id=name + "x", timestamp_s=NOW_S, signatures=signed.signatures), body, [SECRET]),
        (WebhookHeaders(webhook_id=name, timestamp_s=NOW_S + 1, signatures=signed.signatures), body, [SECRET]),
        (WebhookHeaders(webhook_id=name, timestamp_s=NOW_S, signatures=("v1,", "v1,ä")), body, [SECRET]),
    ):
        with pytest.raises(UntrustedError, match="does not hold"):
            check(claimed, content, secrets, now_s=NOW_S)


@pytest.mark.parametrize("off_s", [TOLERANCE_S + 1, -TOLERANCE_S - 1])
def test_a_request_that_is_too_old_or_from_the_future_is_refused(off_s: int) -> None:
    with pytest.raises(UntrustedError, match="dated more than 300 seconds"):
        check(headers(time_s=NOW_S + off_s), b"{}", [SECRET], now_s=NOW_S)
    check(headers(time_s=NOW_S + off_s), b"{}", [SECRET], now_s=NOW_S + off_s)


def test_one_of_several_signatures_is_enough_while_a_secret_is_exchanged() -> None:
    read = read_headers(
        [
            ("Webhook-Id", "msg_1"),
            ("webhook-timestamp", str(NOW_S)),
            ("webhook-signature", f"v1a,x {OTHER.sign('msg_1', NOW_S, b'')} {SECRET.sign('msg_1', NOW_S, b'')}"),
        ]
    )
    assert len(read.signatures) == 2
    check(read, b"", [SECRET], now_s=NOW_S)


GOOD = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}


@pytest.mark.parametrize(
    "bad",
    [
        {"webhook-id": ""}, {"webhook-id": "a.1"}, {"webhook-id": "a" * 65}, {"webhook-id": "ä"},
        {"webhook-timestamp": ""}, {"webhook-timestamp": "-1"}, {"webhook-timestamp": "1.5"},
        {"webhook-timestamp": "٣"}, {"webhook-timestamp": "9" * 13},
        {"webhook-signature": ""}, {"webhook-signature": "v2,x"}, {"webhook-signature": "sha256=x"},
    ],
)  # fmt: skip
def test_headers_that_are_missing_or_malformed_are_refused(bad: dict[str, str]) -> None:
    read_headers(GOOD.items())
    with pytest.raises(UntrustedError, match="webhook-id"):
        read_headers({**GOOD, **bad}.items())


@pytest.mark.parametrize("name", GOOD)
def test_of_two_equal_headers_nobody_can_say_which_was_meant(name: str) -> None:
    with pytest.raises(UntrustedError):
        read_headers([*GOOD.items(), (name.title(), GOOD[name])])


def test_secrets_come_from_a_file_that_nobody_else_can_read(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"# the new one first\n{SECRET.text()}\n\n{OTHER.text()}\n")
    with pytest.raises(UsageError, match="chmod 600"):
        read_secrets(file)
    file.chmod(0o600)
    assert [one.text() for one in read_secrets(file)] == [SECRET.text(), OTHER.text()]
    with pytest.raises(UsageError, match="can't be read"):
        read_secrets(tmp_path / "nowhere")
    file.write_text("# nothing\n")
    with pytest.raises(UsageError, match="no secret"):
        read_secrets(file)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_c2hvcnQ=", "secret!", "whsec_ä", "whsec_" + "A" * 100])
def test_a_secret_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="is not whsec_") as raised:
        Secret.parse(text)
    assert not text.removeprefix("whsec_") or text.removeprefix("whsec_") not in str(raised.value)


def test_a_secret_never_shows_in_a_log() -> None:
    assert SECRET.text().removeprefix("whsec_")[:8] not in f"{SECRET!r} {SECRET}"
    assert Secret.generate().text() != Secret.generate().text()
