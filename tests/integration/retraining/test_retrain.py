"""Retraining by the command line: real training, MLflow, Prefect, Delta table, keys and roll-out."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import msgspec
import pytest

from tests.integration.deployments.served import served
from tests.integration.retraining.site import WORKLOAD, Site
from tinymlops.registry import verify_log
from tinymlops.retraining import Outcome
from tinymlops.retraining.lease import leased
from tinymlops.wire.encoding import decode
from tinymlops.wire.manifest import Manifest


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("retrained"))
    site.begin()
    return site


def test_unlabelled_samples_teach_nothing_and_the_record_says_so(site: Site) -> None:
    site.samples(world=1, labelled=False)

    ended = site.retrain("--key", "too-early")

    assert ended.returncode == 0, ended.stderr
    assert "no data: 0 labelled samples have come in" in ended.stdout
    assert "600 have no truth and can't teach" in ended.stdout
    assert [one.outcome for one in site.records] == [Outcome.NO_DATA]


def test_a_challenger_that_is_no_better_changes_nothing(site: Site) -> None:
    site.samples(world=0, seed=2)
    before = verify_log(site.state / "mlflow" / "promotions.jsonl").promotions

    ended = site.retrain("--key", "nothing-new", "--why", "curious")

    assert ended.returncode == 0, ended.stderr
    assert "the gain of" in ended.stdout
    assert "is not certain" in ended.stdout
    record = site.records[-1]
    assert (record.outcome, record.release, record.why) == (Outcome.REJECTED, None, "curious")
    assert site.releases == (1,)
    assert verify_log(site.state / "mlflow" / "promotions.jsonl").promotions == before


def test_nobody_who_agrees_in_time_means_no(site: Site) -> None:
    for seed in (3, 4):
        site.samples(world=1, seed=seed, each=60)

    ended = site.retrain("--key", "ask", "--approval", "--approval-time", "3")

    assert ended.returncode == 0, ended.stderr
    assert site.records[-1].outcome is Outcome.DECLINED
    assert "nobody answered in time" in ended.stdout
    assert site.releases == (1,)


def test_a_better_challenger_that_a_person_agrees_to_is_released_and_rolled_out_once(site: Site) -> None:
    asked = {
        "key": "moved",
        "why": "the world moved",
        "approval": True,
        "approval_s": 3600,
        "out": str(site.folder / "out"),
    }
    with served(site.state, **site.environment) as prefect:
        run = prefect.start_run("retrain/retrain", workload=WORKLOAD, **asked)
        prefect.until(lambda: prefect.state_of(run) == "Suspended", 120)
        assert site.releases[-1] == 1
        prefect.until(lambda: not any("prefect.engine" in one for one in prefect.processes().values()), 30)
        prefect.resume(run, approve=True, who="Ada", comment="looks right")
        prefect.until(lambda: prefect.state_of(run) == "Completed", 120)

    record = site.records[-1]
    assert (record.outcome, record.release, record.champion) == (Outcome.PROMOTED, 2, 1)
    assert site.releases == (1, 2)
    assert [(one.rollout_id, one.version) for one in site.rollouts] == [(record.rollout_id, 2)]
    by_rows = {one.rows: one for one in record.comparisons}
    assert {"held out", "recent", "own test"} <= set(by_rows)
    assert by_rows["recent"].low > 0.2
    log = verify_log(site.state / "mlflow" / "promotions.jsonl").promotions
    assert log[-1].release == 2

    again = site.retrain("--key", "moved")

    assert again.returncode == 0, again.stderr
    assert "promoted: " in again.stdout
    assert len(site.releases) == 2
    assert len(site.rollouts) == 1


def test_the_same_table_version_and_seed_give_the_same_model(site: Site) -> None:
    first = site.records[-1]
    files = sorted((site.state / "samples" / WORKLOAD).glob(f"{first.table_version}-*.npz"))
    assert len(files) == 1  # declined and promoted runs read the same rows
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    files[0].unlink()
    (rollout,) = site.rollouts
    assert site.run("rollout", "back", rollout.rollout_id).returncode == 0
    site.premises.steering().step(rollout.rollout_id)  # assigns what ran before, if a device had been assigned it
    assert site.premises.steering().step(rollout.rollout_id).status.is_final
    site.samples(world=1, seed=9)

    ended = site.retrain("--key", "repeat", "--table-version", str(first.table_version))

    assert ended.returncode == 0, ended.stderr
    assert hashlib.sha256(files[0].read_bytes()).hexdigest() == digest
    assert "✓ train" not in ended.stderr  # content keys are equal: the build's steps were done before


def test_one_retraining_of_a_workload_at_a_time(site: Site) -> None:
    with leased(site.premises.telemetry_store(), WORKLOAD, "somebody-else"):
        refused = site.retrain("--key", "second")

    assert refused.returncode == 14, refused.stderr
    assert "the retraining somebody-else is under way" in refused.stderr


def test_a_lease_of_a_process_that_is_gone_is_free_at_once(tmp_path: Path, site: Site) -> None:
    store = site.premises.telemetry_store()
    with leased(store, "other", "mine"):
        claim = msgspec.json.decode(store.get("retraining-leases/other.json"))
    claim |= {"process": 2**22 + 1, "started": "1", "until_s": 9e9, "key": "gone"}
    store.put("retraining-leases/other.json", msgspec.json.encode(claim))
    with leased(store, "other", "mine", wait_s=1) as lease:
        lease.check()
    assert threading.active_count() < 20


def test_a_release_by_hand_describes_what_the_model_learnt_from(site: Site) -> None:
    before = site.releases[-1]

    ended = site.run("release", WORKLOAD, "--metered")

    assert ended.returncode == 0, ended.stderr
    manifests = [manifest_of(site, number) for number in (1, before, site.releases[-1])]
    assert site.releases[-1] == before + 1
    assert manifests[1].histograms == manifests[2].histograms
    assert manifests[0].histograms != manifests[2].histograms


def manifest_of(site: Site, release: int) -> Manifest:
    record = site.premises.records().load(WORKLOAD, release)
    return decode(site.premises.repository().target(record.variants[0].manifest), Manifest)
