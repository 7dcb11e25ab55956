"""From records as they lie in segments to what may go into the tables, and what may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from tinymlops.errors import FormatError, UntrustedError
from tinymlops.telemetry.consents import Given, purposes_of
from tinymlops.telemetry.plausibility import NO_NOISE, doubt_sample, doubt_window
from tinymlops.telemetry.rows import Place, Received
from tinymlops.telemetry.segments import Entry
from tinymlops.wire import cose
from tinymlops.wire.encoding import decode_packed, encode_packed
from tinymlops.wire.messages import Record
from tinymlops.wire.observations import CONSENT, Consent, Purpose, RecordName, Sample, Window

NO_CONSENT, NOT_READABLE, UNKNOWN_KIND, FORGED = (
    "no consent",
    "not readable",
    "unknown kind",
    "not signed by its device",
)

T = TypeVar("T")
Doubted = Received[tuple[str, str, bytes | None]]


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a device when its records are read.

    Attributes:
        place: The groups it is in.
        signing_key: Ed25519, 32 bytes.
        given: Its consents, in the order of their records.
    """

    place: Place
    signing_key: bytes
    given: Sequence[Given] = ()


class Sorted(msgspec.Struct, frozen=True, kw_only=True):
    """Records by where they go.

    Attributes:
        windows: For the table, without what was not agreed to.
        samples: For the table.
        doubted: Covered by a consent, but not believed.
        refused: Reason → how many are not kept anywhere.
    """

    windows: list[Received[Window]] = msgspec.field(default_factory=list)
    samples: list[Received[Sample]] = msgspec.field(default_factory=list)
    doubted: list[Doubted] = msgspec.field(default_factory=list)
    refused: Counter[str] = msgspec.field(default_factory=Counter)


def consents_in(
    entries: Sequence[Entry], known: Mapping[str, Known]
) -> tuple[list[Received[tuple[Consent, bytes]]], int]:
    """Consents among the records whose signature is their device's; and how many others there were."""
    found, forged = [], 0
    for entry in entries:
        device = known.get(entry.device_id)
        for record in entry.records:
            if record.kind != RecordName.CONSENT:
                continue
            consent = _opened(record, device)
            if device is None or consent is None:
                forged += 1
            else:
                told = (consent, record.content)
                found.append(Received(entry.device_id, record.sequence, entry.received_s, device.place, told))
    return found, forged


def sort(entries: Sequence[Entry], known: Mapping[str, Known]) -> Sorted:
    """Windows and samples of devices that are known, each held against its device's consents."""
    found = Sorted()
    for entry in entries:
        device = known.get(entry.device_id)
        if device is None:
            found.refused[FORGED] += len(entry.records)
            continue
        for record in entry.records:
            _sort_record(record, entry, device, found)
    return found


def _sort_record(record: Record, entry: Entry, device: Known, found: Sorted) -> None:
    try:
        if record.kind == RecordName.WINDOW:
            _sort_window(decode_packed(record.content, Window), record, entry, device, found)
        elif record.kind == RecordName.SAMPLE:
            _sort_sample(decode_packed(record.content, Sample), record, entry, device, found)
        elif record.kind != RecordName.CONSENT:
            found.refused[UNKNOWN_KIND] += 1
    except FormatError:
        found.refused[NOT_READABLE] += 1


def _sort_window(window: Window, record: Record, entry: Entry, device: Known, found: Sorted) -> None:
    purposes = purposes_of(
        device.given,
        sequence=record.sequence,
        number=window.consent,
        began_s=window.began_s,
        ended_s=window.ended_s,
    )
    covered = _covered(window, purposes)
    if covered is None:
        found.refused[NO_CONSENT] += 1
    elif doubt := doubt_window(covered, received_s=entry.received_s):
        content = encode_packed(covered) if doubt != NO_NOISE else None
        found.doubted.append(_received(record, entry, device, (record.kind, doubt, content)))
    else:
        found.windows.append(_received(record, entry, device, covered))


def _sort_sample(sample: Sample, record: Record, entry: Entry, device: Known, found: Sorted) -> None:
    purposes = purposes_of(
        device.given, sequence=record.sequence, number=sample.consent, began_s=sample.at_s, ended_s=sample.at_s
    )
    if Purpose.SAMPLES not in purposes:
        found.refused[NO_CONSENT] += 1
    elif doubt := doubt_sample(sample, received_s=entry.received_s):
        found.doubted.append(_received(record, entry, device, (record.kind, doubt, record.content)))
    else:
        found.samples.append(_received(record, entry, device, sample))


def _covered(window: Window, purposes: frozenset[Purpose]) -> Window | None:
    """``window`` without what nobody agreed to; None if nothing is left."""
    if {Purpose.DRIFT, Purpose.OPERATIONS} <= purposes:
        return window
    if Purpose.OPERATIONS in purposes:
        return msgspec.structs.replace(window, histograms=(), epsilon=0.0, labelled=0)
    if Purpose.DRIFT in purposes:
        return msgspec.structs.replace(window, errors=0, latencies=(), memory_kib=None, energy_uj=None, channels=())
    return None


def _received(record: Record, entry: Entry, device: Known, told: T) -> Received[T]:
    return Received(entry.device_id, record.sequence, entry.received_s, device.place, told)


def _opened(record: Record, device: Known | None) -> Consent | None:
    if device is None:
        return None
    try:
        return cose.opened(record.content, CONSENT, device.signing_key, Consent)
    except (FormatError, UntrustedError):
        return None
