"""Results are kept for a long time: a newer program reads what an older one stored."""

from __future__ import annotations

import msgspec

from tests.unit.reporting.samples import measurement
from tinymlops.measurement import Figure, Measurement, OperatorCost

FIRST_FIELDS = (
    *("variant", "device", "runtime", "status", "reason", "scores", "outputs_sha256", "instructions"),
    *("latency_p50", "latency_p95", "peak_memory", "model_memory", "runtime_bytes", "energy", "image"),
)


def test_new_fields_come_last_and_have_defaults() -> None:
    """Stored results are pickled by position."""
    fields = Measurement.__struct_fields__
    assert fields[: len(FIRST_FIELDS)] == FIRST_FIELDS
    assert len(Measurement.__struct_defaults__) >= len(fields) - 4
    old = Measurement(*(getattr(measurement(), name) for name in FIRST_FIELDS))
    assert old == measurement()
    assert (old.flash, old.npu_share, old.operators) == (None, None, ())


def test_a_measurement_without_the_new_fields_is_stored_as_before() -> None:
    stored = msgspec.json.encode(measurement())
    assert b"operators" not in stored
    assert msgspec.json.decode(stored, type=Measurement) == measurement()


def test_a_measurement_with_them_comes_back_whole() -> None:
    cost = OperatorCost(0, "CONV_2D", "layer", "kernel", 10, 25.0, {"load": 25.0})
    one = msgspec.structs.replace(measurement(), operators=(cost,), flash=Figure(5, "B"))
    assert msgspec.json.decode(msgspec.json.encode(one), type=Measurement) == one
    assert cost.per_mac == 2.5
    assert msgspec.structs.replace(cost, macs=0).per_mac is None
