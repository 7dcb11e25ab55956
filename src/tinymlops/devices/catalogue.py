"""Which devices there are: one TOML file each in ``infra/devices``, or a file of the user's own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tinymlops.devices.profile import Calibration, DeviceProfile
from tinymlops.devices.toml import read_toml
from tinymlops.errors import ProfileError, UnknownNameError
from tinymlops.project import project_root

_FEWEST_POINTS = 3
_ORDER = {kind: place for place, kind in enumerate(("linux", "compiled", "microcontroller", "npu"))}


def load_profile(name: str) -> DeviceProfile:
    """The profile called ``name``, or the one in the file ``name`` if it ends in ``.toml``.

    Raises:
        UnknownNameError: There is no such device.
        ProfileError: Its file has a misspelt key or an impossible value.
    """
    if name.endswith(".toml"):
        return read_profile(Path(name))
    files = _files()
    if name not in files:
        raise UnknownNameError("device", name, files)
    return read_profile(files[name])


def profiles() -> tuple[DeviceProfile, ...]:
    """Every device of the project, by kind and name.

    Raises:
        ProfileError: One of the files has a misspelt key or an impossible value.
    """
    found = (read_profile(path) for _, path in sorted(_files().items()))
    return tuple(sorted(found, key=lambda profile: _ORDER.get(profile.kind, len(_ORDER))))


def read_profile(path: Path) -> DeviceProfile:
    """Read one profile and check that its values can be true.

    Raises:
        ProfileError: They can't, or the file does not parse.
    """
    profile = read_toml(path, DeviceProfile)
    fault = _fault(profile, path.stem)
    if fault:
        raise ProfileError(f"{path}: {fault}", "compare the file with docs/devices.md")
    return profile


def _files() -> dict[str, Path]:
    return {path.stem: path for path in (project_root() / "infra" / "devices").glob("*.toml")}


def _fault(profile: DeviceProfile, stem: str) -> str:
    """What can't be true in ``profile``, or nothing."""
    if profile.name != stem:
        return f"name is {profile.name!r}, but the file is called {stem!r}"
    budgets = msgspec.structs.asdict(profile.budgets)
    positive = {"clock_mhz": profile.clock_mhz, "cores": profile.cores, **_memory(profile)}
    positive |= {f"budgets.{key}": budget for key, budget in budgets.items() if budget is not None}
    wrong = next((key for key, value in positive.items() if not 0 < value < float("inf")), "")
    if wrong:
        return f"{wrong} must be positive, not {positive[wrong]}"
    if (profile.kind == "npu") != (profile.accelerator is not None):
        return "an [accelerator] belongs to kind 'npu', and to that alone"
    return _calibration_fault(profile.calibration) if profile.calibration else ""


def _memory(profile: DeviceProfile) -> dict[str, float]:
    """What says how much memory there is: the container's for Linux, all of the chip's elsewhere."""
    if profile.kind in {"microcontroller", "npu"}:
        budgets = profile.budgets
        return {"budgets.flash_kib": budgets.flash_kib or 0, "budgets.ram_kib": budgets.ram_kib or 0}
    return {"memory_mib": profile.memory_mib}


def _calibration_fault(calibration: Calibration) -> str:
    if len(calibration.points) < _FEWEST_POINTS:
        return f"calibration needs {_FEWEST_POINTS} points, so that each can be left out, not {len(calibration.points)}"
    positive = (value for p in calibration.points for value in (p.latency_ms, p.instructions, p.energy_uj or 1.0))
    return "" if all(0 < value < float("inf") for value in positive) else "a calibration point is not positive"
