"""Instructions into time and energy: one rate per board, from published results with the same family of kernels.

Cycles per instruction are nearly constant for one board and one family of kernels, and not across families (the same
chip and model differ by a factor of four between runtimes): so a rate is never carried from one runtime to another. How
far it carries from one network to another is computed by leaving each published task out in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinymlops.devices.profile import Calibration, DeviceProfile
from tinymlops.measurement import Figure, Provenance

Pair = tuple[float, float]
"""Instructions that we count, and what a board was published to take for them."""


@dataclass(frozen=True)
class Rate:
    """What one instruction takes on a board.

    Attributes:
        per_instruction: In the unit of the published figures.
        errors: Relative error of each task's prediction from the others, in the order of the points.
    """

    per_instruction: float
    errors: tuple[float, ...]

    @property
    def band(self) -> float:
        """The largest of the errors, whichever its sign."""
        return max(abs(error) for error in self.errors)

    def words(self) -> str:
        """The errors as they are told."""
        return f"each task predicted from the others: {min(self.errors):+.0%} to {max(self.errors):+.0%}"


def rate(pairs: Sequence[Pair]) -> Rate:
    """Fit a rate to all pairs, and judge it by leaving each out."""
    errors = []
    for i, (instructions, published) in enumerate(pairs):
        others = [pair for j, pair in enumerate(pairs) if j != i]
        errors.append(fit(others) * instructions / published - 1)
    return Rate(fit(pairs), tuple(errors))


def fit(pairs: Sequence[Pair]) -> float:
    """The k with the least Σ (k·x/y - 1)², which is Σ(x/y) / Σ(x/y)².

    Relative errors are what counts, so that short and long tasks have the same say.
    """
    ratios = [instructions / published for instructions, published in pairs]
    return sum(ratios) / sum(ratio * ratio for ratio in ratios)


def latency_rate(calibration: Calibration) -> Rate:
    """Microseconds per instruction."""
    return rate([(point.instructions, point.latency_ms * 1000) for point in calibration.points])


def energy_rate(calibration: Calibration) -> Rate | None:
    """Microjoules per instruction; None unless every task was published with its energy."""
    pairs = [(point.instructions, point.energy_uj) for point in calibration.points if point.energy_uj]
    return rate(pairs) if len(pairs) == len(calibration.points) else None


def calibrate(profile: DeviceProfile, instructions: float) -> tuple[Figure | None, Figure | None]:
    """Latency and energy of an inference on ``profile``; None where nothing was published to calibrate against."""
    if profile.calibration is None:
        return None, None
    latency, energy = latency_rate(profile.calibration), energy_rate(profile.calibration)
    cycles = latency.per_instruction * profile.clock_mhz
    source = profile.calibration.source
    return (
        _figure(latency, instructions, "us", f"{cycles:.2f} cycles an instruction from {source}; {latency.words()}"),
        _figure(energy, instructions, "uJ", f"from {source}; {energy.words()}") if energy else None,
    )


def _figure(rate: Rate, instructions: float, unit: str, note: str) -> Figure:
    return Figure(rate.per_instruction * instructions, unit, Provenance.CALIBRATED, note, rate.band)
