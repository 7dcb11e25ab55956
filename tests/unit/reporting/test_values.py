from __future__ import annotations

import json

import msgspec
import pytest

from tests.unit.reporting.samples import build_report
from tinymlops.measurement import Measurement
from tinymlops.reporting import RecipesFailedError, measurements_json, raise_for_failures, selection_json


def test_the_json_says_its_schema_and_holds_every_measurement() -> None:
    content = json.loads(measurements_json(build_report()))
    assert content["schema"] == 1
    assert len(content["measurements"]) == 48
    assert msgspec.convert(content["measurements"][0], Measurement).device == "raspberry-pi-3-32bit"


def test_the_json_depends_neither_on_order_nor_on_the_clock() -> None:
    report = build_report()
    other = msgspec.structs.replace(
        report,
        measurements=report.measurements[::-1],
        selections=report.selections[::-1],
        created="2031-01-01T00:00:00+00:00",
    )
    assert measurements_json(other) == measurements_json(report)
    assert selection_json(other) == selection_json(report)


def test_a_failed_recipe_is_an_error_that_carries_the_rest_of_the_build() -> None:
    report = build_report()
    with pytest.raises(RecipesFailedError, match=r"1 of the recipes failed \(gru-int8: the converter was stopped"):
        raise_for_failures(report)


def test_a_recipe_that_does_not_apply_is_no_error() -> None:
    report = build_report()
    raise_for_failures(msgspec.structs.replace(report, failures=report.failures[1:]))


def test_every_selection_is_told_with_its_reasons() -> None:
    found = {one["device"]: one for one in json.loads(selection_json(build_report()))["selections"]}
    assert found["raspberry-pi-zero-2"]["recipe"] == "pqat"
    assert found["raspberry-pi-zero-2"]["rejected"]["float32"][0].startswith("out of memory")
