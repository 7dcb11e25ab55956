from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.reporting.samples import failed, measurement, profile, variant
from tinymlops.devices.profile import Budgets
from tinymlops.errors import UsageError
from tinymlops.measurement import Figure, Measurement, Scores, Status
from tinymlops.selection import (
    ACCURATE,
    FAST,
    DeviceState,
    Network,
    fits,
    for_state,
    pareto_front,
    select,
    unchecked,
)

# Few distinct values: ties and equals are what goes wrong.
_COSTS = st.integers(1, 6)


@st.composite
def measured(draw: st.DrawFn) -> list[Measurement]:
    """Up to eight variants of one device, all with the same kinds of figures."""
    higher, timed = draw(st.booleans()), draw(st.booleans())
    return [
        measurement(
            f"r{index}",
            validation=draw(st.sampled_from((0.5, 0.8, 0.801, 0.803, 0.81))),
            higher_is_better=higher,
            instructions=draw(_COSTS) * 1000,
            latency_us=draw(_COSTS) * 10 if timed else None,
            memory_kib=draw(_COSTS),
            facts=variant(f"r{index}", model_bytes=draw(_COSTS) * 1024, gzip_bytes=draw(_COSTS) * 700),
        )
        for index in range(draw(st.integers(1, 8)))
    ]


def _figures(one: Measurement) -> tuple[float, ...]:
    assert one.scores is not None
    assert one.peak_memory is not None
    score = one.scores.validation * (-1 if one.scores.higher_is_better else 1)
    time = one.latency_p50 or one.instructions
    assert time is not None
    return score, time.value, one.variant.model_bytes, one.variant.gzip_bytes, one.peak_memory.value


def _beats(one: Measurement, other: Measurement) -> bool:
    pairs = list(zip(_figures(one), _figures(other), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


# --- budgets


def test_a_variant_inside_every_budget_fits() -> None:
    assert fits(measurement(), Budgets(flash_kib=64, ram_kib=64, instructions=1_000_000)) == ()


def test_each_broken_budget_is_told_with_both_numbers() -> None:
    budgets = Budgets(flash_kib=10, ram_kib=50, instructions=500_000)
    assert fits(measurement(), budgets) == (
        "needs 50,000 B of 10,240 B flash",
        "needs 61,440 B of 51,200 B RAM",
        "needs 1,000,000 of 500,000 instructions",
    )


def test_a_board_with_megabytes_is_told_in_kib_and_a_small_one_in_bytes() -> None:
    one = msgspec.structs.replace(measurement(), peak_memory=Figure(69_136, "B"))
    assert fits(one, Budgets(ram_kib=64)) == ("needs 69,136 B of 65,536 B RAM",)
    large = msgspec.structs.replace(one, peak_memory=Figure(3 * 1024**2, "B"))
    assert fits(large, Budgets(ram_kib=2048)) == ("needs 3,072.0 of 2,048.0 KiB RAM",)


def test_compiled_code_and_its_stack_are_held_against_what_they_take() -> None:
    one = msgspec.structs.replace(measurement(), flash=Figure(70_000, "B"), stack=Figure(5000, "B"))
    assert fits(one, Budgets(flash_kib=64, stack_kib=4)) == (
        "needs 70,000 B of 65,536 B flash",
        "needs 5,000 B of 4,096 B stack",
    )


def test_a_figure_that_includes_the_emulator_says_so_in_the_reason() -> None:
    noted = msgspec.structs.replace(measurement(), peak_memory=Figure(2048, "B", note="includes the emulator"))
    assert fits(noted, Budgets(ram_kib=1)) == ("needs 2,048 B of 1,024 B RAM (includes the emulator)",)


def test_latency_is_compared_in_one_unit() -> None:
    slow = msgspec.structs.replace(measurement(), latency_p50=Figure(1.5, "ms"))
    assert fits(slow, Budgets(latency_us=1000)) == ("needs 1,500 of 1,000 µs per inference",)


def test_an_unknown_unit_is_an_error_rather_than_a_guess() -> None:
    with pytest.raises(ValueError, match="furlong"):
        fits(msgspec.structs.replace(measurement(), peak_memory=Figure(1, "furlong")), Budgets(ram_kib=1))


def test_a_figure_that_is_not_a_number_does_not_fit() -> None:
    assert fits(msgspec.structs.replace(measurement(), peak_memory=Figure(math.nan, "B")), Budgets(ram_kib=1))


def test_a_failed_measurement_gives_its_own_reason() -> None:
    lost = failed("float32", Status.OUT_OF_MEMORY, "the container was killed at 64 MiB")
    assert fits(lost, Budgets()) == ("out of memory: the container was killed at 64 MiB",)


def test_a_vetoed_variant_does_not_fit() -> None:
    vetoed = measurement(facts=variant("int8", vetoed="validation accuracy lost 0.0310 of at most 0.0200"))
    assert fits(vetoed, Budgets()) == ("accuracy gate: validation accuracy lost 0.0310 of at most 0.0200",)


def test_a_budget_without_a_figure_is_named_as_unchecked() -> None:
    (caveat,) = unchecked(measurement(), Budgets(latency_us=10))
    assert caveat.startswith("the latency budget was not checked")
    assert select([measurement()], profile(budgets=Budgets(latency_us=10))).caveats == (caveat,)


# --- the front


@given(measured())
def test_no_member_of_the_front_beats_another(found: list[Measurement]) -> None:
    front = pareto_front(found)
    assert not any(_beats(one, other) for one in front for other in front)


@given(measured())
def test_whoever_is_not_on_the_front_is_beaten_by_a_member(found: list[Measurement]) -> None:
    front = pareto_front(found)
    assert front
    assert all(any(_beats(member, one) for member in front) for one in found if one not in front)


@given(measured(), st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order(found: list[Measurement], shuffler: random.Random) -> None:
    shuffled = found.copy()
    shuffler.shuffle(shuffled)
    assert pareto_front(shuffled) == pareto_front(found)


def test_a_figure_that_one_variant_lacks_is_not_compared() -> None:
    known, unknown = measurement("a", memory_kib=1), measurement("b", memory_kib=None)
    assert pareto_front([known, unknown]) == (known, unknown)


def test_a_measurement_without_score_is_never_on_the_front() -> None:
    assert pareto_front([measurement(validation=None), measurement(validation=math.nan)]) == ()


# --- the best for a device


def test_the_best_validation_score_wins() -> None:
    chosen = select([measurement("a", validation=0.84), measurement("b", validation=0.80, instructions=10)], profile())
    assert (chosen.recipe, chosen.runner_up) == ("a", "b")
    assert chosen.reason == "best validation accuracy of the 2 that may run, 0.8400"
    assert chosen.runner_up_reason == "validation accuracy 0.8000 is more than 0.005 worse than the best, 0.8400"


def test_a_lone_candidate_and_a_best_that_is_also_the_cheapest_say_so() -> None:
    lone = select([measurement(instructions=None)], profile())
    assert lone.reason == "the only variant that may run; validation accuracy 0.8400"
    near = [measurement("a", validation=0.84), measurement("b", validation=0.839, instructions=2_000_000)]
    assert "and the cheapest of the 2 within 0.005 of it (1,000,000 instructions" in select(near, profile()).reason


def test_a_beaten_runner_up_with_the_larger_download_is_told_so() -> None:
    big, small = (measurement(name, facts=variant(name, gzip_bytes=size)) for name, size in (("a", 2048), ("b", 1024)))
    assert "the download is 2.0 KiB against 1.0 KiB" in select([big, small], profile()).runner_up_reason


def test_without_any_figure_of_time_the_download_decides() -> None:
    found = [
        measurement(name, instructions=None, facts=variant(name, gzip_bytes=size))
        for name, size in (("a", 2), ("b", 1))
    ]
    assert select(found, profile()).recipe == "b"
    assert for_state(found, profile(), DeviceState()).recipe == "b"


def test_among_equals_the_cheapest_wins_and_the_words_say_so() -> None:
    chosen = select([measurement("a", validation=0.84), measurement("b", validation=0.836, instructions=10)], profile())
    assert (chosen.recipe, chosen.runner_up) == ("b", "a")
    assert "0.8360 is within 0.005 of the best (0.8400, a)" in chosen.reason
    assert "takes 1,000,000 instructions against 10 instructions" in chosen.runner_up_reason


@pytest.mark.parametrize(("instructions", "chosen"), [(1_040_000, "small"), (1_060_000, "quick")])
def test_times_within_five_percent_count_as_equal_and_the_download_decides(instructions: int, chosen: str) -> None:
    quick = measurement("quick", instructions=1_000_000, facts=variant("quick", gzip_bytes=2048))
    small = measurement("small", instructions=instructions, facts=variant("small", gzip_bytes=1024))
    assert select([quick, small], profile()).recipe == chosen


def test_a_difference_of_exactly_the_tolerance_counts_as_equal() -> None:
    found = [measurement("a", validation=0.84), measurement("b", validation=0.835, instructions=10)]
    assert select(found, profile()).recipe == "b"
    assert select(found, profile(), tolerance=0.0).recipe == "a"


def test_for_an_error_the_lowest_wins_and_the_tolerance_is_a_fraction_of_it() -> None:
    found = [
        measurement("a", validation=200.0, higher_is_better=False),
        measurement("b", validation=200.9, higher_is_better=False, instructions=10),
        measurement("c", validation=201.1, higher_is_better=False, instructions=1),
    ]
    assert select(found, profile()).recipe == "b"


def test_equal_time_is_decided_by_the_download_and_then_the_name() -> None:
    small = measurement(facts=variant("z", gzip_bytes=30_000))
    big = measurement(facts=variant("a", gzip_bytes=40_000))
    assert select([big, small], profile()).recipe == "z"
    twins = select([measurement("y"), measurement("x")], profile())
    assert (twins.recipe, twins.runner_up) == ("x", "y")
    assert "the score decides, then the name" in twins.runner_up_reason


def test_what_does_not_fit_is_listed_with_its_reasons_and_not_chosen() -> None:
    found = [
        measurement("big", validation=0.9, memory_kib=100),
        measurement("small"),
        measurement("blind", validation=None),
    ]
    chosen = select(found, profile(budgets=Budgets(ram_kib=64)))
    assert chosen.recipe == "small"
    assert chosen.rejected["big"] == ("needs 102,400 B of 65,536 B RAM",)
    assert chosen.rejected["blind"][0].startswith("no validation score")
    assert chosen.front == ("small",)
    assert chosen.runner_up is None


def test_where_nothing_fits_nothing_is_chosen() -> None:
    nothing = select([failed("a", Status.CRASHED, "exit code 139")], profile())
    assert (nothing.recipe, nothing.reason) == (None, "none of 1 variants may run")
    assert select([measurement(device="other")], profile()).reason == "nothing was measured on this device"


@given(measured())
def test_the_choice_is_on_the_front_and_none_better_is_cheaper(found: list[Measurement]) -> None:
    chosen = select(found, profile())
    assert chosen.recipe in chosen.front
    assert chosen.recipe != chosen.runner_up
    assert chosen.reason


@given(measured(), st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_changing_every_test_score_changes_nothing(found: list[Measurement], other: list[float]) -> None:
    changed = []
    for one, test in zip(found, other, strict=False):
        assert one.scores is not None
        scores = Scores(one.scores.metric, one.scores.higher_is_better, one.scores.validation, test)
        changed.append(msgspec.structs.replace(one, scores=scores))
    state = DeviceState(battery_fraction=0.4, network=Network.METERED)
    assert select(changed, profile()) == select(found, profile())
    assert for_state(changed, profile(), state) == for_state(found, profile(), state)


# --- the best for a state

_STATES = st.builds(
    DeviceState,
    battery_fraction=st.none() | st.floats(0, 1),
    charging=st.booleans(),
    network=st.sampled_from((Network.METERED, Network.UNMETERED)),
    preference=st.floats(0, 1),
)


def _chosen(found: list[Measurement], state: DeviceState) -> Measurement:
    recipe = for_state(found, profile(), state).recipe
    return next(one for one in found if one.variant.recipe == recipe)


@given(measured(), _STATES, st.floats(0, 1), st.floats(0, 1))
def test_a_lower_battery_never_selects_a_slower_variant(
    found: list[Measurement], state: DeviceState, one: float, other: float
) -> None:
    full, low = (
        _chosen(found, msgspec.structs.replace(state, battery_fraction=charge, charging=False))
        for charge in (max(one, other), min(one, other))
    )
    mains = _chosen(found, msgspec.structs.replace(state, battery_fraction=None))
    assert _figures(low)[1] <= _figures(full)[1] <= _figures(mains)[1]


@given(measured(), _STATES, st.floats(0, 1), st.floats(0, 1))
def test_a_wish_for_accuracy_never_lowers_the_validation_score(
    found: list[Measurement], state: DeviceState, one: float, other: float
) -> None:
    fast, accurate = (
        _chosen(found, msgspec.structs.replace(state, preference=wish)) for wish in (min(one, other), max(one, other))
    )
    assert _figures(accurate)[0] <= _figures(fast)[0]


@given(measured(), _STATES)
def test_a_metered_network_never_selects_a_larger_download(found: list[Measurement], state: DeviceState) -> None:
    metered, free = (
        _chosen(found, msgspec.structs.replace(state, network=network))
        for network in (Network.METERED, Network.UNMETERED)
    )
    assert metered.variant.gzip_bytes <= free.variant.gzip_bytes


@given(measured(), _STATES, st.sets(st.sampled_from([f"r{n}" for n in range(8)])))
def test_offline_only_what_is_installed_is_chosen(
    found: list[Measurement], state: DeviceState, installed: set[str]
) -> None:
    offline = msgspec.structs.replace(state, network=Network.OFFLINE)
    chosen = for_state(found, profile(), offline, installed=frozenset(installed))
    assert (chosen.recipe in installed) if chosen.recipe else not installed & {m.variant.recipe for m in found}


_ACCURATE_BUT_SLOW = measurement(
    "float32", validation=0.842, instructions=4_000_000, facts=variant("float32", gzip_bytes=140_000)
)
_FAST = measurement("int8", validation=0.838, instructions=1_000_000)


@pytest.mark.parametrize(
    ("state", "recipe"),
    [
        (DeviceState(preference=ACCURATE), "float32"),
        (DeviceState(preference=FAST), "int8"),
        (DeviceState(battery_fraction=1.0), "int8"),
        (DeviceState(battery_fraction=0.2, preference=ACCURATE), "int8"),
        (DeviceState(battery_fraction=0.2, preference=ACCURATE, charging=True), "float32"),
    ],
)
def test_the_state_tips_the_balance(state: DeviceState, recipe: str) -> None:
    assert for_state([_ACCURATE_BUT_SLOW, _FAST], profile(), state).recipe == recipe


def test_an_installed_variant_costs_no_download() -> None:
    state = DeviceState(network=Network.METERED, preference=0.9)
    found = [_FAST, msgspec.structs.replace(_ACCURATE_BUT_SLOW, instructions=_FAST.instructions)]
    assert for_state(found, profile(), state, installed=frozenset({"float32"})).recipe == "float32"


def test_the_penalty_is_told_in_words() -> None:
    chosen = for_state([_ACCURATE_BUT_SLOW, _FAST], profile(), DeviceState(battery_fraction=0.5))
    assert chosen.reason == (
        "least penalty with 50% battery, unmetered network, preference 0.5: "
        "0.40 = 1 × 0.40 points lost + 2.5 × 0.00 doublings of time"
    )


@pytest.mark.parametrize("wrong", [{"battery_fraction": 1.4}, {"preference": -0.1}, {"preference": math.nan}])
def test_a_fraction_outside_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="give a fraction between 0 and 1"):
        DeviceState(**wrong)  # type: ignore[arg-type]
