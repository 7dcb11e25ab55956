"""What a release reads back from a real SQLite MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_registry_mlflow import _FILES, _build, _client, tflite
from tinymlops.errors import ReleaseError, StorageError
from tinymlops.registry import RegistrySettings, note_release, register_build, verify_log
from tinymlops.registry.selected import read_selected
from tinymlops.reporting import BuildReport, measurements_json


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    return RegistrySettings.in_folder(tmp_path / "mlflow")


def register(settings: RegistrySettings, built: tuple[BuildReport, dict[str, bytes]]) -> Any:
    report, variants = built
    return register_build(
        report, variants, {**_FILES, "measurements.json": measurements_json(report)}, settings=settings
    )


def test_the_selected_variants_come_back_with_their_measurements(settings: RegistrySettings) -> None:
    report, variants = _build()
    register(settings, (report, variants))

    found = read_selected("activity", settings=settings)

    wanted = {one.device: one.recipe for one in report.selections if one.recipe}
    assert {device: one.recipe for device, one in found.devices.items()} == wanted
    assert {one.recipe: one.tflite for one in found.variants.values()} == variants
    for device, one in found.devices.items():
        assert set(one.measurements) == set(report.of_device(device))
        assert one.seed == report.seed


def test_an_alias_that_a_person_moved_is_obeyed_even_to_an_older_build(settings: RegistrySettings) -> None:
    first = register(settings, _build())
    register(settings, _build(int8=77))
    device = next(iter(first.aliases))
    older = first.versions["int8"]
    _client(settings).set_registered_model_alias("tinymlops-activity", device, older)

    found = read_selected("activity", settings=settings, devices=[device])

    chosen = found.devices[device]
    digest = next(m.variant.sha256 for m in chosen.measurements if m.variant.recipe == chosen.recipe)
    assert chosen.recipe == "int8"
    assert found.variants[digest].tflite == tflite(1)


def test_nothing_registered_says_what_to_run(settings: RegistrySettings) -> None:
    with pytest.raises(ReleaseError, match="no selected variant of activity is registered: run `tinymlops build"):
        read_selected("activity", settings=settings)


def test_a_device_without_a_selection_is_named(settings: RegistrySettings) -> None:
    register(settings, _build())

    with pytest.raises(ReleaseError, match="no selected variant for toaster"):
        read_selected("activity", settings=settings, devices=["toaster"])


def test_a_file_that_was_changed_in_the_registry_is_refused(settings: RegistrySettings, tmp_path: Path) -> None:
    register(settings, _build())
    for path in tmp_path.rglob("int8.tflite"):
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")

    with pytest.raises(StorageError, match="is not the file that was registered"):
        read_selected("activity", settings=settings)


def test_a_release_is_noted_once_for_each_device_and_moves_no_alias(settings: RegistrySettings) -> None:
    registered = register(settings, _build())
    found = read_selected("activity", settings=settings)

    first = note_release(found, 3, "selected", settings=settings, who="ada")
    again = note_release(found, 3, "selected", settings=settings, who="ada")

    log = verify_log(settings.promotion_log).promotions
    assert {(one.device, one.version, one.release) for one in first} == {
        (device, version, 3) for device, version in registered.aliases.items()
    }
    assert again == ()
    assert log[-len(first) :] == first


def test_building_again_after_a_release_promotes_nothing_again(settings: RegistrySettings) -> None:
    built = _build()
    register(settings, built)
    note_release(read_selected("activity", settings=settings), 1, "selected", settings=settings)
    before = verify_log(settings.promotion_log).promotions

    register(settings, built)

    assert verify_log(settings.promotion_log).promotions == before
