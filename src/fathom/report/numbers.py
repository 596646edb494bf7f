"""Numbers as text in tables and sentences."""

import math

from fathom.stats.decisions import BETTER, WORSE

DASH = "\u2013"
MINUS = "\u2212"


def number(value: float, digits: int = 1, *, sign: bool = False) -> str:
    """Number with a typographic minus; a dash where it is undefined.

    With `sign`, a value that rounds to zero keeps its sign: `+0.0` is a gain, though a tiny one.
    """
    if value is None or not math.isfinite(value):
        return DASH
    if float(f"{value:.{digits}f}") == 0 and (value == 0 or not sign):
        return f"{0:.{digits}f}"
    return (f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}").replace("-", MINUS)


def percent(mean: float, low: float, high: float, digits: int = 1) -> str:
    """Fractions as percent with half the interval, `83.4 ± 1.0`; the mean alone where there is no interval."""
    if not math.isfinite(mean):
        return DASH
    half = (high - low) / 2
    return number(100 * mean, digits) + (f" ± {number(100 * half, digits)}" if math.isfinite(half) else "")


def gain(mean: float, low: float, high: float, digits: int = 1) -> str:
    """Fractions as percentage points with their interval, `+1.7 [+1.3, +2.1]`."""
    if not math.isfinite(mean):
        return DASH
    text = number(100 * mean, digits, sign=True)
    if math.isfinite(low):
        text += f" [{number(100 * low, digits, sign=True)}, {number(100 * high, digits, sign=True)}]"
    return text


def p_value(value: float) -> str:
    """p as text, `.032` or `< .001`; a dash where there is none."""
    if not math.isfinite(value):
        return DASH
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def emphasis(verdict: str) -> str:
    """Emphasis of a gain by the verdict on it: `up` for better, `down` for worse, else empty."""
    return {BETTER: "up", WORSE: "down"}.get(verdict, "")


def thousands(count: int) -> str:
    """Whole number with thin spaces: `12 345`."""
    return f"{count:,}".replace(",", "\u202f")
