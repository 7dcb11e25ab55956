"""The draw of `tests.unit.monitoring.test_small_cells`, larger."""

from __future__ import annotations

from hypothesis import given, settings

from tests.support.windows import Crowd
from tests.unit.monitoring.test_small_cells import CROWDS, check_that_nothing_rests_on_fewer_than_k


@settings(max_examples=60)
@given(CROWDS)
def test_no_sum_or_difference_rests_on_fewer_than_k_devices_in_sixty_fleets(crowds: list[Crowd]) -> None:
    check_that_nothing_rests_on_fewer_than_k(crowds)
