"""Choose the variant for each device."""

from __future__ import annotations

from prefect import task

from tinymlops.devices.profile import DeviceProfile
from tinymlops.measurement import Measurement
from tinymlops.selection import Selection
from tinymlops.selection import select as select_one


@task(tags=["selection"])
def select(measurements: tuple[Measurement, ...], profiles: tuple[DeviceProfile, ...]) -> tuple[Selection, ...]:
    """The best variant inside the budgets of each device, with the reason in words."""
    return tuple(select_one(measurements, profile) for profile in profiles)
