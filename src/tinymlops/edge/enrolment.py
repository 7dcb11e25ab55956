"""How a device gets in: keys of its own, a one-time code, and an answer that is held against the code."""

from __future__ import annotations

import hmac

from tinymlops import __version__
from tinymlops.edge.link import Link, WrongTimeError
from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Observer, Transition
from tinymlops.errors import RefusedError, UntrustedError
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import Enrolment, EnrolmentRequest, Word
from tinymlops.wire.sealing import preferred_cipher

KEY_FILE = "identity.key"
_FILE = "enrolment.json"


class Enrolled(Versioned, frozen=True, kw_only=True):
    """What an enrolled device keeps.

    Attributes:
        gateway: Address that it was enrolled at.
        profile: Kind of device.
        answer: The gateway's, checked against the code.
    """

    gateway: str
    profile: Word
    answer: Enrolment


def device_keys(folder: Folder, observe: Observer) -> DeviceKeys:
    """This device's keys; made and kept before anybody hears of them, so that a lost answer can be asked for again.

    Raises:
        FormatError: The key file is damaged.
        StorageError: The folder can't be written.
    """
    content = folder.read(KEY_FILE)
    if content is not None:
        return DeviceKeys.from_bytes(content)
    keys = DeviceKeys.generate()
    folder.write(KEY_FILE, keys.to_bytes())
    observe(Transition.KEY_SAVED, keys.device_id)
    return keys


def enrolled(folder: Folder) -> Enrolled | None:
    """What was kept at the enrolment, or None before it.

    Raises:
        FormatError: The file is damaged.
    """
    content = folder.read(_FILE)
    return None if content is None else decode(content, Enrolled, what="the saved enrolment")


def enrol(
    folder: Folder, link: Link, keys: DeviceKeys, code: EnrolmentCode, facts: tuple[str, str], observe: Observer
) -> Enrolled:
    """Ask the gateway to let this device in, and keep its answer once it fits the code.

    Args:
        folder: Of the agent.
        link: To the gateway.
        keys: Of `device_keys`.
        code: As a person brought it.
        facts: Address of the gateway and name of the device profile.
        observe: Told of the transitions.

    Raises:
        UntrustedError: Somebody else answered.
        RefusedError: The code was used, is too old or unknown; or the device is enrolled elsewhere.
    """
    gateway, profile = facts
    known = enrolled(folder)
    if known is not None:
        if known.gateway == gateway and known.profile == profile:
            return known
        raise RefusedError(
            f"this device is enrolled at {known.gateway} as {known.profile}", "give another --state for another device"
        )
    request = EnrolmentRequest(
        secret=code.secret,
        signing_key=keys.public.signing,
        sealing_key=keys.public.sealing,
        profile=profile,
        agent_version=__version__,
        cipher=preferred_cipher(),
    )
    answer = decode(_ask(link, encode(request)), Enrolment, what="the gateway's answer to the enrolment")
    observe(Transition.ENROLMENT_ANSWERED, gateway)
    code.check_anchor(answer.root, answer.gateway_key)
    if not hmac.compare_digest(answer.device_id.encode(), keys.device_id.encode()):
        raise UntrustedError("the gateway enrolled another device than this one", "enrol again with a new code")
    observe(Transition.ENROLMENT_CHECKED, gateway)
    kept = Enrolled(gateway=gateway, profile=profile, answer=answer)
    folder.write(_FILE, encode(kept))
    observe(Transition.ENROLMENT_SAVED, gateway)
    return kept


def _ask(link: Link, body: bytes) -> bytes:
    try:
        return link.post("/v1/enrol", body)
    except WrongTimeError as error:
        # A device that starts in 1970 has nothing better yet than the time that the refusal named. Nobody vouches for
        # it, and it decides nothing on this side.
        return link.post("/v1/enrol", body, signed_at_s=error.now_s)
