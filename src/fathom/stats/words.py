"""Sentences on units and power that a plan and a report share."""

from fathom.core.text import plural
from fathom.stats.power import MOST_UNITS, WANTED
from fathom.stats.verdicts import RemainingUnits

POWER = f"({WANTED:.0%} power)".replace("%", " %")


def in_points(fraction: float) -> str:
    """A margin or gain in words, `1 point` or `0.5 points`; a fraction of 1 comes in."""
    value = f"{100 * fraction:.3g}"
    return f"{value} point" if value == "1" else f"{value} points"


def settle_words(unit: str, n: int, to_settle: RemainingUnits, margin: float, *, effect: float | None = None) -> str:
    """Name the units that would settle a comparison, in a clause without a full stop.

    For example `4 more seeds would show a gain of 1 point, or 2 more that it is not worse by 1 point (80 % power)`.
    "It" is the query method.

    Args:
        unit: `datasets` or `seeds`.
        n: Units that there are, or that a design has.
        to_settle: Units to add to show the gain, and to show that an equal method is not worse
            (`stats.verdicts.remaining_units`).
        margin: A fraction of 1.
        effect: Gain to be shown, where it is not the margin.
    """
    one = unit.removesuffix("s")
    better, not_worse = to_settle
    gain, loss = f"a gain of {in_points(effect or margin)}", f"that it is not worse by {in_points(margin)}"
    if not_worse is None:
        if n < 2:
            return f"with {plural(n, one)} the spread is unknown, and so is the number of {unit} that would settle it"
        return f"the spread of {n} {unit} is 0 or too large to say how many would settle it"
    if better is None:
        shown = f"{not_worse} more {unit} would" if not_worse else f"{plural(n, one)} can"
        return f"{shown} show {loss}, but {gain} would need more than {MOST_UNITS:,} {unit} {POWER}"
    if not better and not not_worse:
        return f"{plural(n, one)} can show {gain}, or {loss} {POWER}"
    if not better:
        return f"{plural(n, one)} can show {gain}, and {plural(not_worse, f'more {one}')} {loss} {POWER}"
    if not not_worse:
        return f"{plural(n, one)} can show {loss}, and {plural(better, f'more {one}')} {gain} {POWER}"
    if not_worse == better:
        return f"{plural(better, f'more {one}')} would show {gain}, or {loss} {POWER}"
    return f"{plural(better, f'more {one}')} would show {gain}, or {not_worse} more {loss} {POWER}"
