"""Ticks of an axis and their labels: pure functions, without Textual."""

from __future__ import annotations

import math

__all__ = [
    "duration",
    "log_ticks",
    "percent_label",
    "position",
    "position_ticks",
    "tick_label",
    "ticks",
]

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
"""Seconds."""
_TIME_STEPS = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(count * MINUTE for count in (1, 2, 5, 10, 15, 30)),
    *(count * HOUR for count in (1, 2, 3, 6, 12)),
)
"""Distances of ticks on an axis of time, in seconds; longer ones are round numbers of days."""
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return at most `count` round values between two limits, ascending: multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: finite.
        high: finite; no less than `low`.
        count: largest number of ticks; below 1 gives none.
    """
    span = high / 2 - low / 2
    if count < 1 or not math.isfinite(span) or span <= 0.0:
        return []
    exponent = math.floor(math.log10(span)) - math.ceil(math.log10(count)) - 1
    while True:
        for mantissa in (1.0, 2.0, 5.0):
            step = mantissa * 10.0**exponent
            if step <= 0.0 or not math.isfinite(high / step) or not math.isfinite(low / step):
                continue
            # Limits written in decimal may miss their own tick by a rounding of the last bit.
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first + 1 <= count:
                return [_multiple(index, mantissa, exponent) for index in range(first, last + 1)]
        exponent += 1


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """Return at most `count` round values between two positive limits, for a logarithmic axis.

    1, 2 and 5 times powers of ten where there is room for all of them, else 1 and 3 times, else powers of ten
    alone; between limits too close for those, as `ticks` has them.
    """
    if count < 1 or not 0.0 < low < high:
        return []
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    decades = [10.0**e for e in range(first, last + 1) if low <= 10.0**e <= high]
    if len(decades) > count:
        return decades[:: math.ceil(len(decades) / count)]
    for mantissas in ((1.0, 2.0, 5.0), (1.0, 3.0)):
        finer = [m * 10.0**e for e in range(first, last + 1) for m in mantissas if low <= m * 10.0**e <= high]
        if 2 <= len(finer) <= count:
            return finer
    return decades if len(decades) >= 2 else ticks(low, high, count)


def position_ticks(name: str, low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Return at most `count` ticks of an x axis with their labels, ascending.

    Args:
        name: ``time`` for seconds, ``epoch`` for any number; others are counted in whole numbers.
        low: finite, in the axis' unit.
        high: finite; no less than `low`.
        count: largest number of ticks.
    """
    if name == "time":
        return [(value, duration(value, step)) for value, step in _time_ticks(low, high, count)]
    values = ticks(low, high, count)
    if name != "epoch":
        values = [value for value in values if value == round(value)]
    step = values[1] - values[0] if len(values) > 1 else 0.0
    return [(value, tick_label(value, step)) for value in values]


def position(name: str, x: float) -> str:
    """Return where a point lies on an x axis: ``step 812``, ``epoch 1.25``, ``1h03m``."""
    if name == "time":
        return duration(x)
    return f"{name} {tick_label(x, 0.001)}" if name == "epoch" else f"{name} {x:.0f}"


def duration(seconds: float, step: float = 0.0) -> str:
    """Return a time span in its two largest units: ``45s``, ``3m20s``, ``1h03m``, ``2d04h``.

    Args:
        seconds: finite; may be negative.
        step: distance of neighbouring ticks in seconds: units below it are left out; 0 leaves out none.
    """
    sign, rest = ("-", -seconds) if seconds < 0.0 else ("", seconds)
    if rest < MINUTE:
        return f"{sign}{tick_label(rest, step or 1.0)}s" if rest else "0"
    for unit, name, lower, lower_name in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "m"), (MINUTE, "m", 1.0, "s")):
        if rest >= unit:
            whole, part = int(rest // unit), int(rest % unit // lower)
            exact = step >= unit and part == 0
            return f"{sign}{whole}{name}" if exact else f"{sign}{whole}{name}{part:02d}{lower_name}"
    raise AssertionError("a span of a minute or more has a unit")


def _time_ticks(low: float, high: float, count: int) -> list[tuple[float, float]]:
    """Return round times with the distance between them."""
    for step in _TIME_STEPS:
        # From one second down and from a day up, round numbers are as good as any.
        if high - low > step * (count - 1) or high - low < 2.0 * step:
            continue
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= count:
            return [(index * step, step) for index in range(first, last + 1)]
    unit = DAY if high - low > HOUR * 12.0 else 1.0
    values = [value * unit for value in ticks(low / unit, high / unit, count)]
    return [(value, values[1] - values[0] if len(values) > 1 else unit) for value in values]


def tick_label(value: float, step: float = 0.0) -> str:
    """Return a short number: ``0.25``, ``1.2k``, ``3.6e-5``.

    Args:
        value: the number; NaN and infinities give ``NaN``, ``inf`` and ``-inf``.
        step: distance of neighbouring ticks, which the label must tell apart; 0 gives three significant digits.
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == 0.0:
        return "0"
    size = abs(value)
    digits = 3
    if 0.0 < step < size:
        digits = min(max(math.ceil(math.log10(size / step) - 1e-9) + 1, 1), 15)
    if size < 1e-3 or size >= 1e15:
        return _scientific(value, digits)
    for factor, suffix in _SUFFIXES:
        # Just below the factor the mantissa would be written 1000.
        if float(f"{size:.{digits}g}") >= factor:
            return f"{_plain(value / factor, digits)}{suffix}"
    return _plain(value, digits)


def percent_label(value: float, step: float = 0.0) -> str:
    """Return a share as a percentage: ``39.7%``."""
    if not math.isfinite(value):
        return tick_label(value)
    decimals = 1 if step <= 0.0 else max(0, -math.floor(math.log10(step * 100.0) + 1e-9))
    return f"{value * 100.0:.{decimals}f}%"


def _multiple(index: int, mantissa: float, exponent: int) -> float:
    # Division by a power of ten is exact where multiplication by its inverse is not: 3 * 0.1 against 3 / 10.
    return index * mantissa / 10.0**-exponent if -300 < exponent < 0 else index * mantissa * 10.0**exponent


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{float(text):.0f}"
    return text


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{max(digits - 1, 0)}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"
