from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymlops.drift import suppress

K = 5


def devices(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def test_small_cells_are_hidden() -> None:
    assert suppress({"fleet": devices(*range(20)), "small": devices(1, 2)}, K) == {"fleet"}


def test_the_last_region_can_not_be_worked_out_of_the_others() -> None:
    regions = {"north": range(8), "south": range(8, 17), "west": range(17, 20)}
    cells = {name: frozenset(numbers) for name, numbers in regions.items()} | {"fleet": devices(*range(20))}

    assert suppress(cells, K) == {"fleet", "south"}


def test_nothing_is_hidden_that_tells_of_enough() -> None:
    cells = {"fleet": devices(*range(20)), "north": devices(*range(8)), "south": devices(*range(8, 20))}

    assert suppress(cells, K) == set(cells)


def test_groups_that_nearly_overlap_are_not_shown_together() -> None:
    cells = {"fleet": devices(*range(30)), "region=a": devices(*range(12)), "tag=b": devices(*range(10))}

    assert suppress(cells, K) == {"fleet", "region=a"}


def test_unions_are_no_way_around() -> None:
    """Two regions less two tags are one device."""
    cells = {
        "fleet": devices(*range(40)),
        "region=a": devices(*range(10)),
        "region=b": devices(*range(10, 20)),
        "tag=c": devices(*range(5), *range(10, 15)),
        "tag=d": devices(*range(5, 9), *range(15, 20)),
    }

    shown = suppress(cells, K)

    assert "fleet" in shown
    assert not {"region=a", "region=b", "tag=c", "tag=d"} <= shown


def test_equal_cells_stand_or_fall_together() -> None:
    cells = {"fleet": devices(*range(12)), "a": devices(*range(10)), "b": devices(*range(10))}

    assert suppress(cells, K) == {"fleet"}


def test_a_fleet_below_k_shows_nothing() -> None:
    assert suppress({"fleet": devices(1, 2, 3)}, K) == frozenset()


def test_no_cells_are_no_trouble() -> None:
    assert suppress({}, K) == frozenset()


def fleets() -> st.SearchStrategy[list[tuple[int, int, frozenset[int]]]]:
    """Region, profile and tags of each device."""
    return st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.frozensets(st.integers(0, 1))), min_size=1, max_size=40
    )


def cells_of(fleet: list[tuple[int, int, frozenset[int]]]) -> dict[str, frozenset[int]]:
    cells: dict[str, set[int]] = {"fleet": set(range(len(fleet)))}
    for number, (region, profile, tags) in enumerate(fleet):
        for name in (f"region={region}", f"profile={profile}", *(f"tag={tag}" for tag in tags)):
            cells.setdefault(name, set()).add(number)
    return {name: frozenset(found) for name, found in cells.items()}


@settings(deadline=None, max_examples=150)
@given(fleet=fleets())
def test_no_sum_of_shown_cells_with_weights_up_to_two_tells_of_fewer_than_k(
    fleet: list[tuple[int, int, frozenset[int]]],
) -> None:
    """Another way to look for them than the code has: by brute force over small weights of up to four cells."""
    cells = cells_of(fleet)
    shown = sorted(suppress(cells, K))
    vectors = {name: np.array([number in cells[name] for number in range(len(fleet))], np.int64) for name in shown}

    for count in (1, 2, 3, 4):
        for names in combinations(shown, count):
            stacked = np.stack([vectors[name] for name in names])
            weights = np.stack(np.meshgrid(*[[-2, -1, 1, 2]] * count), -1).reshape(-1, count)
            touched = np.count_nonzero(weights @ stacked, axis=1)
            assert not ((touched > 0) & (touched < K)).any(), (names, touched.min())


@pytest.mark.parametrize("seed", range(3))
def test_a_large_fleet_with_many_groups_is_quickly_sorted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet = [
        (int(rng.integers(8)), int(rng.integers(4)), frozenset(np.flatnonzero(rng.random(6) < 0.1).tolist()))
        for _ in range(2000)
    ]

    shown = suppress(cells_of(fleet), 20)

    assert "fleet" in shown
    assert len(shown) > 8
