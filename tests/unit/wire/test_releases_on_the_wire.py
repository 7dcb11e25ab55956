"""Manifests and assignments: what the two signed descriptions of a release refuse to say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.samples import ASSIGNMENT, KEYS, MANIFEST
from tinymlops.errors import FormatError
from tinymlops.wire.assignment import Assignment, Offer, PackageOffer, VariantOffer, target_of
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.manifest import MOST_MODEL_BYTES, Histogram, Manifest, SelfTest, Statistic, Tensor
from tinymlops.wire.observations import FeatureKind

WORDS = st.text("aB9._-", max_size=10).map("w".__add__)
COUNTS = st.integers(0, 2**53 - 1)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
WRAPPED = st.binary(min_size=80, max_size=80)


@st.composite
def variants(draw: st.DrawFn, folder: str) -> VariantOffer:
    def package(base: str) -> PackageOffer:
        return PackageOffer(
            path=folder + draw(WORDS), key_id=draw(WORDS), wrapped_key=draw(WRAPPED), bytes=draw(COUNTS), base=base
        )

    bases = ["", *draw(st.lists(DIGESTS, max_size=2))]
    return VariantOffer(manifest=folder + draw(WORDS), packages=tuple(package(base) for base in bases))


@st.composite
def assignments(draw: st.DrawFn) -> Assignment:
    offers = []
    for workload in draw(st.lists(WORDS, max_size=3, unique=True)):
        version = draw(COUNTS)
        folder = f"releases/{workload}/{version}/"
        found = draw(st.lists(variants(folder), min_size=1, max_size=2))
        offers.append(Offer(workload=workload, version=version, variants=tuple(found)))
    issued_s = draw(st.floats(0, 2**39))
    return Assignment(device_id=KEYS.device_id, counter=draw(COUNTS), issued_s=issued_s, offers=tuple(offers))


@given(assignments())
def test_any_assignment_comes_back(assignment: Assignment) -> None:
    assert decode(encode(assignment), Assignment) == assignment


@given(
    shape=st.lists(st.integers(1, 8), max_size=4).map(tuple),
    dtype=st.sampled_from(("int8", "uint8", "int16", "float32", "float16", "bool")),
    scale=st.none() | st.floats(1e-30, 1e30),
    rows=st.integers(0, 4),
    labels=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=4).map(tuple),
)
def test_any_manifest_comes_back(
    shape: tuple[int, ...], dtype: str, scale: float | None, rows: int, labels: tuple[str, ...]
) -> None:
    tensor = Tensor(shape=shape, dtype=dtype, scale=scale, zero_point=-128)
    raw = bytes(range(256)) * 512
    test = SelfTest(rows=rows, inputs=raw[: rows * tensor.bytes], outputs=raw[: rows * tensor.bytes], tolerance=0.5)
    manifest = msgspec.structs.replace(MANIFEST, input=tensor, output=tensor, self_test=test, labels=labels)
    assert decode(encode(manifest), Manifest) == manifest


# --- assignments


def _package(path: str = "releases/activity/7/int8.tmz", base: str = "") -> PackageOffer:
    return PackageOffer(path=path, key_id="k", wrapped_key=bytes(80), bytes=1, base=base)


def test_differences_alone_are_no_offer() -> None:
    with pytest.raises(FormatError, match="as differences only: offer the whole package too"):
        VariantOffer(manifest="releases/activity/7/int8.manifest", packages=(_package(base="6c" * 32),))


@pytest.mark.parametrize("part", ["manifest", "package"])
@pytest.mark.parametrize("folder", ["releases/activity/6/", "releases/activity/70/", "releases/words/7/"])
def test_an_offer_does_not_mix_releases(part: str, folder: str) -> None:
    own = "releases/activity/7/"
    variant = VariantOffer(
        manifest=(folder if part == "manifest" else own) + "int8.manifest",
        packages=(_package(), _package((folder if part == "package" else own) + "int8.from-6.tmz", "6c" * 32)),
    )
    with pytest.raises(FormatError, match=r"is not a target of releases/activity/7/"):
        Offer(workload="activity", version=7, variants=(variant,))


def test_a_workload_is_offered_once() -> None:
    with pytest.raises(FormatError, match="two offers are for one workload"):
        msgspec.structs.replace(ASSIGNMENT, offers=ASSIGNMENT.offers * 2)


def test_the_same_rules_hold_for_what_arrives() -> None:
    content = encode(ASSIGNMENT)
    for old, new in ((b'"version":7', b'"version":8'), (b'"base":""', b'"base":"' + b"6c" * 32 + b'"')):
        assert content.count(old) == 1
        with pytest.raises(FormatError):
            decode(content.replace(old, new), Assignment)


def _changes() -> list[tuple[bytes, bytes]]:
    return [
        (b'"path":"releases/', b'"path":"devices/'),
        (b'"path":"releases/activity/7/int8.tmz"', b'"path":"releases/activity/7/../../x"'),
        (b'"bytes":512', b'"bytes":-1'),
        (b'"key_id":"activity-7-int8"', b'"key_id":"a|b"'),
        (b'"counter":12', b'"counter":-1'),
        (b'"counter":12', b'"counter":9007199254740992'),
        (b'"device_id":"b0', b'"device_id":"B0'),
        (b'"issued_s":1800000000.0', b'"issued_s":-1.0'),
        (b'"wrapped_key":"', b'"wrapped_key":"AAAA'),
    ]


@pytest.mark.parametrize("change", _changes(), ids=lambda change: change[1].decode())
def test_an_assignment_out_of_bounds_is_refused(change: tuple[bytes, bytes]) -> None:
    content = encode(ASSIGNMENT)
    assert change[0] in content
    with pytest.raises(FormatError):
        decode(content.replace(*change, 1), Assignment)


@pytest.mark.parametrize(
    ("seen", "counter", "follows"),
    [
        (0, 0, False),
        (0, 1, True),
        (12, 11, False),
        (12, 12, False),
        (12, 13, True),
        (12, 12 + 2**20, True),
        (12, 13 + 2**20, False),
        (12, 2**53 - 1, False),
    ],
)
def test_a_counter_grows_and_can_not_be_used_up_at_once(seen: int, counter: int, follows: bool) -> None:
    assert msgspec.structs.replace(ASSIGNMENT, counter=counter).may_follow(seen) == follows


def test_a_device_has_one_target() -> None:
    assert target_of(KEYS.device_id) == f"devices/{KEYS.device_id}"


@pytest.mark.parametrize("device_id", ["", "../root", "B0" * 16, "b0" * 17, "b0" * 16 + "\n", "٣" * 32])
def test_what_is_no_device_id_has_no_target(device_id: str) -> None:
    with pytest.raises(FormatError, match="is not a device id"):
        target_of(device_id)


# --- manifests

CONFIDENCE: dict[str, Any] = msgspec.to_builtins(MANIFEST.output_features[0])


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": MOST_MODEL_BYTES + 1},
        {"sha256": "5D" * 32},
        {"workload": "a/b"},
        {"recipe": "int8\n"},
        {"temperature": 0},
        {"version": -1},
        {"minimum_agent": ""},
        {"operators": ["ADD"] * 257},
        {"labels": ["x" * 501]},
        {"input": {"shape": [1, 0], "dtype": "int8"}},
        {"input": {"shape": [1] * 9, "dtype": "int8"}},
        {"input": {"shape": [1, 6], "dtype": "object"}},
        {"input": {"shape": [1, 6], "dtype": "S1000000000"}},
        {"input": {"shape": [1, 6], "dtype": "int8\n"}},
        {"input": {"shape": [1, 6], "dtype": "int8", "scale": 0}},
        {"input": {"shape": [2**30, 2**30], "dtype": "int8"}},
        {"output_features": [{**CONFIDENCE, "edges": [0.5, 0.5], "reference": [0.5, 0.25, 0.25]}]},
        {"output_features": [CONFIDENCE, CONFIDENCE]},
        {"output_features": [{**CONFIDENCE, "name": "channel 0 mean"}]},
        {"output_features": [{**CONFIDENCE, "kind": "input"}]},
        {"output_features": [{**CONFIDENCE, "kind": "output"}]},
        {"output_features": [{**CONFIDENCE, "index": 1}]},
        {"classifies": False},
        {"bounds": {"error_rate": 1.5}},
    ],
    ids=str,
)
def test_a_manifest_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    good = msgspec.json.decode(encode(MANIFEST))
    with pytest.raises(FormatError):
        decode(msgspec.json.encode({**good, **change}), Manifest)


@pytest.mark.parametrize("part", ["inputs", "outputs"])
def test_a_self_test_has_all_its_rows_and_no_more(part: str) -> None:
    test = MANIFEST.self_test
    for content in (getattr(test, part)[:-1], getattr(test, part) + b"\x00"):
        with pytest.raises(FormatError, match=f"the self-test's {part} have"):
            msgspec.structs.replace(MANIFEST, self_test=msgspec.structs.replace(test, **{part: content}))


@pytest.mark.parametrize(
    ("edges", "reference"),
    [
        ((1.0, 1.0), (0.2, 0.3, 0.5)),
        ((2.0, 1.0), (0.2, 0.3, 0.5)),
        ((1.0,), (1.0,)),
        ((), ()),
        ((float("nan"), 1.0), (0.0,) * 3),
    ],
)
def test_the_bins_of_a_histogram_fit_together(edges: tuple[float, ...], reference: tuple[float, ...]) -> None:
    with pytest.raises(FormatError, match="do not fit together"):
        Histogram(name="h", channel=0, statistic=Statistic.MEAN, edges=edges, reference=reference)


def test_an_older_manifest_without_output_features_still_reads() -> None:
    good = msgspec.json.decode(encode(MANIFEST))
    old = {key: value for key, value in good.items() if key != "output_features"}
    old["confidence_edges"] = [0.5, 0.9]
    old["histograms"] = [{key: value for key, value in one.items() if key != "rows"} for one in good["histograms"]]

    read = decode(msgspec.json.encode(old), Manifest)

    assert read.features == tuple(one.feature for one in read.histograms)


def test_the_layout_names_what_the_bins_mean_and_not_what_was_seen_in_them() -> None:
    replace = msgspec.structs.replace
    histogram = MANIFEST.histograms[0]

    assert [one.kind for one in MANIFEST.features] == [
        FeatureKind.INPUT, FeatureKind.CONFIDENCE, FeatureKind.CLASS, FeatureKind.ERROR,
    ]  # fmt: skip
    assert replace(MANIFEST, histograms=(replace(histogram, reference=(0.5, 0.25, 0.25)),)).layout == MANIFEST.layout
    assert replace(MANIFEST, histograms=(replace(histogram, edges=(-1.0, 2.0)),)).layout != MANIFEST.layout
    assert replace(MANIFEST, output_features=()).layout != MANIFEST.layout
