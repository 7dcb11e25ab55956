from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import UsageError
from tinymlops.wire.device_state import ACCURATE, FAST, DeviceState, Network, VariantCost, Weights, best_for

# Few distinct values: ties and near equals are what goes wrong.
TERMS = st.sampled_from((0.0, 0.1, 0.2, 0.30000000000000004, 0.3, 1.0, 2.5)) | st.floats(0, 100)
COSTS = st.lists(st.builds(VariantCost, points=TERMS, time=TERMS, download=TERMS), min_size=1, max_size=6)
FRACTIONS = st.floats(0, 1)
STATES = st.builds(
    DeviceState,
    battery_fraction=st.none() | FRACTIONS,
    charging=st.booleans(),
    network=st.sampled_from(Network),
    preference=FRACTIONS,
)


@given(COSTS, STATES, FRACTIONS)
def test_who_wants_more_accuracy_never_gets_less(costs: list[VariantCost], state: DeviceState, other: float) -> None:
    low, high = sorted((state.preference, other))
    fast, accurate = (costs[best_for(costs, msgspec.structs.replace(state, preference=one))] for one in (low, high))
    assert accurate.points <= fast.points


@given(COSTS, STATES, FRACTIONS, FRACTIONS)
def test_an_emptier_battery_never_gets_a_slower_variant(
    costs: list[VariantCost], state: DeviceState, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    empty, full = (
        costs[best_for(costs, msgspec.structs.replace(state, battery_fraction=level, charging=False))]
        for level in (low, high)
    )
    assert empty.time <= full.time
    mains = costs[best_for(costs, msgspec.structs.replace(state, battery_fraction=None))]
    assert full.time <= mains.time


@given(COSTS, STATES)
def test_the_choice_is_on_the_front_and_downloads_of_installed_variants_do_not_count(
    costs: list[VariantCost], state: DeviceState
) -> None:
    chosen = best_for(costs, state)
    pair = (costs[chosen].points, costs[chosen].time)
    assert not any(
        cost.points <= pair[0] and cost.time <= pair[1] and (cost.points, cost.time) != pair for cost in costs
    )
    free = [msgspec.structs.replace(cost, download=0.0) for cost in costs]
    assert best_for(free, state) == chosen


@given(COSTS, STATES)
def test_among_equals_the_first_is_taken(costs: list[VariantCost], state: DeviceState) -> None:
    assert best_for(costs + costs, state) < len(costs)


@given(FRACTIONS)
def test_a_charging_battery_costs_what_mains_costs(level: float) -> None:
    assert Weights.of(DeviceState(battery_fraction=level, charging=True)) == Weights.of(DeviceState())


def test_the_weights_are_those_that_are_documented() -> None:
    assert Weights.of(DeviceState(preference=FAST)) == Weights(1 / 16, 0.25, 0.0)
    assert Weights.of(DeviceState(preference=ACCURATE, battery_fraction=0.0)) == Weights(16.0, 4.0, 0.0)
    assert Weights.of(DeviceState(network=Network.METERED, battery_fraction=1.0)) == Weights(1.0, 1.0, 1.0)


@pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_fraction_lies_between_0_and_1(fraction: float) -> None:
    with pytest.raises(UsageError, match="give a fraction between 0 and 1"):
        DeviceState(preference=fraction)
    with pytest.raises(UsageError, match="battery_fraction"):
        DeviceState(battery_fraction=fraction)
