"""Labels saved: the budgets at which a query method matches the score of its reference, with an interval.

The target is the score of the reference at a budget B. The interval is an inverted test: it holds every budget b at
which the paired t-interval of `y_method(b) - y_reference(B)` over seeds holds 0. Curves are linear between rounds, so
the ends are exact (roots of a quadratic per segment). At the true budget of equal scores the test keeps with a
probability of `level`, so the interval covers that budget as often, whatever the shape of the curves.

Budgets beyond a curve were not run. So a set that reaches the first or last budget of the curve is open there: the
method needs *at most* or *at least* so many labels. A set that covers the whole curve says nothing, and is refused with
its reason.

The set may fall into pieces where a curve is not monotone. Its hull is reported, which covers no less.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING

import numpy as np

from fathom.core.records import Setting
from fathom.stats.curves import References, RunCurve, complete_curves, settings
from fathom.stats.decisions import MARGIN, MIN_UNITS
from fathom.stats.inference import LEVEL, SPREAD, Array, critical_t

if TYPE_CHECKING:
    import pandas as pd

# Reasons why a budget is not estimable.
FEW_SEEDS = "few seeds"  # below `MIN_UNITS`, or the spread over so few seeds hides the rise of the curves
FLAT = "flat curve"  # the score at B differs from that at the first budget by less than a point
CONSTANT = "constant answer"  # the score at B is no better than always giving one answer
NO_SPREAD = "no spread"  # the scores do not vary between seeds
UNDEFINED = "undefined score"

Triple = tuple[float, float, float]  # point estimate, low, high


@dataclass(frozen=True)
class MatchedBudget:
    """Budget at which one curve matches a score of another.

    Args:
        point: First crossing of the mean curve, training labels; infinite where it stays below the score, NaN where
            nothing is estimable.
        low, high: Hull of the inverted test; low = 0 and high = inf where it is open.
        refused: Reason why it is not estimable, such as `FLAT`; empty where it is.
        flat: Query method whose curve is flat, with `FLAT`.
    """

    point: float
    low: float
    high: float
    refused: str = ""
    flat: str = ""


@dataclass(frozen=True)
class LabelSaving:
    """Labels that a query method saves in one setting, compared with its reference at one budget.

    Args:
        setting: (dataset, regime, paradigm).
        query, reference: The method, and the one it is compared with.
        budget: B, training labels of the reference.
        last: Last budget that was compared; every open end is open there, or at the first.
        val: Labels of the validation set, which are paid in addition (mean over seeds).
        n: Seeds that both have completed.
        level: Coverage of the intervals, not corrected for several methods.
        needs: Budget at which the method matches the reference at B.
        reference_needs: Budget at which the reference matches the method at B.
    """

    setting: Setting
    query: str
    reference: str
    budget: float
    last: float
    val: float
    n: int
    level: float
    needs: MatchedBudget
    reference_needs: MatchedBudget

    @property
    def labels(self) -> Triple:
        """Labels saved and their interval, training labels; negative where the method needs more."""
        return self.budget - self.needs.point, self.budget - self.needs.high, self.budget - self.needs.low

    def share(self, paid: bool = False) -> Triple:
        """Share saved and its interval, at most 1.

        Args:
            paid: Of all paid labels, `1 - (b + val) / (B + val)`; by default of the training labels, `1 - b / B`.
        """
        point, low, high = (saved / (self.budget + (self.val if paid else 0.0)) for saved in self.labels)
        return point, low, high

    @property
    def extra(self) -> Triple:
        """Labels that the reference needs in addition to B for the method's score at B, and their interval."""
        other = self.reference_needs
        return other.point - self.budget, other.low - self.budget, other.high - self.budget


def label_savings(
    frame: "pd.DataFrame",
    baseline: str,
    references: References | None = None,
    *,
    rounds: Mapping[str, int] | None = None,
    floors: Mapping[str, float] | None = None,
    level: float = LEVEL,
) -> list[LabelSaving]:
    """Labels saved by every method of every setting, at the last budget and, if there is one, at the middle one.

    Each method is compared on the seeds that it and its reference have completed, whatever other methods lack.

    Args:
        frame: The tidy table.
        baseline: Spec string of the method to compare with.
        references: Query methods that are compared with another one; without runs of that one there is no saving.
        rounds: Run key -> planned rounds.
        floors: Dataset -> score of a constant answer; reaching no more than that saves no label.
        level: Coverage of the intervals.

    Source: inverted test as in Fieller, 1954; matched score as in Mussmann and Liang, 2018.
    """
    found: list[LabelSaving] = []
    for setting, part in settings(frame):
        curves = complete_curves(part, rounds)
        floor = (floors or {}).get(setting.dataset, -inf)
        for query, own in curves.items():
            reference = (references or {}).get((setting, query), baseline)
            other = curves.get(reference, {})
            seeds = sorted(own.keys() & other.keys())
            if query in (baseline, reference) or not seeds:
                continue
            pair = [own[s] for s in seeds], [other[s] for s in seeds]
            found += _of_pair(setting, (query, reference), pair, floor, level)
    return found


def _of_pair(
    setting: Setting, names: tuple[str, str], pair: tuple[list[RunCurve], list[RunCurve]], floor: float, level: float
) -> Iterator[LabelSaving]:
    """Savings of a method (first) against its reference (second); the curves of both are in the order of seeds."""
    grid = common_grid([*pair[0], *pair[1]])
    if len(grid) < 2:
        return
    own, reference = (np.array([np.interp(grid, c.budgets, c.scores) for c in curves]) for curves in pair)
    val = float(np.mean([c.val for c in pair[0]]))
    measured = common_grid(pair[1])
    rounds = measured[(measured >= grid[0]) & (measured <= grid[-1])]
    for budget in dict.fromkeys([float(grid[-1]), float(rounds[len(rounds) // 2])]):
        needs = matched_budget(grid, own, reference, budget, names=names, floor=floor, level=level)
        back = matched_budget(grid, reference, own, budget, names=names[::-1], floor=floor, level=level)
        yield LabelSaving(setting, *names, budget, float(grid[-1]), val, len(own), level, needs, back)


def common_grid(curves: list[RunCurve]) -> Array:
    """Budgets of all curves within the range that all of them have, increasing; between them every curve is linear."""
    first, last = max(c.budgets[0] for c in curves), min(c.budgets[-1] for c in curves)
    every = np.unique(np.concatenate([c.budgets for c in curves]))
    return np.asarray(every[(every >= first) & (every <= last)], dtype=np.float64)


def matched_budget(
    grid: Array,
    own: Array,
    other: Array,
    budget: float,
    *,
    names: tuple[str, str] = ("", ""),
    floor: float = -inf,
    level: float = LEVEL,
) -> MatchedBudget:
    """Budget at which curves match the score of others at one budget, paired by seed.

    Args:
        grid: [T] increasing budgets.
        own: [seeds, T] scores of the method whose budget is asked for.
        other: [seeds, T] scores of the one to match.
        budget: B, within the grid.
        names: Query methods of both.
        floor: Score of a constant answer.
        level: Coverage of the interval.
    """
    target = np.array([np.interp(budget, grid, curve) for curve in other])
    differences = own - target[:, None]
    n = len(own)
    if not np.isfinite(differences).all():
        return _refused(UNDEFINED)
    if n < MIN_UNITS:
        return _refused(FEW_SEEDS)
    if target.mean() <= floor:
        return _refused(CONSTANT)
    if (differences.std(0, ddof=1) < SPREAD).all():
        return _refused(NO_SPREAD)
    kept = _kept(grid, differences, critical_t(n, 1 - level) ** 2 / n)
    mean = differences.mean(0)
    if not len(kept):  # every budget of the curve lies on one side of the score
        above = mean[0] > 0
        return MatchedBudget(*((float(grid[0]), 0.0, float(grid[0])) if above else (inf, float(grid[-1]), inf)))
    at_first, at_last = bool(kept[0] <= grid[0]), bool(kept[-1] >= grid[-1])
    rise, own_rise = float((target - other[:, 0]).mean()), float((own[:, -1] - own[:, 0]).mean())
    if at_first and rise < MARGIN:  # fewer labels of the other method would have been as good
        return _refused(FLAT, names[1])
    if at_first and at_last:
        return _refused(FLAT, names[0]) if own_rise < MARGIN else _refused(FEW_SEEDS)
    low, high = 0.0 if at_first else float(kept[0]), inf if at_last else float(kept[-1])
    return MatchedBudget(first_crossing(grid, mean, 0.0), low, high)


def _refused(reason: str, flat: str = "") -> MatchedBudget:
    return MatchedBudget(nan, nan, nan, reason, flat)


def first_crossing(budgets: Array, curve: Array, target: float) -> float:
    """The smallest budget at which a curve reaches a target, linear between budgets; infinite if it never does."""
    reached = np.flatnonzero(curve >= target)
    if not len(reached):
        return inf
    at = int(reached[0])
    if at == 0:
        return float(budgets[0])
    share = (target - curve[at - 1]) / (curve[at] - curve[at - 1])
    return float(budgets[at - 1] + share * (budgets[at] - budgets[at - 1]))


def _kept(grid: Array, differences: Array, scale: float) -> Array:
    """Ends of the pieces of budgets whose t-interval of the differences [seeds, T] holds 0, increasing; empty for none.

    Args:
        scale: Squared critical t / seeds. A budget is kept where `mean^2 <= scale * variance`, which on a segment is a
            quadratic in the share u of the way along it.
    """
    mean, centered = differences.mean(0), differences - differences.mean(0)
    step, slope = np.diff(mean), np.diff(centered, axis=1)
    df = len(differences) - 1
    a = step**2 - scale * (slope**2).sum(0) / df
    b = 2 * (mean[:-1] * step - scale * (centered[:, :-1] * slope).sum(0) / df)
    c = mean**2 - scale * (centered**2).sum(0) / df
    found = list(grid[c <= 0])
    for i, width in enumerate(np.diff(grid)):
        # The mean's own crossing is kept whatever rounding does to the roots.
        roots = [*_roots(float(a[i]), float(b[i]), float(c[i])), *_roots(0.0, float(step[i]), float(mean[i]))]
        found += [grid[i] + u * width for u in roots if 0 <= u <= 1]
    return np.sort(np.array(found, dtype=np.float64))


def _roots(a: float, b: float, c: float) -> list[float]:
    """Real roots of a u^2 + b u + c, without the cancellation of the school formula."""
    inner = b * b - 4 * a * c
    if inner < 0 or a == b == 0:
        return []
    q = -(b + (inner**0.5 if b >= 0 else -(inner**0.5))) / 2
    return [q / a if a else inf, c / q if q else 0.0 if c == 0 else inf]
