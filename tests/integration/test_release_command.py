"""From a build to a release by the command line: real training, real registry, real Prefect, this machine's own CPU."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.unit.cli.running import tinymlops
from tinymlops.premises import Premises
from tinymlops.registry import verify_log
from tinymlops.releases.records import ReleaseRecord
from tinymlops.wire.encoding import decode
from tinymlops.wire.manifest import Manifest

TABLE = f"{Path(__file__).with_name('workloads') / 'shapes.py'}:Table"


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"TINYMLOPS_STATE": str(folder / "state"), "DOCKER_HOST": f"unix://{folder}/no.sock"}
        state = folder / "state"
        self.premises = Premises(
            store=str(state / "repository"),
            private=str(state / "private"),
            database=f"sqlite:///{state / 'fleet.sqlite'}",
            telemetry=str(state / "telemetry"),
            keys=state / "keys",
        )

    def run(self, *words: str) -> CompletedProcess[str]:
        return tinymlops(*words, timeout_s=300, **self.environment)

    def build(self, recipes: str, seed: int) -> None:
        out = str(self.folder / "out")
        ended = self.run("build", TABLE, "--recipes", recipes, "--seed", str(seed), "--out", out)
        assert ended.returncode == 0, ended.stderr

    def release(self, number: int) -> ReleaseRecord:
        return self.premises.records().load("table-of-three", number)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("released"))
    site.build("float32,int8", 7)
    return site


def test_without_keys_a_release_says_how_to_make_them(site: Site) -> None:
    refused = site.run("release", TABLE)

    assert refused.returncode == 9, refused.stderr
    assert "tinymlops keys create" in refused.stderr


def test_what_was_selected_is_described_sealed_signed_and_noted(site: Site) -> None:
    assert site.run("keys", "create", "--development").returncode == 0

    released = site.run("release", TABLE, "--why", "for the test")

    assert released.returncode == 0, released.stderr
    record = site.release(1)
    assert {one.profile for one in record.variants} == {"x86-gateway"}
    assert record.why == "for the test"
    repository = site.premises.repository()
    manifest = decode(repository.target(record.variants[0].manifest), Manifest)
    assert manifest.sha256 == record.variants[0].sha256
    assert manifest.self_test.rows > 0
    log = verify_log(site.folder / "state" / "mlflow" / "promotions.jsonl").promotions
    assert (log[-1].release, log[-1].device, log[-1].recipe) == (1, "x86-gateway", record.variants[0].recipe)
    assert record.variants[0].recipe in site.run("releases").stdout


def test_the_same_selection_again_is_no_new_release(site: Site) -> None:
    refused = site.run("release", TABLE)

    assert refused.returncode == 16
    assert "release 1 of table-of-three holds exactly these variants" in refused.stderr
    assert site.premises.records().versions("table-of-three") == (1,)


def test_a_microcontroller_gets_its_model_in_another_way(site: Site) -> None:
    refused = site.run("release", TABLE, "--devices", "nucleo-l4r5zi")

    assert refused.returncode == 16
    assert "nucleo-l4r5zi can't run an agent: use `tinymlops export" in refused.stderr


def test_another_build_makes_another_release_with_differences(site: Site) -> None:
    site.build("int8", 8)

    released = site.run("release", TABLE)

    assert released.returncode == 0, released.stderr
    record = site.release(2)
    assert any(one.base for packages in record.packages.values() for one in packages)


def test_a_rollout_without_devices_says_what_to_do(site: Site) -> None:
    refused = site.run("rollout", "start", "table-of-three")

    assert refused.returncode == 16
    assert "no device is waiting for version 2 of table-of-three" in refused.stderr


def test_stages_that_do_not_rise_are_refused_before_anything_starts(site: Site) -> None:
    refused = site.run("rollout", "start", "table-of-three", "--stages", "0.5,0.2,1")

    assert refused.returncode == 2
    assert "do not rise to 1" in refused.stderr
    assert "Watch it" not in refused.stderr
