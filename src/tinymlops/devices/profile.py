"""A device profile: one TOML file that says what a device is and what it may spend."""

from __future__ import annotations

import msgspec


class Budgets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The most that a model may cost on this device; None means no limit.

    Attributes:
        flash_kib: Model file on the device's storage; where it is compiled in, code and constants in flash.
        ram_kib: Peak resident memory of the process that runs the model; on a microcontroller all its RAM.
        stack_kib: Part of it that the application leaves to the stack.
        latency_us: Time per inference at the median.
        instructions: Executed per inference.
        energy_uj: Per inference.
    """

    flash_kib: float | None = None
    ram_kib: float | None = None
    stack_kib: float | None = None
    latency_us: float | None = None
    instructions: float | None = None
    energy_uj: float | None = None


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The interpreter on the device, or what takes its place.

    Attributes:
        name: Names a table of supported operators in ``infra/runtimes`` and an image.
        kernels: Kernel set, for example ``"xnnpack"``, ``"builtin"`` or ``"cmsis-nn"``.
        int8_only: True where only int8 models can run.
    """

    name: str
    kernels: str
    int8_only: bool = False


class BoardResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One published result of a board, beside what we count for a network of the same shape.

    Attributes:
        task: Name of the benchmark task.
        latency_ms: As published.
        energy_uj: As published, or None.
        instructions: Ours, counted on the profile's core with the profile's kernels (``bench/calibration.py``).
        result: File that the published figures were read from.
    """

    task: str
    latency_ms: float
    energy_uj: float | None = None
    instructions: int
    result: str


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What turns instructions into time: published results of this board with the same family of kernels.

    Attributes:
        source: Who published what, in words.
        link: Where.
        points: At least three results of one submission.
    """

    source: str
    link: str
    points: tuple[BoardResult, ...]


class Accelerator(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An NPU as its vendor's compiler knows it.

    Attributes:
        config: ``--accelerator-config`` of Vela.
        system: Its ``--system-config``.
        memory_mode: Its ``--memory-mode``.
    """

    config: str
    system: str
    memory_mode: str


class DeviceProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kind of device.

    Attributes:
        name: Same as the stem of its file.
        title: For people, for example ``"Raspberry Pi Zero 2 W"``.
        kind: Chooses the backend: ``"linux"``, ``"compiled"``, ``"microcontroller"`` or ``"npu"``.
        architecture: Debian's name (``amd64``, ``arm64``, ``armhf``) for Linux, that of the instruction set elsewhere.
        cpu: The core as the emulator knows it, or ``"native"``; where the model is compiled in, a target in
            ``infra/firmware/targets``.
        clock_mhz: Nominal clock.
        cores: CPU cores that the container may use; may be a fraction.
        memory_mib: Memory that the container may use; 0 where the budgets hold all the memory there is.
        runtime: The interpreter.
        budgets: What a model may cost.
        calibration: Published results that turn instructions into time, or None.
        accelerator: The NPU, or None.
        sources: Links that the figures were taken from.
    """

    name: str
    title: str
    kind: str
    architecture: str
    cpu: str
    clock_mhz: int
    cores: float = 1.0
    memory_mib: int = 0
    runtime: Runtime
    budgets: Budgets = Budgets()
    calibration: Calibration | None = None
    accelerator: Accelerator | None = None
    sources: tuple[str, ...] = ()

    @property
    def emulated(self) -> bool:
        """True where the device's CPU is not this machine's."""
        return self.cpu != "native"

    @property
    def memory(self) -> str:
        """The device's memory for people."""
        if self.memory_mib:
            return f"{self.memory_mib} MiB"
        return f"{self.budgets.flash_kib or 0:,.10g} KiB flash, {self.budgets.ram_kib or 0:,.10g} KiB RAM for a model"
