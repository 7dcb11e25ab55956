"""Registers builds in a real SQLite MLflow."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flatbuffers
import msgspec
import numpy as np
import pytest

from tests.unit.reporting.samples import build_report
from tinymlops.errors import ModelFileError, StorageError, UsageError
from tinymlops.registry import RegistrySettings, register_build, verify_log
from tinymlops.reporting import BuildReport, measurements_json
from tinymlops.selection import select

_FILES = {"report.html": b"<p>report</p>", "pareto.png": b"\x89PNG"}


def tflite(weight_seed: int, *, columns: int = 3, rows: int = 1) -> bytes:
    """A model of one dense layer, float, written without any converter."""
    from ai_edge_litert import schema_py_generated as schema

    weights = np.random.default_rng(weight_seed).normal(size=(2, columns)).astype(np.float32)

    def tensor(name: str, shape: list[int], buffer: int) -> Any:
        one = schema.TensorT()
        one.name, one.shape, one.buffer, one.type = name, shape, buffer, schema.TensorType.FLOAT32
        return one

    buffers = [schema.BufferT() for _ in range(3)]
    buffers[1].data = list(weights.tobytes())
    buffers[2].data = list(np.array([0.5, -0.5], np.float32).tobytes())
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", [rows, columns], 0),
        tensor("w", [2, columns], 1),
        tensor("b", [2], 2),
        tensor("y", [rows, 2], 0),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _build(
    recipes: tuple[str, ...] = ("float16", "int8", "qat"), **changed: int
) -> tuple[BuildReport, dict[str, bytes]]:
    """The sample report over real files, one per recipe; ``changed`` gives recipes another seed."""
    sample = build_report()
    report = msgspec.structs.replace(
        sample, measurements=tuple(m for m in sample.measurements if m.variant.recipe in recipes)
    )
    selections = tuple(select(report.measurements, board) for board in report.profiles)
    report = msgspec.structs.replace(report, selections=selections)
    variants = {recipe: tflite(changed.get(recipe, seed)) for seed, recipe in enumerate(recipes)}
    runs = tuple(
        msgspec.structs.replace(
            m,
            variant=msgspec.structs.replace(m.variant, sha256=hashlib.sha256(variants[m.variant.recipe]).hexdigest()),
        )
        for m in report.measurements
    )
    return msgspec.structs.replace(report, measurements=runs), variants


def _without(report: BuildReport, recipe: str) -> BuildReport:
    """The same build, but with ``recipe`` vetoed: every device that ran it moves to another."""
    runs = tuple(
        msgspec.structs.replace(m, variant=msgspec.structs.replace(m.variant, vetoed="too weak"))
        if m.variant.recipe == recipe
        else m
        for m in report.measurements
    )
    selections = tuple(select(runs, board) for board in report.profiles)
    return msgspec.structs.replace(report, measurements=runs, selections=selections)


@pytest.fixture
def new_settings(tmp_path: Path) -> RegistrySettings:
    return RegistrySettings.in_folder(tmp_path / "mlflow")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """MLflow makes its tables in over a second: once is enough."""
    settings = RegistrySettings.in_folder(tmp_path_factory.mktemp("empty"))
    _client(settings).search_experiments()
    return settings.promotion_log.with_name("mlflow.db").read_bytes()


@pytest.fixture
def settings(new_settings: RegistrySettings, empty_database: bytes) -> RegistrySettings:
    folder = new_settings.promotion_log.parent
    folder.mkdir(parents=True)
    folder.joinpath("mlflow.db").write_bytes(empty_database)
    return new_settings


def _client(settings: RegistrySettings) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)


def _versions(settings: RegistrySettings) -> list[Any]:
    return list(_client(settings).search_model_versions("name = 'tinymlops-activity'"))


def test_a_build_becomes_versions_aliases_and_a_run_with_its_files(settings: RegistrySettings) -> None:
    report, variants = _build()
    files = _FILES | {"measurements.json": measurements_json(report)}
    done = register_build(report, variants, files, settings=settings, who="ada")

    client = _client(settings)
    assert len(_versions(settings)) == 3
    version = client.get_model_version_by_alias("tinymlops-activity", "raspberry-pi-5")
    assert (version.tags["recipe"], str(version.version)) == ("int8", done.versions["int8"])
    assert version.tags["sha256"] == hashlib.sha256(variants["int8"]).hexdigest()
    run = client.get_run(done.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["raspberry-pi-5/int8/instructions"] == 1_874_071
    assert run.data.params["seed"] == "7"
    assert {item.path for item in client.list_artifacts(done.run_id)} == {*files, "variants"}


def test_a_version_loads_by_its_alias_and_predicts_what_the_interpreter_does(
    settings: RegistrySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from ai_edge_litert.interpreter import Interpreter

    report, variants = _build()
    register_build(report, variants, _FILES, settings=settings)
    # not by mlflow.set_tracking_uri: that stays in the environment, and so in every process that later tests start
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    served = mlflow.pyfunc.load_model("models:/tinymlops-activity@raspberry-pi-5")
    rows = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)

    interpreter = Interpreter(model_content=variants["int8"])
    interpreter.allocate_tensors()
    expected = []
    for row in rows:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    np.testing.assert_allclose(served.predict(rows), np.stack(expected), rtol=1e-6)
    assert served.metadata.signature.inputs.inputs[0].shape == (-1, 3)

    folder = Path(
        mlflow.artifacts.download_artifacts("models:/tinymlops-activity@raspberry-pi-5", dst_path=str(tmp_path))
    )
    assert (folder / "artifacts" / "int8.tflite").read_bytes() == variants["int8"]
    assert not list(folder.rglob("*.pkl"))


@pytest.mark.parametrize("fixed_rows", [1, 4])
@pytest.mark.parametrize("named", [False, True])
def test_rows_go_in_one_by_one_unless_the_model_takes_a_fixed_number(
    tmp_path: Path, fixed_rows: int, named: bool
) -> None:
    from tinymlops.registry.tflite_model import TfliteModel

    path = tmp_path / "dense.tflite"
    path.write_bytes(tflite(5, rows=fixed_rows))
    model = TfliteModel()
    model.load_context(SimpleNamespace(artifacts={"tflite": str(path)}))
    rows = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    given: Any = {"x": rows} if named else rows
    weights = np.random.default_rng(5).normal(size=(2, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(None, given), rows @ weights.T + [0.5, -0.5], rtol=1e-4, atol=1e-5)


def test_the_same_build_again_makes_nothing_new_and_is_quick(settings: RegistrySettings) -> None:
    report, variants = _build()
    first = register_build(report, variants, _FILES, settings=settings)
    started = time.monotonic()
    later = msgspec.structs.replace(report, created="2031-01-01T00:00:00+00:00")
    second = register_build(later, variants, _FILES, settings=settings)
    assert time.monotonic() - started < 2
    assert (second.run_id, second.versions, second.aliases) == (first.run_id, first.versions, first.aliases)
    assert (second.created, second.promotions) == ((), ())
    assert len(_versions(settings)) == 3
    assert len(verify_log(settings.promotion_log).promotions) == 4


def test_one_changed_variant_makes_one_new_version_and_moves_its_aliases(settings: RegistrySettings) -> None:
    report, variants = _build()
    first = register_build(report, variants, _FILES, settings=settings)
    report, variants = _build(int8=99)
    second = register_build(report, variants, _FILES, settings=settings, who="bob")
    assert second.created == ("int8",)
    assert second.run_id != first.run_id
    assert {one.device for one in second.promotions} == {one.device for one in report.selections}
    assert all((one.who, one.previous) == ("bob", first.versions["int8"]) for one in second.promotions)


def test_the_log_tells_each_move_of_an_alias_with_its_reason(settings: RegistrySettings) -> None:
    report, variants = _build()
    register_build(report, variants, _FILES, settings=settings)
    other = _without(report, "int8")
    moved = register_build(other, variants, _FILES, settings=settings)
    register_build(report, variants, _FILES, settings=settings)
    log = [one for one in verify_log(settings.promotion_log).promotions if one.device == "raspberry-pi-5"]
    assert [one.recipe for one in log] == ["int8", "qat", "int8"]
    assert [one.previous for one in log] == [None, moved.versions["int8"], moved.versions["qat"]]
    assert log[1].why == next(s for s in other.selections if s.device == "raspberry-pi-5").reason


def test_tags_of_a_known_version_follow_the_newest_build(settings: RegistrySettings) -> None:
    report, variants = _build()
    register_build(report, variants, _FILES, settings=settings)
    register_build(_without(report, "int8"), variants, _FILES, settings=settings)
    (version,) = [one for one in _versions(settings) if one.tags["recipe"] == "int8"]
    assert version.tags["vetoed"] == "too weak"


def test_a_device_without_selection_keeps_its_alias(settings: RegistrySettings) -> None:
    report, variants = _build()
    first = register_build(report, variants, _FILES, settings=settings)
    none = tuple(msgspec.structs.replace(one, recipe=None) for one in report.selections)
    register_build(msgspec.structs.replace(report, selections=none), variants, _FILES, settings=settings)
    version = _client(settings).get_model_version_by_alias("tinymlops-activity", "raspberry-pi-5")
    assert str(version.version) == first.versions["int8"]


@pytest.mark.parametrize("moment", ["create_model_version", "set_terminated", "set_registered_model_alias"])
def test_a_crash_in_the_middle_is_mended_by_the_same_call(
    settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    import mlflow

    class Crash(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Crash

    report, variants = _build()
    with monkeypatch.context() as broken:
        broken.setattr(mlflow.MlflowClient, moment, crash)
        with pytest.raises(Crash):
            register_build(report, variants, _FILES, settings=settings, who="ada")
    done = register_build(report, variants, _FILES, settings=settings, who="ada")
    client = _client(settings)
    experiment = client.get_experiment_by_name("activity")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FINISHED"]
    assert len(_versions(settings)) == 3
    aliases = client.get_registered_model("tinymlops-activity").aliases
    assert {name: str(version) for name, version in aliases.items()} == done.aliases
    assert len(verify_log(settings.promotion_log).promotions) == 4


def test_a_crash_while_the_database_is_made_leaves_none_and_the_next_call_makes_it(
    new_settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, variants = _build()
    folder = new_settings.promotion_log.parent

    def killed(_self: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            register_build(report, variants, {}, settings=new_settings)
    assert not (folder / "mlflow.db").exists()
    assert register_build(report, variants, {}, settings=new_settings).created


def test_no_alias_moves_when_the_log_is_broken(settings: RegistrySettings) -> None:
    report, variants = _build()
    settings.promotion_log.write_text("not a promotion\n")
    with pytest.raises(StorageError, match="line 1 of the promotion log"):
        register_build(report, variants, _FILES, settings=settings)
    assert _client(settings).get_registered_model("tinymlops-activity").aliases == {}


def test_variants_that_were_not_measured_are_refused_before_anything_is_written(new_settings: RegistrySettings) -> None:
    settings = new_settings
    report, variants = _build()
    with pytest.raises(UsageError, match="int8 is not the one that the report measured"):
        register_build(report, variants | {"int8": b"other"}, _FILES, settings=settings)
    with pytest.raises(UsageError, match="int8 was selected for x86-gateway but not given"):
        register_build(report, {"qat": variants["qat"]}, _FILES, settings=settings)
    assert not settings.promotion_log.parent.exists()


def test_a_file_that_is_no_model_is_one_clear_error(settings: RegistrySettings) -> None:
    report, variants = _build()
    broken = variants["qat"][:100]
    runs = tuple(
        msgspec.structs.replace(
            m, variant=msgspec.structs.replace(m.variant, sha256=hashlib.sha256(broken).hexdigest())
        )
        if m.variant.recipe == "qat"
        else m
        for m in report.measurements
    )
    with pytest.raises(ModelFileError, match="the variant qat is no model"):
        register_build(
            msgspec.structs.replace(report, measurements=runs), variants | {"qat": broken}, _FILES, settings=settings
        )


def test_a_second_workload_of_the_same_plain_name_is_refused(settings: RegistrySettings) -> None:
    report, variants = _build()
    register_build(msgspec.structs.replace(report, workload="a/b"), variants, _FILES, settings=settings)
    with pytest.raises(UsageError, match="belongs to the workload 'a/b'"):
        register_build(msgspec.structs.replace(report, workload="a:b"), variants, _FILES, settings=settings)


def test_a_store_that_is_no_database_is_one_sentence(new_settings: RegistrySettings) -> None:
    settings = new_settings
    report, variants = _build()
    database = settings.promotion_log.with_name("mlflow.db")
    database.parent.mkdir(parents=True)
    database.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StorageError, match="MLflow at sqlite"):
        register_build(report, variants, _FILES, settings=settings)


def test_a_server_that_is_not_there_is_one_sentence_without_its_password(settings: RegistrySettings) -> None:
    report, variants = _build()
    absent = msgspec.structs.replace(settings, tracking_uri="http://user:secret@127.0.0.1:9")
    with pytest.raises(StorageError, match="MLflow at http://") as told:
        register_build(report, variants, _FILES, settings=absent)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_nothing_is_printed_and_no_warning_shown_while_registering_and_loading(tmp_path: Path) -> None:
    # A process of its own: pytest would catch the warnings, and MLflow shows some only once.
    code = f"""
from pathlib import Path
from tests.integration.test_registry_mlflow import _FILES, _build
from tinymlops.registry import RegistrySettings, register_build
settings = RegistrySettings.in_folder(Path({str(tmp_path)!r}))
report, variants = _build()
register_build(report, variants, _FILES, settings=settings)
import mlflow
mlflow.set_tracking_uri(settings.tracking_uri)
mlflow.pyfunc.load_model("models:/tinymlops-activity@x86-gateway")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    # LiteRT tells of its kernels on standard error; that is not ours to hide.
    assert (ran.stdout, [line for line in ran.stderr.splitlines() if "INFO: " not in line]) == ("", [])


def test_twelve_versions_in_a_new_store_take_seconds(new_settings: RegistrySettings) -> None:
    report, variants = _build(tuple(dict.fromkeys(m.variant.recipe for m in build_report().measurements)))
    started = time.monotonic()
    done = register_build(report, variants, _FILES, settings=new_settings)
    assert time.monotonic() - started < 15
    assert len(done.created) == len(_versions(new_settings)) == 12
