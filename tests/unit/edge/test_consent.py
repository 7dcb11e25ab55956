"""Consent: signed, numbered, per purpose, over by itself, and never more than all since then agree to."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.devices import Recorder
from tinymlops.edge.consent import HOME, NOTHING, WORDING, WORDS, Consents
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition, ignore
from tinymlops.errors import FormatError, UsageError
from tinymlops.wire import cose
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.observations import CONSENT, Consent, Purpose

KEYS = DeviceKeys.generate()
NOW_S = 1_800_000_000.0
YEAR_S = 365 * 86_400.0
ALL = tuple(Purpose)


class Moment:
    now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def consents_in(folder: Path, now: Moment | None = None) -> Consents:
    return Consents(Folder(folder, durable=False), KEYS, now or Moment(), ignore)


def test_before_anybody_agrees_nothing_may_be_done(tmp_path: Path) -> None:
    consents = consents_in(tmp_path)

    assert (consents.newest_number(), consents.newest(), consents.standing(0)) == (0, None, NOTHING)
    with pytest.raises(UsageError, match="nothing was agreed to"):
        consents.withdraw()


def test_a_consent_is_signed_by_the_device_and_says_what_was_shown(tmp_path: Path) -> None:
    recorder = Recorder()
    consents = Consents(Folder(tmp_path, durable=False), KEYS, Moment(), recorder)

    given_one = consents.give([Purpose.SAMPLES, Purpose.DRIFT], subject="home-7", until_s=NOW_S + YEAR_S)

    ((number, message),) = consents.messages(after=0)
    assert cose.opened(message, CONSENT, KEYS.public.signing, Consent) == given_one
    assert (number, given_one.purposes, given_one.wording) == (1, (Purpose.DRIFT, Purpose.SAMPLES), WORDING)
    assert consents_in(tmp_path).standing(1) == {Purpose.DRIFT, Purpose.SAMPLES}
    assert recorder.seen == [Transition.CONSENT_SAVED]


def test_every_purpose_has_words(tmp_path: Path) -> None:
    assert set(WORDS) == set(Purpose)
    with pytest.raises(FormatError):
        consents_in(tmp_path).give(ALL, subject="a name with blanks", until_s=NOW_S + 1)
    assert consents_in(tmp_path).newest_number() == 0


def test_it_is_over_by_itself(tmp_path: Path) -> None:
    now = Moment()
    consents = consents_in(tmp_path, now)
    consents.give(ALL, subject="home", until_s=NOW_S + 10)
    now.now_s += 9.5
    assert consents.standing(1) == set(ALL)

    now.now_s += 0.5

    assert consents.standing(1) == NOTHING
    with pytest.raises(UsageError, match="over before it begins"):
        consents.give(ALL, subject="home", until_s=now.now_s)


def test_what_was_withdrawn_once_stays_withdrawn_for_what_was_counted_before(tmp_path: Path) -> None:
    consents = consents_in(tmp_path)
    consents.give(ALL, subject="home", until_s=NOW_S + YEAR_S)
    consents.withdraw([Purpose.DRIFT])
    consents.give(ALL, subject="home", until_s=NOW_S + YEAR_S)

    assert consents.standing(1) == {Purpose.OPERATIONS, Purpose.SAMPLES}
    assert consents.standing(3) == set(ALL)
    assert consents.standing(9) == NOTHING


@settings(max_examples=25)
@given(st.lists(st.frozensets(st.sampled_from(ALL)), min_size=1, max_size=8))
def test_standing_is_what_all_since_agree_to(
    tmp_path_factory: pytest.TempPathFactory, given_: list[set[Purpose]]
) -> None:
    consents = consents_in(tmp_path_factory.mktemp("consents"))
    for purposes in given_:
        consents.give(tuple(purposes), subject="home", until_s=NOW_S + YEAR_S)

    for number in range(1, len(given_) + 1):
        assert consents.standing(number) == frozenset.intersection(*map(frozenset, given_[number - 1 :]))


@pytest.mark.parametrize("damage", ["cut", "changed", "renumbered", "of another device", "removed"])
def test_what_was_tampered_with_allows_nothing(tmp_path: Path, damage: str) -> None:
    consents_in(tmp_path).give(ALL, subject="home", until_s=NOW_S + YEAR_S)
    path = tmp_path / HOME / "0000000001"
    message = path.read_bytes()
    if damage == "cut":
        path.write_bytes(message[:-1])
    elif damage == "changed":
        path.write_bytes(message.replace(b"home", b"hame"))
    elif damage == "renumbered":
        path.rename(path.with_name("0000000002"))
    elif damage == "removed":
        path.unlink()
    else:
        other = Consents(Folder(tmp_path / "other"), DeviceKeys.generate(), Moment(), ignore)
        other.give(ALL, subject="home", until_s=NOW_S + YEAR_S)
        path.write_bytes((tmp_path / "other" / HOME / "0000000001").read_bytes())

    consents = consents_in(tmp_path)

    assert consents.standing(1) == consents.standing(2) == NOTHING
    if damage != "removed":
        assert consents.withdraw().purposes == ()


def test_two_commands_at_once_never_give_out_one_number(tmp_path: Path) -> None:
    def toggle() -> None:
        consents = consents_in(tmp_path)
        for _ in range(10):
            consents.give(ALL, subject="home", until_s=NOW_S + YEAR_S)

    threads = [threading.Thread(target=toggle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    numbers = [number for number, _ in consents_in(tmp_path).messages(after=0)]
    assert numbers == list(range(1, 41))


def test_a_long_history_is_cut_at_its_old_end_and_allows_less_for_it(tmp_path: Path) -> None:
    consents = consents_in(tmp_path)
    for _ in range(105):
        consents.give(ALL, subject="home", until_s=NOW_S + YEAR_S)

    assert len(consents.messages(after=0)) == 100
    assert consents.standing(1) == NOTHING
    assert consents.standing(6) == set(ALL)
