"""Devices that a model is compiled for: it becomes C, then firmware, and runs in an emulator inside a container."""

from tinymlops.devices.microcontroller.backend import MicrocontrollerBackend

__all__ = ["MicrocontrollerBackend"]
