"""What the person at this device agreed to: signed by the device's key, numbered, kept as a history, checked here.

Nothing is counted for a purpose that nobody agreed to. The history is in files of its own, one a change, so that a
command can add to it while the agent runs; the agent looks at their names every quarter of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import FormatError, UntrustedError, UsageError
from tinymlops.wire import cose
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.observations import CONSENT, Consent, Purpose

HOME = "consent"
_LOCK = "consent.lock"
_MOST_KEPT = 100
NOTHING: frozenset[Purpose] = frozenset()

WORDING = "2026-11"
"""Version of `WORDS`; whoever changes one of them changes it."""
WORDS = {
    Purpose.OPERATIONS: (
        "How this device does: how long answers take, memory, energy, errors, and sensors that give nothing or stand"
        " still; once a day."
    ),
    Purpose.DRIFT: (
        "Counts of what the model saw and answered, once a day, in coarse steps and with random noise that this device"
        " adds: whether one single query was there can't be told from them with certainty."
    ),
    Purpose.SAMPLES: (
        "A few single inputs a day as they were, with what the model made of them, to improve it. They are not"
        " noisy: whoever holds them sees what this device's sensors saw then."
    ),
}
"""What a person is asked, in these words."""


class Consents:
    """The consents of this device.

    Args:
        folder: Of the agent.
        keys: Of the device.
        now: Seconds since 1970.
        observe: Told of the transitions.
    """

    def __init__(self, folder: Folder, keys: DeviceKeys, now: Callable[[], float], observe: Observer) -> None:
        self._folder, self._keys, self._now, self._observe = folder, keys, now, observe
        self._read: dict[str, Consent | None] = {}

    def newest_number(self) -> int:
        """Of the consent that holds; 0 before the first."""
        names = self._names()
        return int(names[-1]) if names else 0

    def newest(self) -> Consent | None:
        """The consent that holds, even where it is over; None before the first, and where it was tampered with."""
        names = self._names()
        return self._opened(names[-1]) if names else None

    def messages(self, *, after: int) -> list[tuple[int, bytes]]:
        """Signed consents with a higher number than ``after``, each with its number, the oldest first."""
        found = ((int(name), self._folder.read(f"{HOME}/{name}")) for name in self._names() if int(name) > after)
        return [(number, message) for number, message in found if message is not None]

    def standing(self, number: int) -> frozenset[Purpose]:
        """What may still be done with what was counted under consent ``number``.

        That is what it and every later one allows: what was withdrawn once stays withdrawn for what was counted before.
        """
        names = [name for name in self._names() if int(name) >= number]
        if not names or int(names[0]) != number:
            return NOTHING
        standing = frozenset(Purpose)
        for name in names:
            consent = self._opened(name)
            standing &= NOTHING if consent is None else frozenset(consent.purposes)
        newest = self._opened(names[-1])
        return standing if newest is not None and self._now() < newest.until_s else NOTHING

    def give(self, purposes: Sequence[Purpose], *, subject: str, until_s: float, wording: str = WORDING) -> Consent:
        """Agree to ``purposes``, and to nothing else, from now on.

        Args:
            purposes: Agreed to.
            subject: Pseudonym of the person, household or site.
            until_s: When it ends by itself, in seconds since 1970.
            wording: Version of the words that were shown.

        Raises:
            UsageError: It would be over already.
            StorageError: It can't be written.
        """
        if until_s <= self._now():
            raise UsageError("this consent would be over before it begins", "give a later end")
        wanted = tuple(purpose for purpose in Purpose if purpose in purposes)
        with self._folder.alone(_LOCK):  # two commands must not give out one number
            return self._keep(wanted, subject=subject, until_s=int(until_s), wording=wording)

    def withdraw(self, purposes: Sequence[Purpose] = tuple(Purpose)) -> Consent:
        """Take back what was agreed to: all, unless single purposes are named.

        Raises:
            UsageError: Nothing was ever agreed to.
            StorageError: It can't be written.
        """
        with self._folder.alone(_LOCK):  # two commands must not give out one number
            before = self.newest()
            if before is None and not self._names():
                raise UsageError("nothing was agreed to on this device", "there is nothing to withdraw")
            left = () if before is None else tuple(one for one in before.purposes if one not in purposes)
            return self._keep(
                left,
                subject="unknown" if before is None else before.subject,
                until_s=int(self._now()) if before is None else before.until_s,
                wording=WORDING if before is None else before.wording,
            )

    def _keep(self, purposes: tuple[Purpose, ...], *, subject: str, until_s: int, wording: str) -> Consent:
        consent = Consent(
            subject=subject, number=self.newest_number() + 1, purposes=purposes, given_s=int(self._now()),
            until_s=until_s, wording=wording,
        )  # fmt: skip
        message = cose.signed(consent, CONSENT, self._keys.sign)
        cose.opened(message, CONSENT, self._keys.public.signing, Consent)  # a subject that is no word is refused here
        self._folder.write(f"{HOME}/{consent.number:010}", message)
        for old in self._names()[:-_MOST_KEPT]:
            self._folder.remove(f"{HOME}/{old}")
        self._observe(Transition.CONSENT_SAVED, f"{consent.number}: {', '.join(purposes) or 'nothing'}")
        return consent

    def _opened(self, name: str) -> Consent | None:
        if name not in self._read:
            message = self._folder.read(f"{HOME}/{name}") or b""
            try:
                consent = cose.opened(message, CONSENT, self._keys.public.signing, Consent)
            except (FormatError, UntrustedError):
                self._read[name] = None
            else:
                self._read[name] = consent if consent.number == int(name) else None
        return self._read[name]

    def _names(self) -> list[str]:
        return [name for name in self._folder.names(HOME) if name.isdigit()]
