"""How often is too often: the rules of the package ``limits``, with a memory that is bounded and knows our clock.

The package's own memory walks through all keys every few milliseconds, grows with every address that ever called, and
reads the system's clock. Counts that several gateways share are kept where the package can reach them (Redis …).
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable

from limits import RateLimitItem, parse
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from tinymlops.errors import SetupError, UsageError
from tinymlops.gateway.problems import too_many
from tinymlops.gateway.settings import RateLimits

_MOST_KEYS = 100_000
_NOBODY = "unknown"


class RateLimiter:
    """Counts requests.

    Args:
        rates: What is allowed; None for everything.
        clock: Seconds since 1970.

    Raises:
        UsageError: A limit is written in no way that the package ``limits`` knows.
        SetupError: The shared storage can't be used.
    """

    def __init__(self, rates: RateLimits | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limiter: FixedWindowRateLimiter | None = None
        if rates is None:
            return
        self._limiter = FixedWindowRateLimiter(_storage(rates.storage, clock))
        self._address = _item(rates.address)
        self._device = _item(rates.device)
        self._enrolment = _item(rates.enrolment)
        self._webhook = _item(rates.webhook)
        self._login = _item(rates.login)

    def count_address(self, address: str | None) -> None:
        """Count a request from ``address``.

        Raises:
            Refusal: It has made too many.
        """
        if self._limiter is not None:
            self._count(self._address, "address", _site(address))

    def count_enrolment(self, address: str | None) -> None:
        """Count an enrolment tried from ``address``.

        Raises:
            Refusal: It has made too many.
        """
        if self._limiter is not None:
            self._count(self._enrolment, "enrolling address", _site(address))

    def count_webhook(self, address: str | None) -> None:
        """Count a webhook from ``address``.

        Raises:
            Refusal: It has sent too many.
        """
        if self._limiter is not None:
            self._count(self._webhook, "webhook sender", _site(address))

    def count_login(self, address: str | None) -> None:
        """Count a login tried from ``address``.

        Raises:
            Refusal: It has tried too often.
        """
        if self._limiter is not None:
            self._count(self._login, "login address", _site(address))

    def count_device(self, device_id: str) -> None:
        """Count a request that a device has signed.

        Raises:
            Refusal: It has made too many.
        """
        if self._limiter is not None:
            self._count(self._device, "device", device_id)

    def _count(self, item: RateLimitItem, kind: str, who: str) -> None:
        limiter = self._limiter
        if limiter is not None and not limiter.hit(item, kind, who):
            left_s = limiter.get_window_stats(item, kind, who).reset_time - self._clock()
            raise too_many(max(1, math.ceil(left_s)), kind)


class BoundedMemory(Storage):
    """Counts in this process: the keys that were counted least recently are forgotten first.

    Args:
        clock: Seconds since 1970.
        most_keys: Held at once.
    """

    def __init__(self, clock: Callable[[], float], most_keys: int = _MOST_KEYS) -> None:
        super().__init__()
        self._clock = clock
        self._most_keys = most_keys
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What it may raise."""
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count ``amount`` more for ``key``; the count begins anew ``expiry`` seconds after its first."""
        now_s = self._clock()
        ends_s, count = self._counts.get(key, (0.0, 0))
        # a clock that was set back must not lock anybody out for longer than a window
        ends_s, count = (ends_s, count) if now_s < ends_s <= now_s + expiry else (now_s + expiry, 0)
        self._counts[key] = (ends_s, count + amount)
        self._counts.move_to_end(key)
        if len(self._counts) > self._most_keys:
            self._counts.popitem(last=False)
        return count + amount

    def get(self, key: str) -> int:
        """The count of ``key``."""
        ends_s, count = self._counts.get(key, (0.0, 0))
        return count if self._clock() < ends_s else 0

    def get_expiry(self, key: str) -> float:
        """When the count of ``key`` begins anew."""
        return self._counts.get(key, (self._clock(), 0))[0]

    def check(self) -> bool:
        """Memory always works."""
        return True

    def reset(self) -> int:
        """Forget all counts; how many there were."""
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget the count of ``key``."""
        self._counts.pop(key, None)


def _site(address: str | None) -> str:
    """Whom an address stands for: of IPv6 a site has a whole /64, and could change its address with every request."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return _NOBODY
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


def _item(text: str) -> RateLimitItem:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a rate limit", 'write it like "600/minute"') from error


def _storage(address: str | None, clock: Callable[[], float]) -> Storage:
    if address is None:
        return BoundedMemory(clock)
    from limits.errors import ConfigurationError

    try:
        storage = storage_from_string(address)
    except (ConfigurationError, ImportError, ValueError) as error:
        raise SetupError(
            f"the storage of rate limits can't be used ({error})", "use redis://host:port, or leave it out"
        ) from error
    if not isinstance(storage, Storage):
        raise SetupError("the storage of rate limits must be a synchronous one", "use redis://host:port")
    return storage
