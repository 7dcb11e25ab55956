"""The rows that every table shows, whatever it is drawn with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from tinymlops.devices.profile import DeviceProfile
from tinymlops.measurement import Figure, Measurement, Status, VariantFacts
from tinymlops.reporting.units import figure_text, score_text
from tinymlops.reporting.values import BuildReport, RecipeFailure
from tinymlops.selection import Selection, fits

FIGURES: dict[str, Callable[[Measurement], Figure | None]] = {
    "latency p50": lambda m: m.latency_p50,
    "latency p95": lambda m: m.latency_p95,
    "instructions": lambda m: m.instructions,
    "energy": lambda m: m.energy,
    "flash": lambda m: m.flash,
    "peak RAM": lambda m: m.peak_memory,
    "model adds": lambda m: m.model_memory,
    "arena": lambda m: m.arena,
    "stack": lambda m: m.stack,
    "on NPU": lambda m: m.npu_share,
}
"""The figures of a variant on a device, in the order of their columns."""

_BUDGETS = {
    "flash_kib": "KiB flash",
    "ram_kib": "KiB RAM",
    "stack_kib": "KiB of it stack",
    "latency_us": "µs per inference",
    "instructions": "instructions",
    "energy_uj": "µJ per inference",
}


class Cell(msgspec.Struct, frozen=True):
    """One figure as text, with what it is; all empty where there is no figure."""

    text: str = ""
    provenance: str = ""
    note: str = ""

    @classmethod
    def of(cls, figure: Figure | None) -> Cell:
        """The cell of a figure."""
        return cls() if figure is None else cls(figure_text(figure), str(figure.provenance), figure.note)


class RecipeRow(msgspec.Struct, frozen=True):
    """What is known of a variant on every device.

    Attributes:
        facts: Sizes, promises, veto.
        validation: Score, or lowest … highest where devices differ by a bit.
        test: Likewise.
    """

    facts: VariantFacts
    validation: str
    test: str


class DeviceRow(msgspec.Struct, frozen=True):
    """One variant on one device.

    Attributes:
        facts: The variant.
        validation: Score from the device's own outputs, or empty.
        test: Likewise.
        figures: Name of the figure, as in `FIGURES`, → its cell.
        selected: Whether this is the device's choice.
        on_front: Whether it is on the Pareto front.
        reasons: Why it may not run; empty when it may.
    """

    facts: VariantFacts
    validation: str
    test: str
    figures: dict[str, Cell]
    selected: bool
    on_front: bool
    reasons: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Fits, or why not, in words."""
        if self.reasons:
            return "; ".join(self.reasons)
        return "selected" if self.selected else "fits"


class DeviceView(msgspec.Struct, frozen=True):
    """One device with its rows.

    Attributes:
        profile: The device.
        selection: What was chosen for it, or None if nothing was asked.
        runtimes: Interpreters that ran, with what they take on disk.
        columns: Names of the figures that at least one variant has.
        rows: One per variant.
    """

    profile: DeviceProfile
    selection: Selection | None
    runtimes: tuple[tuple[str, Cell], ...]
    columns: tuple[str, ...]
    rows: tuple[DeviceRow, ...]

    @property
    def time_name(self) -> str:
        """What stands for time: median latency where the CPU is the device's own, or else instructions."""
        return "latency p50" if "latency p50" in self.columns else "instructions"

    def header(self, column: str) -> str:
        """Name over a column: a time that nobody measured has no quantiles."""
        kinds = {row.figures[column].provenance for row in self.rows if row.figures[column].text}
        return "latency" if column == "latency p50" and kinds and "measured" not in kinds else column

    @property
    def cpu(self) -> str:
        """The core, and whether what is shown was seen on it."""
        if self.profile.accelerator is not None:
            return f"{self.profile.accelerator.config}, as Vela estimates it"
        return f"{self.profile.cpu}, emulated" if self.profile.emulated else "this machine's own CPU"

    def shared_note(self, column: str) -> str:
        """The note that all figures of a column carry, which a table then says once; or nothing."""
        notes = {row.figures[column].note for row in self.rows if row.figures[column].text}
        return notes.pop() if len(notes) == 1 else ""

    @property
    def budgets(self) -> tuple[str, ...]:
        """What a model may cost here, in words."""
        limits = msgspec.structs.asdict(self.profile.budgets)
        return tuple(f"{limits[name]:,.10g} {words}" for name, words in _BUDGETS.items() if limits[name] is not None)

    @property
    def selected(self) -> DeviceRow | None:
        """The row of the chosen variant."""
        return next((row for row in self.rows if row.selected), None)


def failure_words(failure: RecipeFailure) -> str:
    """Why a recipe gave no variant, and whether that is a fault."""
    return f"{'failed' if failure.applicable else 'not for this network'}: {failure.reason}"


def recipe_rows(report: BuildReport) -> tuple[RecipeRow, ...]:
    """One row per variant, in the order of their first measurement."""
    found: dict[str, list[Measurement]] = {}
    for measurement in report.measurements:
        found.setdefault(measurement.variant.recipe, []).append(measurement)
    return tuple(
        RecipeRow(
            facts=group[0].variant,
            validation=_span(m.scores.validation for m in group if m.scores),
            test=_span(m.scores.test for m in group if m.scores),
        )
        for group in found.values()
    )


def device_view(report: BuildReport, profile: DeviceProfile) -> DeviceView:
    """The rows of one device, in the order of its measurements."""
    selection = report.selection_of(profile.name)
    own = report.of_device(profile.name)
    ran = [measurement for measurement in own if measurement.status is Status.OK]
    return DeviceView(
        profile=profile,
        selection=selection,
        runtimes=tuple({m.runtime: (m.runtime, Cell.of(m.runtime_bytes)) for m in ran or own}.values()),
        columns=tuple(name for name, figure in FIGURES.items() if any(figure(m) for m in own)),
        rows=tuple(_device_row(m, profile, selection) for m in own),
    )


def device_views(report: BuildReport) -> tuple[DeviceView, ...]:
    """All devices, in the report's order."""
    return tuple(device_view(report, profile) for profile in report.profiles)


def _device_row(measurement: Measurement, profile: DeviceProfile, selection: Selection | None) -> DeviceRow:
    recipe, scores = measurement.variant.recipe, measurement.scores
    rejected = selection.rejected.get(recipe, ()) if selection else fits(measurement, profile.budgets)
    return DeviceRow(
        facts=measurement.variant,
        validation=score_text(scores.validation) if scores else "",
        test=score_text(scores.test) if scores else "",
        figures={name: Cell.of(figure(measurement)) for name, figure in FIGURES.items()},
        selected=selection is not None and selection.recipe == recipe,
        on_front=selection is not None and recipe in selection.front,
        reasons=rejected,
    )


def _span(scores: Iterable[float]) -> str:
    texts = sorted({score_text(score) for score in scores}, key=lambda text: float(text.replace(",", "")))
    return texts[0] if len(texts) == 1 else f"{texts[0]}–{texts[-1]}" if texts else ""
