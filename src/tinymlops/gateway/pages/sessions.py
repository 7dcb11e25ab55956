"""Who is logged in: a signed cookie that ends by itself, and earlier at a log-out.

Nothing of the operator's token is in it. Its key comes from the gateway's own key and the token's digest, so that it
holds after a restart and at every gateway with the same key, and falls with a new token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from itsdangerous import BadSignature, URLSafeSerializer
from starlette.requests import Request

from tinymlops.gateway.keys import GatewayKey

COOKIE = "tinymlops-session"
LIFE_S = 8 * 3600
_MOST_ENDED = 10_000


class Session(msgspec.Struct, frozen=True):
    """Someone who is logged in.

    Attributes:
        name: Random.
        until_s: When it ends, in seconds since 1970.
        form: What a form of this session must bring along.
    """

    name: str
    until_s: int
    form: str


class Sessions:
    """Begins, checks and ends sessions.

    Args:
        key: Of the gateway.
        token_sha256: Digest of the operator's token; None lets nobody in.
        clock: Seconds since 1970.
    """

    def __init__(self, key: GatewayKey, token_sha256: str | None, clock: Callable[[], float]) -> None:
        self._expected = token_sha256
        self._clock = clock
        secret = hashlib.sha256(key.signature(f"tinymlops/session/v1/{token_sha256}".encode())).digest()
        self._signer = URLSafeSerializer(secret, salt="fleet", signer_kwargs={"digest_method": hashlib.sha256})
        # Of this gateway alone: another one believes a cookie that was copied before the log-out until it ends.
        self._ended: OrderedDict[str, None] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """Whether there is a token to log in with."""
        return self._expected is not None

    def begin(self, token_sha256: str) -> str | None:
        """The cookie of a new session, or None where the token is not the operator's."""
        if self._expected is None or not hmac.compare_digest(token_sha256, self._expected):
            return None
        return self._signer.dumps([secrets.token_urlsafe(16), int(self._clock()) + LIFE_S, secrets.token_urlsafe(16)])

    def find(self, cookie: str | None) -> Session | None:
        """The session that a cookie stands for, or None."""
        if not cookie or self._expected is None:
            return None
        try:
            session = Session(*msgspec.convert(self._signer.loads(cookie), tuple[str, int, str]))
        except (BadSignature, msgspec.ValidationError):
            return None
        return None if session.name in self._ended or self._clock() >= session.until_s else session

    def end(self, session: Session) -> None:
        """Believe its cookie no more."""
        self._ended[session.name] = None
        if len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)


def is_from_here(request: Request) -> bool:
    """Whether a form was sent from a page of this gateway, as far as the browser says; programs say nothing."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
