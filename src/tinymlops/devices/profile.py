"""A device profile: one TOML file that says what a device is and what it may spend."""

from __future__ import annotations

import msgspec


class Budgets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The most that a model may cost on this device; None means no limit.

    Attributes:
        flash_kib: Model file on the device's storage.
        ram_kib: Peak resident memory of the process that runs the model.
        latency_us: Time per inference at the median.
        instructions: Executed per inference.
        energy_uj: Per inference.
    """

    flash_kib: float | None = None
    ram_kib: float | None = None
    latency_us: float | None = None
    instructions: float | None = None
    energy_uj: float | None = None


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The interpreter on the device.

    Attributes:
        name: Names a table of supported operators in ``infra/runtimes`` and an image.
        kernels: Kernel set, for example ``"xnnpack"`` or ``"builtin"``.
        int8_only: True where only fully integer models can run.
    """

    name: str
    kernels: str
    int8_only: bool = False


class DeviceProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kind of device.

    Attributes:
        name: Same as the stem of its file.
        title: For people, for example ``"Raspberry Pi Zero 2 W"``.
        kind: Chooses the backend, for example ``"linux"``.
        architecture: Debian's name: ``amd64``, ``arm64``, ``armhf``.
        cpu: The core as the emulator knows it, or ``"native"``.
        clock_mhz: Nominal clock.
        cores: CPU cores that the container may use; may be a fraction.
        memory_mib: Memory that the container may use.
        runtime: The interpreter.
        budgets: What a model may cost.
        sources: Links that the figures were taken from.
    """

    name: str
    title: str
    kind: str
    architecture: str
    cpu: str
    clock_mhz: int
    cores: float
    memory_mib: int
    runtime: Runtime
    budgets: Budgets = Budgets()
    sources: tuple[str, ...] = ()

    @property
    def emulated(self) -> bool:
        """True where the device's CPU is not this machine's."""
        return self.cpu != "native"
