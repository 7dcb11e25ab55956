"""What a consent covers: by the order in which a device sent things, and by the span that it was given for."""

from __future__ import annotations

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from tests.support.observations import ALL, HOUR_S, NOW_S, consent
from tinymlops.telemetry.consents import Given, purposes_of
from tinymlops.wire.observations import Consent, Purpose


def covered(
    *given: Consent, number: int = 1, sequence: int = 100, began_s: float = NOW_S - HOUR_S, ended_s: float = NOW_S
) -> frozenset[Purpose]:
    numbered = [Given(10 * place, one) for place, one in enumerate(given, start=1)]
    return purposes_of(numbered, sequence=sequence, number=number, began_s=began_s, ended_s=ended_s)


def test_a_consent_covers_the_purposes_that_it_names() -> None:
    assert covered(consent(purposes=(Purpose.DRIFT,))) == {Purpose.DRIFT}


def test_without_a_consent_or_with_another_number_nothing_is_covered() -> None:
    assert covered() == covered(consent(number=2)) == frozenset()


def test_a_consent_that_was_sent_later_covers_nothing() -> None:
    assert covered(consent(), sequence=10) == covered(consent(), sequence=9) == frozenset()


@pytest.mark.parametrize(
    ("began_s", "ended_s"),
    [(NOW_S - 25 * HOUR_S, NOW_S), (NOW_S + 364 * 24 * HOUR_S, NOW_S + 366 * 24 * HOUR_S)],
)
def test_what_began_before_it_or_ended_after_it_is_not_covered(began_s: float, ended_s: float) -> None:
    assert covered(consent(), began_s=began_s, ended_s=ended_s) == frozenset()


def test_a_consent_given_in_this_very_second_covers_what_began_in_it() -> None:
    assert covered(consent(given_s=int(NOW_S)), began_s=NOW_S + 0.5, ended_s=NOW_S + HOUR_S) == set(ALL)


def test_a_withdrawal_that_was_sent_before_takes_all_back() -> None:
    assert covered(consent(), consent(number=2, purposes=())) == frozenset()


def test_a_withdrawal_that_was_sent_after_takes_nothing_back() -> None:
    assert covered(consent(), consent(number=2, purposes=()), sequence=15) == set(ALL)


def test_a_later_consent_that_agrees_to_less_leaves_what_both_agree_to() -> None:
    later = consent(number=2, purposes=(Purpose.OPERATIONS, Purpose.DRIFT))
    assert covered(consent(purposes=(Purpose.DRIFT, Purpose.SAMPLES)), later) == {Purpose.DRIFT}


def test_numbers_that_start_again_mean_the_newest_consent_of_that_number() -> None:
    again = consent(number=1, purposes=(Purpose.OPERATIONS,))
    assert covered(consent(), consent(number=2, purposes=()), again) == {Purpose.OPERATIONS}


@examples(
    st.lists(st.tuples(st.integers(1, 4), st.sets(st.sampled_from(ALL))), max_size=6),
    st.integers(1, 4),
    st.integers(0, 70),
)
def test_nothing_is_covered_that_the_consent_in_force_does_not_name(
    told: list[tuple[int, set[Purpose]]], number: int, sequence: int
) -> None:
    given = [consent(number=one, purposes=tuple(sorted(purposes))) for one, purposes in told]
    found = covered(*given, number=number, sequence=sequence)
    sent = [one for place, one in enumerate(given, start=1) if 10 * place < sequence]
    assert found <= (set(sent[-1].purposes) if sent else set())
