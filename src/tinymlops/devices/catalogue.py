"""Which devices there are: one TOML file each in ``infra/devices``, or a file of the user's own."""

from __future__ import annotations

from pathlib import Path

from tinymlops.devices.profile import DeviceProfile
from tinymlops.devices.toml import read_toml
from tinymlops.errors import ProfileError, UnknownNameError
from tinymlops.project import project_root


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
    """Every device of the project, by name.

    Raises:
        ProfileError: One of the files has a misspelt key or an impossible value.
    """
    return tuple(read_profile(path) for _, path in sorted(_files().items()))


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
    positive = {"clock_mhz": profile.clock_mhz, "cores": profile.cores, "memory_mib": profile.memory_mib}
    for key, value in positive.items():
        if not 0 < value < float("inf"):
            return f"{key} must be positive, not {value}"
    for key in profile.budgets.__struct_fields__:
        budget = getattr(profile.budgets, key)
        if budget is not None and not 0 < budget < float("inf"):
            return f"budgets.{key} must be positive, not {budget}"
    return ""
