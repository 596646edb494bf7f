"""Intervals and tests for a handful of seeds.

All tests are two-sided. A p-value is refused, with the reason, where the data cannot support one: a number that looks
like evidence is worse than none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from fathom.core.records import FathomError

Array = np.ndarray[Any, np.dtype[np.float64]]

ALPHA = 0.05  # of all tests
LEVEL = 0.95  # coverage of all intervals
SPREAD = 1e-12  # differences of scores in [0, 1] whose sd is below this do not vary


@dataclass(frozen=True)
class Interval:
    """A mean and its t-interval over n independent values.

    Args:
        mean: NaN where there are no values.
        low, high: NaN for n < 2.
        sd: Sample standard deviation (n - 1); NaN for n < 2.
        n: Values.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int


@dataclass(frozen=True)
class TestResult:
    """The result of a two-sided test, or the reason why there is none.

    Args:
        p: In [0, 1]; NaN where refused.
        statistic: t, or the statistic that the test's docstring names.
        n: Pairs.
        refused: Why there is no p; empty where there is one.
    """

    __test__ = False  # not a test case of pytest

    p: float
    statistic: float
    n: int
    refused: str = ""


def t_interval(values: Sequence[float] | Array, level: float = LEVEL) -> Interval:
    """Mean and t-interval with n - 1 degrees of freedom.

    Args:
        values: Independent values, one per seed; NaN (undefined) makes the whole interval undefined.
        level: Coverage, in (0, 1).

    Raises:
        FathomError: `level` is not in (0, 1).

    Source: Student, 1908. At n = 3 a band of ± 1 standard error covers 57 %; this one covers 95 %.
    """
    if not 0 < level < 1:
        raise FathomError(f"the level of an interval lies between 0 and 1; got {level}")
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    mean = float(x.mean()) if n else float("nan")
    if n < 2:
        return Interval(mean, float("nan"), float("nan"), float("nan"), n)
    sd = float(x.std(ddof=1))
    half = critical_t(n, 1 - level) * sd / n**0.5
    return Interval(mean, mean - half, mean + half, sd, n)


def critical_t(n: int, alpha: float) -> float:
    """Critical |t| of a two-sided test of n pairs: 4.303 at n = 3, 2.776 at n = 5 for alpha = .05."""
    return float(stdtrit(n - 1, 1 - alpha / 2))


def paired_t(differences: Sequence[float] | Array) -> TestResult:
    """Two-sided paired t-test on the differences of pairs that share a seed.

    Refused for n < 2, for undefined differences, and where the differences do not vary: t would be infinite, and would
    measure only the resolution of the test set.

    Source: Student, 1908. The refusal is ours; the published penalty matrix counts an infinite t as a win.
    """
    d = np.asarray(differences, dtype=np.float64)
    n = len(d)
    reason = _refusal(d, "seeds that both methods have")
    sd = 0.0 if reason else float(d.std(ddof=1))
    if reason or sd < SPREAD:
        reason = reason or "the differences do not vary between seeds"
        return TestResult(float("nan"), float("nan"), n, reason)
    t = float(d.mean()) / (sd / n**0.5)
    return TestResult(float(2 * stdtr(n - 1, -abs(t))), t, n)


def _refusal(d: Array, what: str) -> str:
    """The reason why differences cannot be tested; empty where they can."""
    if len(d) < 2:
        return f"n = {len(d)}: a test needs at least 2 {what}"
    return "" if np.isfinite(d).all() else "a difference is undefined"


def minimum_p(n: int) -> float:
    """The smallest two-sided p of an exact sign-flip or Wilcoxon test of n pairs: 2^(1 - n).

    .25 at n = 3, .0625 at 5, .031 at 6: fewer than 6 pairs cannot reach .05, whatever the data.
    """
    return 1.0 if n < 1 else 2.0 ** (1 - n)


def holm(p: Sequence[float] | Array) -> Array:
    """Adjust p-values by Holm's step-down correction, for the chance of any false rejection in the family.

    Args:
        p: P-values; NaN (refused) stays NaN and does not count as a comparison.

    Raises:
        FathomError: A value lies outside [0, 1].

    Source: Holm, 1979.
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    asked = np.flatnonzero(~np.isnan(p))
    if len(asked) and not ((p[asked] >= 0) & (p[asked] <= 1)).all():
        raise FathomError("p-values lie in [0, 1]; got some outside")
    order = asked[np.argsort(p[asked], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
