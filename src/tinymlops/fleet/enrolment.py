"""Letting devices in: each code works once, for one device."""

from __future__ import annotations

from sqlalchemy import Connection, Row, delete, insert, select, update

from tinymlops.errors import RefusedError, UsageError
from tinymlops.fleet import tables
from tinymlops.fleet.devices import find
from tinymlops.fleet.values import CodeTerms, Device, EnrolmentTicket
from tinymlops.wire.enrolment_code import secret_digest
from tinymlops.wire.identity import PublicKeys
from tinymlops.wire.messages import EnrolmentRequest

_NEW_CODE = "ask for a new code (`tinymlops fleet code`)"


def record_code(connection: Connection, secret: bytes, terms: CodeTerms) -> None:
    """Remember that a code was given out, by the digest of its secret."""
    row = {
        "digest": secret_digest(secret),
        "profile": terms.profile,
        "tags": sorted(set(terms.tags)),
        "region": terms.region,
        "root_version": terms.root_version,
        "expires_s": terms.expires_s,
    }
    connection.execute(insert(tables.codes).values(row))


def withdraw_code(connection: Connection, secret: bytes) -> None:
    """Forget a code that nobody has used.

    Raises:
        UsageError: There is no such code, or a device has used it.
    """
    unused = (tables.codes.c.digest == secret_digest(secret)) & tables.codes.c.used_by.is_(None)
    if connection.execute(delete(tables.codes).where(unused)).rowcount == 0:
        raise UsageError("no unused code is like this", "if a device has used it, revoke the device")


def enrol(connection: Connection, request: EnrolmentRequest, *, now_s: float) -> EnrolmentTicket:
    """Let a device in that has proved that it holds the keys in ``request``.

    A device that repeats itself gets the same answer, also after the code has run out: it had been let in in time.

    Raises:
        RefusedError: The code is unknown, has run out, is for another profile or was used by another device; or the
            device was revoked.
    """
    keys = PublicKeys(request.signing_key, request.sealing_key)
    code = _code(connection, request)
    known = find(connection, keys.device_id)
    if known is not None and known.revoked_s is not None:
        raise RefusedError("this device was revoked, and its keys never come back", f"give it new keys and {_NEW_CODE}")
    if code.used_by == keys.device_id and known is not None:
        return EnrolmentTicket(device=known, root_version=code.root_version, again=True)
    _claim(connection, code, keys.device_id, request, now_s)
    device = _device(code, keys, request, now_s)
    _record(connection, device, is_new=known is None)
    return EnrolmentTicket(device=device, root_version=code.root_version)


def _code(connection: Connection, request: EnrolmentRequest) -> Row[tuple[object, ...]]:
    """The code, locked against anybody else who brings it at this moment."""
    wanted = select(tables.codes).where(tables.codes.c.digest == secret_digest(request.secret)).with_for_update()
    code = connection.execute(wanted).one_or_none()
    if code is None:
        raise RefusedError("this enrolment code is not known here", f"check the gateway's address, or {_NEW_CODE}")
    return code


def _claim(
    connection: Connection, code: Row[tuple[object, ...]], device_id: str, request: EnrolmentRequest, now_s: float
) -> None:
    if code.used_by is not None:
        raise RefusedError(
            "this enrolment code was used by another device",
            f"if it was not one of yours, revoke it (`tinymlops fleet list`); {_NEW_CODE}",
        )
    if code.expires_s <= now_s:
        raise RefusedError("this enrolment code has run out", _NEW_CODE)
    if code.profile not in {None, request.profile}:
        raise RefusedError(
            f"this enrolment code is for devices of profile {code.profile}, and this one says {request.profile}",
            "enrol with that profile, or ask for another code",
        )
    claimed = update(tables.codes).where(tables.codes.c.digest == code.digest).values(used_by=device_id, used_s=now_s)
    connection.execute(claimed)


def _device(code: Row[tuple[object, ...]], keys: PublicKeys, request: EnrolmentRequest, now_s: float) -> Device:
    return Device(
        device_id=keys.device_id,
        keys=keys,
        profile=request.profile,
        cipher=request.cipher,
        key_protection=request.key_protection,
        tags=tuple(code.tags),
        region=code.region,
        agent_version=request.agent_version,
        enrolled_s=now_s,
    )


def _record(connection: Connection, device: Device, *, is_new: bool) -> None:
    """Write a new device down; one that came back with another code keeps its past and gets the code's terms."""
    terms = {
        "profile": device.profile,
        "cipher": device.cipher.value,
        "key_protection": device.key_protection,
        "region": device.region,
        "agent_version": device.agent_version,
    }
    if is_new:
        fixed = {
            "device_id": device.device_id,
            "signing_key": device.keys.signing,
            "sealing_key": device.keys.sealing,
            "enrolled_s": device.enrolled_s,
            "sequence": device.sequence,
            "dropped_observations": 0,
        }
        connection.execute(insert(tables.devices).values({**fixed, **terms}))
    else:
        connection.execute(update(tables.devices).where(tables.devices.c.device_id == device.device_id).values(terms))
        connection.execute(delete(tables.tags).where(tables.tags.c.device_id == device.device_id))
    if device.tags:
        rows = [{"device_id": device.device_id, "tag": tag} for tag in device.tags]
        connection.execute(insert(tables.tags), rows)
