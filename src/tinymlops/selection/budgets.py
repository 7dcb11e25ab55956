"""Whether a variant may run on its device, and in words why not."""

from __future__ import annotations

import msgspec

from tinymlops.devices.profile import Budgets
from tinymlops.measurement import Figure, Measurement, Status

_FEW_KIB = 1024.0
_SCALES = {
    "B": 1.0,
    "KiB": 1024.0,
    "MiB": 1024.0**2,
    "us": 1.0,
    "ms": 1e3,
    "s": 1e6,
    "uJ": 1.0,
    "mJ": 1e3,
    "instructions": 1.0,
}


def fits(measurement: Measurement, budgets: Budgets) -> tuple[str, ...]:
    """Why a variant may not run on its device, in words with both numbers; empty when it may.

    Raises:
        ValueError: A figure has a unit that its budget can't be compared with.
    """
    if measurement.status is not Status.OK:
        return (f"{measurement.status}: {measurement.reason}" if measurement.reason else str(measurement.status),)
    reasons = [limit.excess() for limit in _limits(measurement, budgets)]
    if measurement.variant.vetoed:
        reasons.insert(0, f"accuracy gate: {measurement.variant.vetoed}")
    return tuple(reason for reason in reasons if reason)


def unchecked(measurement: Measurement, budgets: Budgets) -> tuple[str, ...]:
    """Budgets that the profile sets but no figure can be held against, in words."""
    return tuple(
        f"the {limit.of} budget was not checked: this device gives no such figure"
        for limit in _limits(measurement, budgets)
        if limit.most is not None and limit.figure is None
    )


class _Limit(msgspec.Struct, frozen=True):
    """One budget beside the figure that is held against it, both in base units unless ``per`` says otherwise."""

    of: str
    unit: str
    figure: Figure | None
    most: float | None
    per: float = 1.0

    def excess(self) -> str:
        if self.figure is None or self.most is None:
            return ""
        needs = self.figure.value * scale(self.figure) / self.per
        # Written so that a NaN does not pass.
        if needs <= self.most:
            return ""
        note = f" ({self.figure.note})" if self.figure.note else ""
        return f"needs {self._words(needs)}{note}"

    def _words(self, needs: float) -> str:
        """Both numbers; a device with less than a MiB counts bytes, and so do we."""
        most, unit = self.most or 0.0, self.unit
        if self.per != 1.0 and most < _FEW_KIB:
            return f"{needs * self.per:,.0f} B of {most * self.per:,.0f} B {self.of}"
        digits = 1 if self.per != 1.0 or not needs.is_integer() else 0
        return f"{needs:,.{digits}f} of {most:,.{digits}f} {unit}"


def _limits(measurement: Measurement, budgets: Budgets) -> tuple[_Limit, ...]:
    size = measurement.flash or Figure(float(measurement.model_bytes), "B")
    return (
        _Limit("flash", "KiB flash", size, budgets.flash_kib, 1024.0),
        _Limit("RAM", "KiB RAM", measurement.peak_memory, budgets.ram_kib, 1024.0),
        _Limit("stack", "KiB stack", measurement.stack, budgets.stack_kib, 1024.0),
        _Limit("latency", "µs per inference", measurement.latency_p50, budgets.latency_us),
        _Limit("instruction", "instructions", measurement.instructions, budgets.instructions),
        _Limit("energy", "µJ per inference", measurement.energy, budgets.energy_uj),
    )


def scale(figure: Figure) -> float:
    """What one unit of ``figure`` is in bytes, microseconds, microjoules or instructions.

    Raises:
        ValueError: The unit is none that budgets know.
    """
    if figure.unit not in _SCALES:
        raise ValueError(f"unit {figure.unit!r} is none of {', '.join(_SCALES)}")
    return _SCALES[figure.unit]
