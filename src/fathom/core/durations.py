"""Spans of time as people read them: in reports, in plans, while waiting."""

import math


def duration(seconds: float) -> str:
    """`0 s`, `0.5 ms`, `12 s`, `3.5 min`, `2.1 h`; a dash where it is undefined."""
    if not math.isfinite(seconds):
        return "\u2013"
    if seconds == 0:
        return "0 s"
    units = ((0.1, 0.001, "ms"), (99.5, 1, "s"), (5400, 60, "min"), (math.inf, 3600, "h"))
    size, unit = next((size, unit) for limit, size, unit in units if seconds < limit)
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
