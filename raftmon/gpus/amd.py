"""AMD's GPUs, as the kernel's driver ``amdgpu`` tells of them under ``/sys``; nothing has to be installed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from raftmon.model import GpuView
from raftmon.plain import plain

__all__ = ["DRM", "AmdGpus"]

DRM: Final = Path("/sys/class/drm")
_AMD: Final = "0x1002"
"""The PCI number of the maker."""


class AmdGpus:
    """Reads a few small files of each card; a card without one of them has no such figure.

    Args:
        drm: directory of the graphics cards.
    """

    def __init__(self, drm: Path = DRM) -> None:
        cards = [path for path in drm.glob("card*") if path.name[4:].isdecimal()]
        ours = [card / "device" for card in cards if _text(card / "device" / "vendor") == _AMD]
        self._devices = sorted(ours, key=lambda device: int(device.parent.name[4:]))

    @property
    def found(self) -> bool:
        """Whether there is any."""
        return bool(self._devices)

    def read(self) -> list[GpuView]:
        """Return all GPUs as they are now."""
        return [_view(index, device) for index, device in enumerate(self._devices)]


def _view(index: int, device: Path) -> GpuView:
    # A chip has one directory of sensors, whose number depends on which other chips the machine has.
    sensors = sorted(device.glob("hwmon/hwmon*"))
    sensor = sensors[0] if sensors else device
    busy = _number(device / "gpu_busy_percent")
    microwatts = _number(sensor / "power1_average")
    # Newer chips measure power at one moment only.
    microwatts = _number(sensor / "power1_input") if microwatts is None else microwatts
    millidegrees = _number(sensor / "temp1_input")
    name = _text(device / "product_name") or f"AMD GPU {_text(device / 'device') or ''}".rstrip()
    return GpuView(
        index,
        plain(name),
        utilisation=min(1.0, busy / 100.0) if busy is not None else None,
        memory_used=_number(device / "mem_info_vram_used"),
        memory_total=_number(device / "mem_info_vram_total"),
        power=microwatts / 1e6 if microwatts is not None else None,
        temperature=millidegrees / 1e3 if millidegrees is not None else None,
    )


def _text(path: Path) -> str | None:
    """Return the one line of a file; None where the driver does not have it, or refuses it while the card sleeps."""
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
