"""Who asks: every request of a device is signed, in time, and never seen before.

In this order, cheapest and least believed first: the address's rate, the body's size, the form of the signature, the
device, the signature, the device's rate, the time. Whether the device is still let in and the nonce is new is decided
last, in the transaction that keeps the nonce: a revocation holds from its commit on (see `tinymlops.fleet.requests`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from urllib.parse import quote

import msgspec
from starlette.requests import Request

from tinymlops.errors import FormatError, RefusedError, UntrustedError
from tinymlops.fleet import Admission, Fleet, Heard, Verdict
from tinymlops.gateway.admissions import Admissions
from tinymlops.gateway.bodies import Bodies
from tinymlops.gateway.problems import Refusal
from tinymlops.gateway.rate_limits import RateLimiter
from tinymlops.gateway.signatures import verify
from tinymlops.wire import request_signing
from tinymlops.wire.messages import HealthReport, Problem
from tinymlops.wire.request_signing import RequestSignature, check, is_timely, read_signature

_MOST_KEYS = 100_000
_STRANGER = Problem("this device is not enrolled here", "enrol it with a code from the owner")
_SHUT_OUT = Problem("this device was revoked", "ask the owner; with new keys and a new code it can enrol again")


class Signed(msgspec.Struct, frozen=True):
    """A request whose signature holds.

    Attributes:
        device_id: Who signed.
        nonce: Of the request.
        body: What was signed.
    """

    device_id: str
    nonce: str
    body: bytes


class Authenticator:
    """Believes requests, or refuses them.

    Args:
        fleet: Knows the devices.
        admissions: Knows the nonces.
        bodies: Reads bodies.
        rates: Counts requests.
        clock: Seconds since 1970.
        threads: Where the database is waited for.
    """

    def __init__(
        self,
        *,
        fleet: Fleet,
        admissions: Admissions,
        bodies: Bodies,
        rates: RateLimiter,
        clock: Callable[[], float],
        threads: Executor,
    ) -> None:
        self._fleet = fleet
        self._admissions = admissions
        self._bodies = bodies
        self._rates = rates
        self._clock = clock
        self._threads = threads
        # A device's id is the digest of its keys, so a key that was read once is right for ever.
        self._keys: OrderedDict[str, bytes] = OrderedDict()

    @contextlib.asynccontextmanager
    async def signed(self, request: Request, *, most_bytes: int, timed: bool = True) -> AsyncIterator[Signed]:
        """The request, once its signature holds; `admit` is still to decide whether it counts.

        Args:
            request: As it arrives.
            most_bytes: Of its body.
            timed: Whether its time is held against the clock.

        Raises:
            Refusal: It is not believed.
        """
        self._rates.count_address(address_of(request))
        claimed = _claimed(request)
        async with self._bodies.read(request, most_bytes) as body:
            signing_key = await self._signing_key(claimed.device_id)
            _check(request, body, claimed, signing_key)
            self._rates.count_device(claimed.device_id)
            if timed:
                self._check_time(claimed)
            yield Signed(claimed.device_id, claimed.nonce, body)

    async def admit(self, signed: Signed, report: HealthReport | None = None) -> Admission:
        """Keep the nonce, and the health if there is any; durable when this returns.

        Raises:
            Refusal: The nonce is known, or the device was shut out.
        """
        heard = Heard(device_id=signed.device_id, nonce=signed.nonce, at_s=self._clock(), report=report)
        admission = await self._admissions.admit(heard)
        if admission.verdict == Verdict.REPLAYED:
            problem = Problem("this request was here before", "sign a new one, with another nonce")
            raise Refusal(409, "replay", problem)
        if admission.verdict == Verdict.REVOKED:
            raise Refusal(403, "revoked", _SHUT_OUT)
        return admission

    @contextlib.asynccontextmanager
    async def enrolling(self, request: Request, *, most_bytes: int) -> AsyncIterator[tuple[bytes, RequestSignature]]:
        """The body of a request to enrol, and what its signature claims: the key to check it with is in the body.

        Raises:
            Refusal: It is too large, not signed, or one of too many.
        """
        self._rates.count_address(address_of(request))
        self._rates.count_enrolment(address_of(request))
        claimed = _claimed(request)
        async with self._bodies.read(request, most_bytes) as body:
            yield body, claimed

    def check_enrolling(self, request: Request, body: bytes, claimed: RequestSignature, signing_key: bytes) -> None:
        """Check that whoever enrols holds the key that it brings, and that the request is not an old one.

        Raises:
            Refusal: Not so.
        """
        _check(request, body, claimed, signing_key)
        self._check_time(claimed)

    def _check_time(self, claimed: RequestSignature) -> None:
        now_s = self._clock()
        if not is_timely(claimed, now_s=now_s):
            problem = Problem(
                f"the request is dated more than {request_signing.CLOCK_WINDOW_S} seconds from the gateway's time",
                "ask /v1/time, and sign again",
                now_s=now_s,
            )
            raise Refusal(401, "time", problem)

    async def _signing_key(self, device_id: str) -> bytes:
        key = self._keys.get(device_id)
        if key is not None:
            self._keys.move_to_end(device_id)
            return key
        loop = asyncio.get_running_loop()
        device = await loop.run_in_executor(self._threads, self._fleet.find_device, device_id)
        if device is None:
            raise Refusal(401, "not enrolled", _STRANGER)
        self._keys[device_id] = device.keys.signing
        if len(self._keys) > _MOST_KEYS:
            self._keys.popitem(last=False)
        return device.keys.signing


def address_of(request: Request) -> str | None:
    """IP address of whoever asks; behind a trusted proxy, the one that the proxy names."""
    return request.client.host if request.client else None


def target_of(request: Request) -> str:
    """Path and query exactly as they were sent: that is what was signed."""
    scope = request.scope
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"])
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _claimed(request: Request) -> RequestSignature:
    try:
        return read_signature(_single_headers(request))
    except RefusedError as error:
        raise Refusal(401, "not signed", Problem(error.cause, error.next_step)) from error


def _single_headers(request: Request) -> dict[str, str]:
    """Header fields that came exactly once: of two signatures, nobody could say which one was meant."""
    wanted: dict[str, list[str]] = {"signature": [], "signature-input": [], "content-digest": []}
    for name, value in request.headers.raw:
        found = wanted.get(name.decode("latin-1").lower())
        if found is not None:
            found.append(value.decode("latin-1"))
    return {name: values[0] for name, values in wanted.items() if len(values) == 1}


def _check(request: Request, body: bytes, claimed: RequestSignature, signing_key: bytes) -> None:
    try:
        signed = request_signing.Request(request.method, target_of(request), body)
        check(signed, claimed, signing_key, verifier=verify)
    except (UntrustedError, FormatError) as error:
        raise Refusal(401, "signature", Problem(error.cause, error.next_step)) from error
