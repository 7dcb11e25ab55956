from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.reporting.samples import build_report
from tinymlops.errors import StorageError, UsageError
from tinymlops.registry import Promotion, RegistrySettings, alias_of, model_name, verify_log
from tinymlops.registry.facts import build_digest, run_metrics, run_params, version_tags
from tinymlops.registry.promotions import append


def _promotion(number: int = 1, who: str = "ada") -> Promotion:
    return Promotion(
        who=who,
        when="2026-11-23T17:40:00+00:00",
        why="best validation accuracy of the 7 that may run, 0.8421",
        device="raspberry-pi-5",
        model="tinymlops-activity",
        version=str(number),
        recipe="int8",
        sha256="ab" * 32,
        previous=str(number - 1) if number > 1 else None,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "promotions.jsonl"
    for number in range(1, 4):
        append(path, _promotion(number))
    return path


# --- the promotion log


def test_a_log_gives_back_what_was_appended(log: Path) -> None:
    found = verify_log(log)
    assert found.promotions == tuple(_promotion(number) for number in range(1, 4))
    assert not found.torn


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert verify_log(tmp_path / "none.jsonl").promotions == ()


def test_a_log_that_is_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't be read"):
        verify_log(tmp_path)
    with pytest.raises(StorageError, match="no alias was moved"):
        append(tmp_path, _promotion())


@pytest.mark.parametrize("line", [0, 1])
def test_a_changed_line_breaks_the_chain(log: Path, line: int) -> None:
    lines = log.read_text().splitlines(keepends=True)
    lines[line] = lines[line].replace("ada", "eve")
    log.write_text("".join(lines))
    with pytest.raises(StorageError, match=f"line {line + 2} .* does not follow"):
        verify_log(log)


@pytest.mark.parametrize("line", [0, 1])
def test_a_removed_line_breaks_the_chain_and_nothing_is_appended_to_it(log: Path, line: int) -> None:
    lines = log.read_text().splitlines(keepends=True)
    del lines[line]
    log.write_text("".join(lines))
    with pytest.raises(StorageError, match="does not follow"):
        append(log, _promotion(4))
    assert log.read_text() == "".join(lines)


def test_a_line_that_is_no_promotion_is_told_by_its_number(log: Path) -> None:
    log.write_bytes(log.read_bytes() + b"\xff\xfe\n")
    with pytest.raises(StorageError, match=r"line 4 .* is not a promotion"):
        verify_log(log)


@settings(deadline=None)  # it waits for the disk
@given(st.integers(0, 10_000))
def test_a_log_that_a_crash_cut_anywhere_goes_on_with_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "promotions.jsonl"
    for number in range(1, 4):
        append(path, _promotion(number))
    content = path.read_bytes()
    kept = content[: cut % len(content)]
    path.write_bytes(kept)
    whole = kept.count(b"\n")
    assert verify_log(path).torn is (not kept.endswith(b"\n") and kept != b"")
    append(path, _promotion(9))
    found = verify_log(path)
    assert not found.torn
    assert found.promotions == (*(_promotion(n) for n in range(1, whole + 1)), _promotion(9))


def test_a_write_that_fails_leaves_the_log_as_it_was(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = log.read_bytes(), os.write

    def full(descriptor: int, content: bytes) -> int:
        if len(content) > 10:
            return write(descriptor, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", lambda d, c: full(d, c) if len(c) > 100 else full(d, b""))
    with pytest.raises(StorageError, match="No space left"):
        append(log, _promotion(4))
    monkeypatch.undo()
    assert log.read_bytes() == before


def _append_many(path: Path, who: str) -> None:
    for number in range(25):
        append(path, _promotion(number + 1, who))


def test_many_processes_append_at_once_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "promotions.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, f"w{n}")) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len(set(verify_log(path).promotions)) == 100


# --- names and settings


def test_an_alias_is_the_name_of_the_device() -> None:
    assert alias_of("raspberry-pi-3-32bit") == "raspberry-pi-3-32bit"


@pytest.mark.parametrize("name", ["latest", "Latest", "v12", "a b", "a.b", "", "é"])
def test_a_name_that_mlflow_refuses_is_refused_before_anything_is_written(name: str) -> None:
    with pytest.raises(UsageError, match="can't be an alias"):
        alias_of(name)


def test_the_model_of_a_workload_in_a_file_has_a_plain_name() -> None:
    assert model_name("activity") == "tinymlops-activity"
    assert model_name("my work/task.py:mine") == "tinymlops-my-work-task.py-mine"


def test_without_settings_the_store_is_sqlite_in_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TINYMLOPS_STATE", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found = RegistrySettings.from_environment()
    assert found.tracking_uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert found.artifact_root == f"file://{tmp_path}/mlflow/artifacts"
    assert found.promotion_log == tmp_path / "mlflow" / "promotions.jsonl"


@pytest.mark.parametrize(
    ("uri", "root", "expected"),
    [
        ("http://mlflow:5000", None, None),
        ("postgresql://db/mlflow", "s3://models", "s3://models"),
        ("http://mlflow:5000", "s3://models", "s3://models"),
    ],
)
def test_a_server_decides_where_files_go_unless_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str, root: str | None, expected: str | None
) -> None:
    monkeypatch.setenv("TINYMLOPS_STATE", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("TINYMLOPS_ARTIFACT_ROOT", raising=False)
    if root:
        monkeypatch.setenv("TINYMLOPS_ARTIFACT_ROOT", root)
    found = RegistrySettings.from_environment()
    assert (found.tracking_uri, found.artifact_root) == (uri, expected)


def test_importing_the_registry_imports_no_mlflow() -> None:
    code = "import sys, tinymlops.registry, json; print(json.dumps(sorted(m.split('.')[0] for m in sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"mlflow", "tensorflow", "matplotlib", "jinja2", "pandas"} & set(json.loads(ran.stdout))


# --- what MLflow is told


def test_the_digest_of_a_build_leaves_out_the_clock_and_nothing_else() -> None:
    report = build_report()
    assert build_digest(msgspec.structs.replace(report, created="later")) == build_digest(report)
    assert build_digest(msgspec.structs.replace(report, seed=8)) != build_digest(report)
    assert build_digest(msgspec.structs.replace(report, measurements=report.measurements[1:])) != build_digest(report)


def test_a_version_is_tagged_with_what_it_is_and_how_it_did_on_each_device() -> None:
    report = build_report()
    facts = {m.variant.recipe: m.variant for m in report.measurements}
    tags = version_tags(report, facts["int8"])
    assert tags["recipe"] == "int8"
    assert json.loads(tags["device.raspberry-pi-5"])["instructions"] == 1_874_071
    assert json.loads(tags["device.raspberry-pi-5"])["provenance"]["peak_RAM"] == "measured, includes the emulator"
    assert json.loads(tags["device.x86-gateway"])["latency_p50_us"] == 213.4
    lost = version_tags(report, facts["float32"])["device.raspberry-pi-zero-2"]
    assert json.loads(lost)["status"] == "out of memory"
    assert version_tags(report, facts["clustered-int8"])["vetoed"].startswith("validation accuracy")


def test_scores_and_selections_are_told_to_the_run() -> None:
    report = build_report()
    assert run_metrics(report)["raspberry-pi-5/int8/validation"] == 0.8421
    assert run_metrics(report)["reference/test"] == 0.7852
    assert run_params(report)["selected.raspberry-pi-5"] == "int8"


def test_a_score_that_is_not_a_number_is_kept_from_mlflow() -> None:
    report = build_report()
    scores = msgspec.structs.replace(report.float_scores, validation=float("nan"))
    assert "float/validation" not in run_metrics(msgspec.structs.replace(report, float_scores=scores))
