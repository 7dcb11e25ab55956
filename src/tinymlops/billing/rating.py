"""What queries cost. Money is whole micro-dollars everywhere: nothing is ever rounded."""

from __future__ import annotations

import hashlib
from decimal import Decimal, InvalidOperation
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.errors import UsageError
from tinymlops.wire.encoding import encode
from tinymlops.wire.fields import Count

MICRO = 1_000_000
"""Micro-dollars in a dollar."""
_PER = 1000
Price = Annotated[int, Meta(ge=0, lt=2**40)]
"""Micro-dollars a query: $1.50 per 1,000 queries are 1,500."""


class Tier(msgspec.Struct, frozen=True):
    """Some queries of a month at one price.

    Attributes:
        price: Micro-dollars a query.
        size: Queries in this tier, or None for all that are left.
    """

    price: Price
    size: Annotated[int, Meta(ge=1)] | None = None


class Tariff(msgspec.Struct, frozen=True, kw_only=True):
    """What the queries of a month cost, all devices of an account together.

    Attributes:
        tiers: In this order; the last one has no size, so that every number of queries has a price.
        free: Queries a month that cost nothing, before the first tier.

    Raises:
        UsageError: The tiers do not end with one without a size, or another has none.
    """

    tiers: Annotated[tuple[Tier, ...], Meta(min_length=1, max_length=32)] = (Tier(1500),)
    free: Count = 0

    def __post_init__(self) -> None:
        if self.tiers[-1].size is not None or any(tier.size is None for tier in self.tiers[:-1]):
            raise UsageError("only the last tier of a tariff goes on without end", "write 10000@1.50,rest@1.20")

    @classmethod
    def parse(cls, text: str, *, free: int = 0) -> Tariff:
        """A tariff as people write it: ``10000@1.50,90000@1.20,rest@0.90``, in dollars per 1,000 queries.

        Raises:
            UsageError: It is written in another way, or finer than a micro-dollar a query.
        """
        return cls(tiers=tuple(_tier(part.strip()) for part in text.split(",")), free=free)

    def __str__(self) -> str:
        tiers = ",".join(
            f"{'rest' if tier.size is None else tier.size}@{plain_dollars(tier.price * _PER)}" for tier in self.tiers
        )
        return tiers + (f" after {self.free:,} free" if self.free else "")

    @property
    def version(self) -> str:
        """Names exactly this tariff: a digest, 16 hexadecimal digits."""
        return hashlib.sha256(encode(self)).hexdigest()[:16]


class TierLine(msgspec.Struct, frozen=True, kw_only=True):
    """Queries at one price.

    Attributes:
        units: Queries.
        price: Micro-dollars a query.
        amount: Micro-dollars: the product.
    """

    units: int
    price: int
    amount: int


def rated(units: int, tariff: Tariff) -> tuple[TierLine, ...]:
    """A month's queries, split over the free ones and the tiers; only lines that hold any."""
    lines, left = [], units
    for tier in (Tier(0, tariff.free or None), *tariff.tiers) if tariff.free else tariff.tiers:
        here = left if tier.size is None else min(left, tier.size)
        if here:
            lines.append(TierLine(units=here, price=tier.price, amount=here * tier.price))
        left -= here
    return tuple(lines)


def cost(units: int, tariff: Tariff) -> int:
    """What a month's queries cost, in micro-dollars."""
    return sum(line.amount for line in rated(units, tariff))


def dollars(micro: int) -> str:
    """An amount for people: exact, with at least two decimals, as in ``$17.814``."""
    return f"{'-' if micro < 0 else ''}${plain_dollars(abs(micro), thousands=True)}"


def plain_dollars(micro: int, *, thousands: bool = False) -> str:
    """An amount as a number: ``17.814``."""
    whole, rest = divmod(micro, MICRO)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{whole:,}.{decimals}" if thousands else f"{whole}.{decimals}"


def micro_dollars(text: str, *, what: str = "amount") -> int:
    """The amount that a person wrote in dollars, such as ``17.814``.

    Raises:
        UsageError: It is no amount, or finer than a micro-dollar.
    """
    try:
        micro = Decimal(text.strip().removeprefix("$").replace(",", "")) * MICRO
    except InvalidOperation as error:
        raise UsageError(f"{text!r} is no {what} in dollars", "write it like 17.81") from error
    if not micro.is_finite() or micro != micro.to_integral_value() or not 0 <= micro < 2**52:
        raise UsageError(f"{text!r} is no {what} of whole micro-dollars", "write it like 17.81")
    return int(micro)


def _tier(text: str) -> Tier:
    size, at, price = text.partition("@")
    per_thousand = micro_dollars(price, what="price") if at else -1
    if per_thousand < 0 or per_thousand % _PER or not (size == "rest" or (size.isascii() and size.isdigit())):
        raise UsageError(f"{text!r} is no tier of a tariff", "write 10000@1.50 or rest@1.20, in dollars per 1,000")
    if size != "rest" and not int(size):
        raise UsageError(f"the tier {text!r} holds no queries", "leave it out")
    return Tier(per_thousand // _PER, None if size == "rest" else int(size))
