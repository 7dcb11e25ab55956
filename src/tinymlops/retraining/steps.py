"""The steps of a retraining that touch the owner's premises. Done twice, they change nothing the second time."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from tinymlops.errors import CompressionError
from tinymlops.premises import Premises
from tinymlops.registry import Registration, RegistrySettings, register_build
from tinymlops.registry.retraining_notes import note_retraining
from tinymlops.registry.selected import read_variants
from tinymlops.reporting import BuildReport
from tinymlops.retraining.champion import champion_models, read_champion, release_in_the_field
from tinymlops.retraining.contest import Rules, decide
from tinymlops.retraining.field import FieldData, take_samples
from tinymlops.retraining.judging import Pair, judge
from tinymlops.retraining.plans import Plan, Plans
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.retraining.values import Comparison, Outcome, RetrainingRecord, Trigger
from tinymlops.workloads.catalogue import find_workload, load_workload
from tinymlops.workloads.snapshots import RenewedWorkload

FEWEST_FRESH = 200
"""Labelled samples since the champion was released, below which a retraining would learn nothing new."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for.

    Attributes:
        reference: The workload, as ``load_workload`` takes it.
        key: The same key is one retraining.
        trigger: What asked.
        why: In words.
        seed: Of all draws.
        table_version: Of the samples; the newest one if None.
    """

    reference: str
    key: str
    trigger: Trigger
    why: str
    seed: int
    table_version: int | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the contest said.

    Attributes:
        promote: Or keep the champion.
        reason: One sentence.
        metric: Of the scores.
        comparisons: Grounds.
    """

    promote: bool
    reason: str
    metric: str
    comparisons: tuple[Comparison, ...] = ()


def find_finished(premises: Premises, request: Request) -> RetrainingRecord | None:
    """The record of a retraining that is over."""
    name = find_workload(request.reference).name
    return RetrainingRecords(premises.telemetry_store()).find(name, request.key)


def pin(premises: Premises, request: Request, now_s: float) -> Plan:
    """Pin data and champion, or find what was pinned.

    Raises:
        ReleaseError: There is nothing to improve on, or a roll-out is under way.
    """
    name, plans = find_workload(request.reference).name, Plans(premises.telemetry_store())
    known = plans.find(name, request.key)
    if known is not None:
        return known
    version = request.table_version
    return plans.pin(
        Plan(
            workload=name,
            reference=request.reference,
            key=request.key,
            trigger=request.trigger,
            why=request.why,
            began_s=now_s,
            seed=request.seed,
            table_version=premises.tables().version("samples") if version is None else version,
            champion=release_in_the_field(premises.steering(), name),
        )
    )


def assemble(premises: Premises, plan: Plan) -> FieldData:
    """The samples that the plan pinned, as a file that the build reads."""
    champion = read_champion(premises, plan.workload, plan.champion)
    return take_samples(
        premises.tables(),
        find_workload(plan.reference),
        plan.reference,
        version=plan.table_version,
        values=champion.values,
        since_s=champion.record.created_s,
    )


def lacking(data: FieldData, fewest: int) -> str:
    """Why these samples are too few to learn from, or nothing."""
    if data.rows and data.fresh >= fewest:
        return ""
    others = f"; {data.unlabelled:,} have no truth and can't teach" if data.unlabelled else ""
    broken = f"; {data.unusable:,} do not fit the workload" if data.unusable else ""
    return (
        f"{data.fresh:,} labelled samples have come in since the champion was released, "
        f"{fewest:,} are needed{others}{broken}"
    )


def in_use(premises: Premises, plan: Plan) -> tuple[list[str], list[str]]:
    """Recipes and kinds of device of the champion: what a challenger is made by and for."""
    champion = read_champion(premises, plan.workload, plan.champion)
    return champion.recipes, champion.profiles


def contest(premises: Premises, plan: Plan, data: FieldData, report: BuildReport, k: int) -> Verdict:
    """Compare the build's selections with what the kinds of device run now, and decide."""
    champion = read_champion(premises, plan.workload, plan.champion)
    left_out = [one for one in champion.profiles if _selected(report, one) is None]
    if left_out:
        reason = f"no variant of the challenger fits {left_out[0]}"
        return Verdict(promote=False, reason=reason, metric=report.metric)
    chosen = {profile: str(_selected(report, profile)) for profile in champion.profiles}
    new = _variants(report, set(chosen.values()))
    old = champion_models(premises, champion)
    pairs = {profile: Pair(old[profile], new[recipe]) for profile, recipe in chosen.items()}
    loaded = load_workload(data.reference, plan.seed)
    if not isinstance(loaded.workload, RenewedWorkload):
        raise CompressionError(f"{data.reference} has no samples from the field", "retrain with samples")
    renewal = loaded.workload.renewal(plan.seed)
    comparisons = judge(loaded.workload, renewal, pairs, seed=plan.seed, k=k)
    decision = decide(comparisons, Rules(harm=loaded.workload.budget))
    return Verdict(promote=decision.promote, reason=decision.reason, metric=report.metric, comparisons=comparisons)


def promote(report: BuildReport) -> Registration:
    """Point the devices' aliases in the registry to the challenger."""
    recipes = {measurement.variant.recipe for measurement in report.measurements}
    return register_build(report, _variants(report, recipes), {}, settings=RegistrySettings.from_environment())


def find_release(premises: Premises, plan: Plan) -> tuple[str, int | None]:
    """Why what was compared is out of date, or nothing; and the release that an earlier run of this retraining made."""
    records = premises.records()
    later = [records.load(plan.workload, one) for one in records.versions(plan.workload) if one > plan.champion]
    own = next((one.version for one in later if one.why.startswith(reason_of(plan, ""))), None)
    if own is None and later:
        return f"release {later[-1].version} was made while this retraining ran: retrain against that one", None
    return "", own


def reason_of(plan: Plan, why: str) -> str:
    """What a release says of why it was made; begins with the key, by which it is found again."""
    return f"retraining {plan.key}: {why}"


def begin_rollout(premises: Premises, plan: Plan, release: int) -> str:
    """Begin the roll-out of the challenger, and look once; its id follows from the key."""
    steering = premises.steering()
    rollout = steering.start(plan.workload, release, rollout_id=f"{plan.workload}-{plan.key}")
    return steering.step(rollout.rollout_id).rollout_id


def record_of(
    plan: Plan,
    outcome: Outcome,
    reason: str,
    verdict: Verdict | None = None,
    *,
    release: int | None = None,
    rollout_id: str = "",
) -> RetrainingRecord:
    """What there is to remember; it ends now."""
    return RetrainingRecord(
        workload=plan.workload,
        key=plan.key,
        trigger=plan.trigger,
        why=plan.why,
        began_s=plan.began_s,
        ended_s=time.time(),
        table_version=plan.table_version,
        outcome=outcome,
        reason=reason,
        metric=verdict.metric if verdict else "",
        comparisons=verdict.comparisons if verdict else (),
        champion=plan.champion,
        release=release,
        rollout_id=rollout_id,
    )


def keep(premises: Premises, record: RetrainingRecord) -> RetrainingRecord:
    """Keep the record; what was kept of its key before counts, and comes back."""
    return RetrainingRecords(premises.telemetry_store()).keep(record)


def note(record: RetrainingRecord, report: BuildReport) -> None:
    """Tag the challenger in MLflow with what became of it."""
    settings = RegistrySettings.from_environment()
    recipes = {measurement.variant.recipe for measurement in report.measurements}
    registration = register_build(report, _variants(report, recipes), {}, settings=settings, promote=False)
    facts = {
        "key": record.key,
        "trigger": str(record.trigger),
        "why": record.why,
        "outcome": str(record.outcome),
        "reason": record.reason,
        "table_version": str(record.table_version),
        "champion": str(record.champion or ""),
        "release": str(record.release or ""),
    }
    note_retraining(registration, {name: value for name, value in facts.items() if value}, settings=settings)


def _selected(report: BuildReport, profile: str) -> str | None:
    selection = report.selection_of(profile)
    return None if selection is None else selection.recipe


def _variants(report: BuildReport, recipes: set[str]) -> Mapping[str, bytes]:
    """Recipe → file, out of the registry."""
    digests = {m.variant.recipe: m.variant.sha256 for m in report.measurements if m.variant.recipe in recipes}
    settings = RegistrySettings.from_environment()
    found = read_variants(report.workload, list(digests.items()), settings=settings)
    return {recipe: found[digest].tflite for recipe, digest in digests.items()}
