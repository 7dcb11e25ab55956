"""How the device is at this moment, as far as Linux tells."""

from __future__ import annotations

from pathlib import Path

from tinymlops.edge.settings import AgentSettings
from tinymlops.wire.device_state import DeviceState

_SUPPLIES = Path("/sys/class/power_supply")


def device_state(settings: AgentSettings, preference: float | None = None, supplies: Path = _SUPPLIES) -> DeviceState:
    """Battery as the kernel tells it, network and preference as they were set.

    Args:
        settings: Of the agent.
        preference: Speed (0) or accuracy (1), where this call wants another than the agent's.
        supplies: The kernel's folder of power supplies.

    Raises:
        UsageError: A preference outside 0 … 1.
    """
    fraction, charging = battery(supplies)
    return DeviceState(
        battery_fraction=fraction,
        charging=charging,
        network=settings.network,
        preference=settings.preference if preference is None else preference,
    )


def battery(supplies: Path = _SUPPLIES) -> tuple[float | None, bool]:
    """Charge left of the first battery that powers this device, and whether it is being fed; (None, False) on mains."""
    for supply in sorted(supplies.glob("*")):
        capacity = _line(supply / "capacity")
        # A mouse or headset reports its battery too, with the scope "Device"
        if _line(supply / "type") == "Battery" and _line(supply / "scope") != "Device" and capacity.isdigit():
            return min(int(capacity), 100) / 100, _line(supply / "status") in {"Charging", "Full", "Not charging"}
    return None, False


def _line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
