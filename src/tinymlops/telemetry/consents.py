"""What a person agreed to, as far as it covers what a device sent.

A device numbers all its records, so the order in which it gave consents and sent windows is known without any clock.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tinymlops.wire.observations import Consent, Purpose

_SLACK_S = 2.0
"""Consents tell whole seconds, windows parts of them."""


class Given(msgspec.Struct, frozen=True):
    """A consent, and the number of the record that it came in."""

    sequence: int
    consent: Consent


def purposes_of(
    given: Sequence[Given], *, sequence: int, number: int, began_s: float, ended_s: float
) -> frozenset[Purpose]:
    """Purposes that cover a record; empty if none does.

    The record names the consent it was made under. That one must have begun when the record's span began and not have
    ended when it ended; and no later consent that was sent before the record may have taken a purpose back.

    Args:
        given: All consents of the device, in the order of their records.
        sequence: Number of the record.
        number: Of the consent that the record names.
        began_s: Of the record's span, by the device's clock.
        ended_s: Likewise.
    """
    before = [one.consent for one in given if one.sequence < sequence]
    named = max((place for place, one in enumerate(before) if one.number == number), default=None)
    if named is None:
        return frozenset()
    own, later = before[named], before[named + 1 :]
    if began_s < own.given_s - _SLACK_S or ended_s > own.until_s + _SLACK_S:
        return frozenset()
    return frozenset(own.purposes).intersection(*(one.purposes for one in later))
