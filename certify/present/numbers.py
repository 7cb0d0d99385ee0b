"""Numbers for display: three digits, an SI prefix, and bounds rounded against the claim.

A bound is a promise. It is rounded outward (a saving down, a loss up), so that rounding never promises more than the
interval does.
"""

from __future__ import annotations

import math

from certify.core.estimate import Estimate

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
MINUS = "−"
_WHOLE = ("B", "")  # counts: there is no millibyte
_WHOLE_BEYOND = 2.0**53  # a double has no decimals to round beyond this


def significant(value: float, digits: int, direction: str = "nearest") -> str:
    """Format with significant digits, rounded to the nearest, ``up`` or ``down``; never with an exponent.

    Example:
        >>> significant(0.0123456, 3), significant(9.996, 3)
        ('0.0123', '10.0')
    """
    if value == 0:
        return "0"
    # Read from the formatted number, because a logarithm may be off by one near powers of ten.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # exponent of the rounded value: 9.996 becomes 10.0
    return rounded(value, max(digits - 1 - exponent, 0), direction)


def rounded(value: float, decimals: int, direction: str = "nearest") -> str:
    """Format with fixed decimals, rounded to the nearest, ``up`` (towards more) or ``down`` (towards less).

    Example:
        >>> rounded(-0.25, 1, "up"), rounded(0.21, 1, "up")
        ('−0.2', '0.3')
    """
    scale = 10.0**decimals
    scaled = value * scale
    # A double this large has no decimals to round.
    if abs(scaled) >= _WHOLE_BEYOND:
        return f"{value:.{decimals}f}".replace("-", MINUS)
    # A bound that is a whole number of steps, apart from floating-point error, must not move by a step.
    if direction != "nearest" and not math.isclose(scaled, round(scaled), rel_tol=1e-9, abs_tol=1e-9):
        scaled = math.ceil(scaled) if direction == "up" else math.floor(scaled)
    # Python's format rounds the decimal expansion exactly; scaling first would round twice.
    written = f"{round(scaled) / scale:.{decimals}f}" if direction != "nearest" else f"{value:.{decimals}f}"
    # Minus zero would look like an error in a table.
    return written[1:] if float(written) == 0 and written.startswith("-") else written.replace("-", MINUS)


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """Format a value with an SI prefix: ``quantity(0.00342, "J")`` is ``3.42 mJ``; the unit of a count is ``""``.

    Example:
        >>> quantity(0.00342, "J"), quantity(25_600_000, "")
        ('3.42 mJ', '25.6 M')
    """
    scale, prefix = _prefix(value, unit)
    return f"{significant(value / scale, digits)} {prefix}{unit}".rstrip()


def duration(seconds: float) -> str:
    """Format a time as people say it: with a prefix below a minute, then to the second, from ten minutes to the minute.

    Example:
        >>> duration(0.384), duration(59.7), duration(86.5), duration(1318.7), duration(7260)
        ('384 ms', '59.7 s', '1 min 26 s', '22 min', '2 h 1 min')
    """
    if seconds < 59.95:
        return quantity(seconds, "s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10 and rest:
        return f"{minutes} min {rest} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def interval(estimate: Estimate, unit: str, digits: int = 3) -> str:
    """Format both ends with the prefix of the value, ``3.33 to 3.61``, rounded outward; empty for an exact count.

    Example:
        >>> interval(Estimate(3.42e-3, 3.33e-3, 3.61e-3, "J", 40, "mean"), "J")
        '3.33 to 3.61'
    """
    if estimate.low == estimate.high:
        return ""
    scale, _ = _prefix(estimate.value, unit)
    # Rounded outward, so that rounding never narrows an interval.
    ends = [(estimate.low, "down"), (estimate.high, "up")]
    low, high = ("unbounded" if math.isinf(end) else significant(end / scale, digits, way) for end, way in ends)
    return f"{low} to {high}"


def _prefix(value: float, unit: str) -> tuple[float, str]:
    for scale, prefix in _PREFIXES:
        if unit in _WHOLE and scale < 1:
            break
        # The factor is 0.9995 because, with three digits, 999.5 rounds to 1.00 of the next prefix.
        if abs(value) >= scale * 0.9995:
            return scale, prefix
    return (1.0, "") if value == 0 or unit in _WHOLE else _PREFIXES[-1]


def times(factor: float, direction: str = "nearest") -> str:
    """Format a factor of at least 1 as ``1.03×``, ``4.2×``, ``38×``.

    Example:
        >>> times(1.031), times(4.23, "down")
        ('1.03×', '4.2×')
    """
    # Each limit is where rounding would carry: 1.995 would be 2.00 and is written 2.0.
    decimals = 2 if factor < 1.995 else 1 if factor < 19.95 else 0
    return f"{rounded(factor, decimals, direction)}×"


def percent(value: float, direction: str = "nearest") -> str:
    """Format a percentage with one decimal: ``0.3 %``.

    Example:
        >>> percent(0.31, "up")
        '0.4 %'
    """
    return f"{rounded(value, 1, direction)} %"


def factor(ratio: float) -> str:
    """Format a ratio as a factor: ``0.238×``, ``1.31×``.

    Example:
        >>> factor(0.238), factor(1.31)
        ('0.238×', '1.31×')
    """
    return times(ratio) if ratio >= 1 else f"{rounded(ratio, 3)}×"


def ends(low: float, high: float, decimals: int = 1) -> str:
    """Format both ends of an interval, rounded outward: ``−0.9 to 0.4``.

    Example:
        >>> ends(-0.93, 0.41)
        '−1.0 to 0.5'
    """
    directions = ((low, "down"), (high, "up"))
    return " to ".join("unbounded" if math.isinf(end) else rounded(end, decimals, way) for end, way in directions)
