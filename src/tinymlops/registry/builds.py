"""Register a build: one MLflow run, one version per variant, one alias per device.

Order matters, so that a crash anywhere is mended by the same call again: files, then versions, then
the run's figures, then for each device the promotion log and after it the alias.
"""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tinymlops.errors import UsageError
from tinymlops.files import sha256
from tinymlops.measurement import VariantFacts
from tinymlops.registry.connection import all_versions, connect, newest_versions, plain_errors
from tinymlops.registry.facts import build_digest, run_metrics, run_params, version_tags
from tinymlops.registry.packaging import write_model
from tinymlops.registry.promotions import Promotion, append, verify_log
from tinymlops.registry.values import Registration, RegistrySettings, alias_of, model_name, plain_name
from tinymlops.reporting import BuildReport
from tinymlops.selection import Selection

_DIGEST_TAG = "tinymlops.build"
_MOST_METRICS_A_CALL = 1000


def register_build(
    report: BuildReport,
    variants: Mapping[str, bytes],
    files: Mapping[str, Path | bytes],
    *,
    settings: RegistrySettings,
    who: str | None = None,
    promote: bool = True,
) -> Registration:
    """Register a build; the same content again changes nothing and is quick.

    A version is known by its recipe and the digest of its file. A device that nothing was selected
    for keeps the alias that it has.

    Args:
        report: The build.
        variants: Recipe → ``.tflite``.
        files: Name → report, plots and the like, kept with the run.
        settings: Where to.
        who: Who promotes; the user of this process if not given.
        promote: Whether devices' aliases move; not while a challenger still has to show that it is better.

    Raises:
        UsageError: The variants are not those of the report, or a name can't be used in MLflow.
        ModelFileError: A variant is no model that LiteRT reads.
        StorageError: MLflow or the promotion log can't be written.
    """
    facts = _checked(report, variants)
    with plain_errors(settings.tracking_uri):
        store = _Store(settings, report)
        run = store.run()
        versions = store.versions()
        missing = [recipe for recipe in variants if (recipe, facts[recipe].sha256) not in versions]
        store.add_versions(run, {recipe: variants[recipe] for recipe in missing}, facts)
        versions |= store.versions()
        mine = {recipe: versions[recipe, facts[recipe].sha256] for recipe in variants}
        if run.info.status != "FINISHED":
            store.describe(run, mine, facts, files)
        promotions = store.promote(mine, facts, who or getpass.getuser()) if promote else ()
    aliases = {one.device: mine[one.recipe] for one in report.selections if one.recipe is not None}
    return Registration(
        tracking_uri=settings.tracking_uri,
        model=store.model,
        run_id=run.info.run_id,
        versions=mine,
        created=tuple(missing),
        aliases=aliases if promote else {},
        promotions=promotions,
    )


def _checked(report: BuildReport, variants: Mapping[str, bytes]) -> dict[str, VariantFacts]:
    facts = {m.variant.recipe: m.variant for m in report.measurements}
    for recipe, tflite in variants.items():
        if recipe not in facts or facts[recipe].sha256 != sha256(tflite):
            raise UsageError(f"the variant {recipe} is not the one that the report measured", "run the build again")
    for selection in report.selections:
        alias_of(selection.device)
        if selection.recipe is not None and selection.recipe not in variants:
            raise UsageError(
                f"{selection.recipe} was selected for {selection.device} but not given", "run the build again"
            )
    return facts


class _Store:
    """One workload's experiment and registered model in MLflow."""

    def __init__(self, settings: RegistrySettings, report: BuildReport) -> None:
        self.settings, self.report = settings, report
        self.model = model_name(report.workload)
        self._client = connect(settings)
        self._open_model()

    def _open_model(self) -> None:
        found = self._client.search_registered_models(f"name = '{self.model}'")
        if not found:
            self._client.create_registered_model(self.model, {"workload": self.report.workload}, self.report.title)
        elif found[0].tags.get("workload", self.report.workload) != self.report.workload:
            raise UsageError(
                f"the registered model {self.model} belongs to the workload {found[0].tags['workload']!r}",
                "rename one of the two workloads",
            )

    def run(self) -> Any:
        """The run of this build: the one of the same content, finished or cut short, or a new one."""
        experiment = self._experiment()
        digest = build_digest(self.report)
        found = self._client.search_runs([experiment], f"tags.`{_DIGEST_TAG}` = '{digest}'", max_results=1)
        if found:
            return found[0]
        tags = {_DIGEST_TAG: digest, "mlflow.runName": f"build {digest[:8]}", "mlflow.note.content": self.report.title}
        return self._client.create_run(experiment, tags=tags)

    def _experiment(self) -> str:
        name = self.report.workload
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        root = self.settings.artifact_root
        return str(self._client.create_experiment(name, artifact_location=f"{root}/{self.model}" if root else None))

    def versions(self) -> dict[tuple[str, str], str]:
        """(recipe, sha256) → the newest version of that content."""
        return {key: str(one.version) for key, one in newest_versions(self._client, self.model).items()}

    def add_versions(self, run: Any, variants: Mapping[str, bytes], facts: Mapping[str, VariantFacts]) -> None:
        """Upload and register the variants that are not there yet."""
        with tempfile.TemporaryDirectory(prefix="tinymlops-register-") as scratch:
            for number, (recipe, tflite) in enumerate(variants.items()):
                folder = Path(scratch) / str(number)
                write_model(folder, recipe, tflite)
                place = f"variants/{plain_name(recipe)}"
                self._client.log_artifacts(run.info.run_id, str(folder), place)
                self._client.create_model_version(
                    self.model,
                    source=f"{run.info.artifact_uri}/{place}",
                    run_id=run.info.run_id,
                    tags=version_tags(self.report, facts[recipe]),
                    description=f"{recipe}, {facts[recipe].model_bytes:,} B",
                )

    def describe(
        self,
        run: Any,
        versions: Mapping[str, str],
        facts: Mapping[str, VariantFacts],
        files: Mapping[str, Path | bytes],
    ) -> None:
        """Write the run's parameters, metrics and files, bring the versions' tags up to date, and close the run."""
        from mlflow.entities import Metric, Param

        run_id, now_ms = run.info.run_id, int(datetime.now(UTC).timestamp() * 1000)
        metrics = [Metric(name, value, now_ms, 0) for name, value in run_metrics(self.report).items()]
        params = [Param(name, value) for name, value in run_params(self.report).items()]
        self._client.log_batch(run_id, params=params)
        for start in range(0, len(metrics), _MOST_METRICS_A_CALL):
            self._client.log_batch(run_id, metrics=metrics[start : start + _MOST_METRICS_A_CALL])
        self._upload(run_id, files)
        present = {str(one.version): one.tags for one in all_versions(self._client, self.model)}
        for recipe, version in versions.items():
            for key, value in version_tags(self.report, facts[recipe]).items():
                if present[version].get(key) != value:
                    self._client.set_model_version_tag(self.model, version, key, value)
        self._client.set_terminated(run_id)

    def _upload(self, run_id: str, files: Mapping[str, Path | bytes]) -> None:
        with tempfile.TemporaryDirectory(prefix="tinymlops-register-") as scratch:
            for name, content in files.items():
                local = Path(scratch) / Path(name).name
                local.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
            self._client.log_artifacts(run_id, scratch)

    def promote(
        self, versions: Mapping[str, str], facts: Mapping[str, VariantFacts], who: str
    ) -> tuple[Promotion, ...]:
        """Point each device's alias to its selection; logged first, so that no alias moves unseen."""
        model = self._client.get_registered_model(self.model)
        aliases = {name: str(version) for name, version in model.aliases.items()}
        moved = []
        for selection in self.report.selections:
            if selection.recipe is None or aliases.get(selection.device) == versions[selection.recipe]:
                continue
            promotion = self._promotion(selection, versions, facts, who, aliases.get(selection.device))
            if not self._logged_already(promotion):
                append(self.settings.promotion_log, promotion)
            self._client.set_registered_model_alias(self.model, selection.device, promotion.version)
            moved.append(promotion)
        return tuple(moved)

    def _promotion(
        self,
        selection: Selection,
        versions: Mapping[str, str],
        facts: Mapping[str, VariantFacts],
        who: str,
        previous: str | None,
    ) -> Promotion:
        recipe = str(selection.recipe)
        return Promotion(
            who=who,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            why=selection.reason,
            device=selection.device,
            model=self.model,
            version=versions[recipe],
            recipe=recipe,
            sha256=facts[recipe].sha256,
            previous=previous,
        )

    def _logged_already(self, promotion: Promotion) -> bool:
        """Whether the newest line of this device says the same: a crash came between log and alias."""
        log = verify_log(self.settings.promotion_log).promotions
        key = promotion.model, promotion.device, None
        own = [one for one in log if (one.model, one.device, one.release) == key]
        return bool(own) and msgspec.structs.replace(promotion, who=own[-1].who, when=own[-1].when) == own[-1]
