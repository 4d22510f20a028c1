"""The GPUs in one line: one GPU in full, several by their utilisations, many by mean and range."""

from __future__ import annotations

from collections.abc import Sequence

from raftmon.model import GpuView
from raftmon.plain import plain
from raftmon.tui.text import NOTHING

__all__ = ["gpu_texts"]

LISTED = 4
"""GPUs up to which each one's utilisation is listed."""
GIB = 2**30


def gpu_texts(gpus: Sequence[GpuView]) -> list[str]:
    """Return what to say of the GPUs, the longest first; empty without one."""
    if not gpus:
        return []
    busy, memory, power, heat = _busy(gpus), _memory(gpus), _power(gpus), _heat(gpus)
    count = "GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
    names = {plain(gpu.name) for gpu in gpus}
    named = count if len(names) > 1 else f"{count} {names.pop()}"
    figures = [[busy, memory, power, heat], [busy, memory], [busy]]
    texts = ["  ".join(part for part in (named, *figures[0]) if part)]
    texts += ["  ".join((f"{count} {parts[0]}", *filter(None, parts[1:]))) for parts in figures]
    texts.append(f"{count} {busy.partition(' (')[0]}")
    return list(dict.fromkeys(texts))


def _busy(gpus: Sequence[GpuView]) -> str:
    """Return ``97%``, ``97 95 0%``, or ``mean 71% (0–98)``."""
    if len(gpus) <= LISTED:
        shares = [f"{100.0 * gpu.utilisation:.0f}" if gpu.utilisation is not None else NOTHING for gpu in gpus]
        return " ".join(shares) + ("%" if set(shares) != {NOTHING} else "")
    known = [gpu.utilisation for gpu in gpus if gpu.utilisation is not None]
    if not known:
        return NOTHING
    least, most = (f"{100.0 * share:.0f}" for share in (min(known), max(known)))
    mean = f"mean {100.0 * sum(known) / len(known):.0f}%"
    unknown = f", {len(gpus) - len(known)} unknown" if len(known) < len(gpus) else ""
    return f"{mean} ({least}–{most}{unknown})" if least != most or unknown else f"{least}% each"


def _memory(gpus: Sequence[GpuView]) -> str:
    """Return ``57/80 GiB``; of several the fullest one, which is the first to run out."""
    known = [(g.memory_used, g.memory_total) for g in gpus if g.memory_used is not None and g.memory_total]
    if not known:
        return ""
    used, total = max(known, key=lambda pair: pair[0] / pair[1])
    return f"{'max ' if len(gpus) > 1 else ''}{_amount(used / GIB)}/{_amount(total / GIB)} GiB"


def _amount(gibibytes: float) -> str:
    return f"{gibibytes:.1f}" if gibibytes < 10.0 else f"{gibibytes:.0f}"


def _power(gpus: Sequence[GpuView]) -> str:
    """Return ``412 W``, of several all together."""
    known = [gpu.power for gpu in gpus if gpu.power is not None]
    if not known:
        return ""
    total = sum(known)
    return f"{total:.0f} W" if total < 1000.0 else f"{total / 1000.0:.1f} kW"


def _heat(gpus: Sequence[GpuView]) -> str:
    """Return ``71°C``, of several that of the hottest."""
    known = [gpu.temperature for gpu in gpus if gpu.temperature is not None]
    return f"{'max ' if len(gpus) > 1 else ''}{max(known):.0f}°C" if known else ""
