"""The cores that firmware is built for: one TOML file each in ``infra/firmware/targets``."""

from __future__ import annotations

import msgspec

from tinymlops.codegen import Helium
from tinymlops.devices.toml import read_toml
from tinymlops.errors import UnknownNameError
from tinymlops.project import project_root

STACK_KIB = 256
"""What ``sections.ld`` reserves: the stack is measured, and this is more than any device has for one."""

_HELIUM_CORES = frozenset({"cortex-m55", "cortex-m85"})
_SYSTEM = ("-nographic", "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native")


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a program for one core is built and run.

    The memories are those of the emulated board. They are larger than any device's, so that a model that does not fit
    its device can still be measured.

    Attributes:
        name: Same as the stem of its file; what a profile's ``cpu`` says.
        compiler: Cross compiler.
        flags: That choose the core.
        sources: Of the firmware, besides ``main.c``.
        linker_script: Likewise in ``infra/firmware``.
        emulator: Program and arguments.
        code_kib: Memory for code.
        constants_kib: Memory for weights and tables.
        ram_kib: Memory for everything else.
    """

    name: str
    compiler: str
    flags: tuple[str, ...]
    sources: tuple[str, ...]
    linker_script: str
    emulator: tuple[str, ...]
    code_kib: int
    constants_kib: int
    ram_kib: int

    def emulate(self, program: str, plugin: str) -> tuple[str, ...]:
        """The command that runs ``program`` under ``plugin``: on a bare board, or as a Linux program."""
        if self.emulator[0].startswith("qemu-system"):
            return (*self.emulator, *_SYSTEM, "-plugin", plugin, "-kernel", program)
        return (*self.emulator, "-plugin", plugin, program)


def helium_of(cpu: str) -> Helium:
    """Which working memory the kernels need on a core."""
    return Helium.WITH if cpu in _HELIUM_CORES else Helium.WITHOUT


def load_target(name: str) -> Target:
    """The target called ``name``.

    Raises:
        UnknownNameError: There is none.
        ProfileError: Its file does not parse.
    """
    known = {path.stem: path for path in (project_root() / "infra" / "firmware" / "targets").glob("*.toml")}
    if name not in known:
        raise UnknownNameError("core", name, known)
    return read_toml(known[name], Target)


def targets() -> tuple[Target, ...]:
    """Every core, by name.

    Raises:
        ProfileError: One of the files does not parse.
    """
    folder = project_root() / "infra" / "firmware" / "targets"
    return tuple(read_toml(path, Target) for path in sorted(folder.glob("*.toml")))
