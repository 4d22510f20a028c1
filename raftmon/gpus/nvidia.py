"""NVIDIA's GPUs, as NVML tells of them through ``nvidia-ml-py`` (the extra ``gpu``).

Any question may be refused at any time: a MIG device has no utilisation, a board without a sensor no power, a GPU that
fell off the bus nothing at all. What is refused is None; what cannot be asked is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from raftmon.model import GpuView

__all__ = ["DRIVER_FILES", "NvidiaGpus", "Nvml", "load_nvml"]

DRIVER_FILES: Final = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""One of them is there where NVIDIA's driver is (the second: under WSL), also in a container that was given a GPU."""
TEMPERATURE_GPU: Final = 0
"""NVML's number of the sensor on the chip."""
_Answer = TypeVar("_Answer")


class Nvml(Protocol):
    """What is used of the module ``pynvml``; every function may raise `NVMLError`."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's names
        """Load the library and connect to the driver."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Count the GPUs, those without permission included."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        """Return what a GPU is asked by."""

    def nvmlDeviceGetName(self, handle: Any) -> str | bytes:  # noqa: N802
        """Return its name; bytes before release 11.515."""

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:  # noqa: N802
        """Return ``gpu`` and ``memory`` in per cent of the last sixth of a second to second."""

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:  # noqa: N802
        """Return ``total``, ``free`` and ``used`` in bytes."""

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:  # noqa: N802
        """Return milliwatts."""

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:  # noqa: N802
        """Return degrees Celsius."""


class NvidiaGpus:
    """Asks NVML; every call may block for as long as the driver does.

    Args:
        nvml: the module ``pynvml``, or what stands in for it.

    Raises:
        Exception: `nvml.NVMLError`, when there is no library or no driver.
    """

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._names: dict[int, str] = {}
        nvml.nvmlInit()

    def read(self) -> list[GpuView]:
        """Return all GPUs as they are now; one that was lost keeps its name and nothing else."""
        count = self._ask(self._nvml.nvmlDeviceGetCount)
        views = [self._view(index) for index in range(count if count is not None else len(self._names))]
        return [view for view in views if view is not None]

    def _view(self, index: int) -> GpuView | None:
        nvml = self._nvml
        handle = self._ask(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
        if handle is None:
            return GpuView(index, self._names[index]) if index in self._names else None
        if index not in self._names:
            name = self._ask(lambda: nvml.nvmlDeviceGetName(handle))
            self._names[index] = name.decode(errors="replace") if isinstance(name, bytes) else name or "NVIDIA GPU"
        busy = self._ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = self._ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        milliwatts = self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        degrees = self._ask(lambda: nvml.nvmlDeviceGetTemperature(handle, TEMPERATURE_GPU))
        return GpuView(
            index,
            self._names[index],
            utilisation=min(1.0, busy.gpu / 100.0) if busy is not None else None,
            memory_used=int(memory.used) if memory is not None else None,
            memory_total=int(memory.total) if memory is not None else None,
            power=milliwatts / 1000.0 if milliwatts is not None else None,
            temperature=float(degrees) if degrees is not None else None,
        )

    def _ask(self, question: Callable[[], _Answer]) -> _Answer | None:
        """Return an answer; None where the driver, the GPU or this release of the module has none."""
        try:
            return question()
        except (self._nvml.NVMLError, AttributeError):
            return None


def load_nvml() -> Nvml | None:
    """Return the module ``pynvml``; None where the extra ``gpu`` is not installed."""
    from importlib import import_module

    try:
        module: Any = import_module("pynvml")
    except ImportError:
        return None
    nvml: Nvml = module
    return nvml
