"""What a build has to tell, as one value, and the two JSON files made from it."""

from __future__ import annotations

import msgspec

from tinymlops.devices.profile import DeviceProfile
from tinymlops.errors import CompressionError
from tinymlops.measurement import Measurement, Scores
from tinymlops.selection import Selection

SCHEMA_VERSION = 1
"""Of `measurements.json` and `selection.json`; raised when a field changes its meaning or goes."""


class RecipeFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe that gave no variant.

    Attributes:
        recipe: Name of the recipe.
        reason: Why, one sentence.
        applicable: False where this kind of network can't have the recipe, and nobody made a mistake.
    """

    recipe: str
    reason: str
    applicable: bool


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """One build of one workload.

    Attributes:
        workload: Name of the workload.
        title: The same for people.
        metric: Name of the metric, for example ``"accuracy"``.
        higher_is_better: Direction of the metric.
        labels: Names of the classes; empty for a regression.
        rows_train: Rows in the training split.
        rows_validation: Rows in the validation split.
        rows_test: Rows in the test split.
        seed: The seed that reached everything.
        float_scores: Of the float network before any conversion.
        reference_name: The scikit-learn model trained on the same split, or empty.
        reference_scores: Its scores, or None without a reference.
        measurements: Variant × device.
        selections: One per device.
        profiles: The devices, in the order to show them.
        versions: Package → version.
        command: What to type to get this report again.
        created: When, ISO 8601 with its zone.
        failures: Recipes that gave no variant.
        notes: What a reader should know of this build, such as devices that were left out.
        credit: Attribution that the data's licence asks for.
    """

    workload: str
    title: str
    metric: str
    higher_is_better: bool
    labels: tuple[str, ...]
    rows_train: int
    rows_validation: int
    rows_test: int
    seed: int
    float_scores: Scores
    reference_name: str = ""
    reference_scores: Scores | None = None
    measurements: tuple[Measurement, ...]
    selections: tuple[Selection, ...]
    profiles: tuple[DeviceProfile, ...]
    versions: dict[str, str]
    command: str
    created: str
    failures: tuple[RecipeFailure, ...] = ()
    notes: tuple[str, ...] = ()
    credit: str = ""

    def of_device(self, device: str) -> tuple[Measurement, ...]:
        """Measurements of one device, in the order given."""
        return tuple(m for m in self.measurements if m.device == device)

    def selection_of(self, device: str) -> Selection | None:
        """The selection for one device, or None if none was made."""
        return next((s for s in self.selections if s.device == device), None)


class RecipesFailedError(CompressionError):
    """Recipes broke their promise or could not be converted; everything else was built.

    Args:
        report: The build without them.
    """

    def __init__(self, report: BuildReport) -> None:
        broken = [failure for failure in report.failures if failure.applicable]
        super().__init__(
            f"{len(broken)} of the recipes failed ({broken[0].recipe}: {broken[0].reason.rstrip('.')})",
            "the report has the other recipes; leave the failed ones out with --recipes, or mend the network",
        )
        self.report = report


def raise_for_failures(report: BuildReport) -> None:
    """Do nothing if every recipe that can be applied gave a variant.

    Raises:
        RecipesFailedError: Some did not; a lost promise must not go by unseen.
    """
    if any(failure.applicable for failure in report.failures):
        raise RecipesFailedError(report)


def measurements_json(report: BuildReport) -> bytes:
    """`measurements.json`: the same measurements give the same bytes, whenever they were made."""
    content = _head(report) | {
        "rows": {"train": report.rows_train, "validation": report.rows_validation, "test": report.rows_test},
        "float": report.float_scores,
        "reference": {"name": report.reference_name, "scores": report.reference_scores},
        "versions": report.versions,
        "failures": report.failures,
        "measurements": sorted(report.measurements, key=lambda m: (m.device, m.variant.recipe)),
    }
    return _encode(content)


def selection_json(report: BuildReport) -> bytes:
    """`selection.json`: which variant for which device, and why."""
    return _encode(_head(report) | {"selections": sorted(report.selections, key=lambda s: s.device)})


def _head(report: BuildReport) -> dict[str, object]:
    return {
        "schema": SCHEMA_VERSION,
        "workload": report.workload,
        "metric": report.metric,
        "higher_is_better": report.higher_is_better,
        "seed": report.seed,
    }


def _encode(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=2) + b"\n"
