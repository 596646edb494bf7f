"""Differences of means with their intervals, and tests of equivalence (also for means that do not share seeds)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtr, stdtrit

from fathom.stats.inference import LEVEL, SPREAD, paired_t, t_interval

SMALLEST_EFFECT = 0.01  # one point: the smallest effect that claims and designs are about


@dataclass(frozen=True)
class SeedSummary:
    """Mean and spread of a few seeds.

    Args:
        mean: A fraction.
        sd: Sample standard deviation (n - 1); NaN for fewer than 2.
        n: Seeds.
        seeds: Seed -> its value, where they are known.
    """

    mean: float
    sd: float
    n: int
    seeds: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, seeds: Mapping[int, float]) -> "SeedSummary":
        """The summary of the values of some seeds."""
        band = t_interval(list(seeds.values()))
        return cls(band.mean, band.sd, band.n, dict(seeds))


@dataclass(frozen=True)
class Difference:
    """A difference of means, with its intervals.

    Args:
        mean: A fraction; above zero where the first is higher.
        low, high: Interval of `LEVEL`; NaN where there is none.
        inner_low, inner_high: Interval of 1 - 2 `ALPHA`, which decides two one-sided tests (TOST).
        p: Two-sided p of equal means; NaN where there is none.
        df: Degrees of freedom.
        n: Seeds of the two means; the number of pairs twice, where they are paired.
        refused: Why there is no interval; empty where there is one.
        paired: True where seeds were paired.
        se: Standard error of the mean; NaN where there is no interval.
    """

    mean: float
    low: float
    high: float
    inner_low: float
    inner_high: float
    p: float
    df: float
    n: tuple[int, int]
    refused: str = ""
    paired: bool = False
    se: float = float("nan")

    def p_outside(self, margin: float) -> float:
        """The p of a difference of `margin` or more, by two one-sided tests; NaN where there is no interval."""
        return float(stdtr(self.df, (abs(self.mean) - margin) / self.se))

    def within(self, margin: float) -> bool:
        """True if both one-sided tests reject a difference of `margin` or more."""
        return -margin < self.inner_low and self.inner_high < margin


def welch(a: SeedSummary, b: SeedSummary, level: float = LEVEL) -> Difference:
    """`a - b` of independent seeds whose variances may differ, from means, spreads and counts alone.

    Refused where a mean has fewer than 2 seeds or neither varies: the effect of chance cannot then be estimated.

    Source: Welch, 1947. Equivalence by two one-sided tests: Schuirmann, 1987.
    """
    return contrast([(1, a), (-1, b)], level)


def contrast(terms: Sequence[tuple[float, SeedSummary]], level: float = LEVEL) -> Difference:
    """A weighted sum of independent means whose variances may differ; refused under the conditions of `welch`.

    Source: degrees of freedom by Satterthwaite, 1946.
    """
    means = [summary for _, summary in terms]
    mean = sum(weight * summary.mean for weight, summary in terms)
    n = (means[0].n, means[-1].n)
    if (least := min(summary.n for summary in means)) < 2:
        return _refused(mean, n, "1 seed has no spread" if least == 1 else "how many seeds is not known")
    if not np.isfinite([(summary.mean, summary.sd) for summary in means]).all():
        return _refused(mean, n, "its spread is not known")
    variances = [(weight * summary.sd) ** 2 / summary.n for weight, summary in terms]
    se = sum(variances) ** 0.5
    if se < SPREAD:
        return _refused(mean, n, "nothing varies between seeds")
    shares = [variance**2 / (summary.n - 1) for variance, summary in zip(variances, means, strict=True)]
    return _interval(mean, se, sum(variances) ** 2 / sum(shares), n, level)


def paired_difference(a: SeedSummary, b: SeedSummary, level: float = LEVEL) -> Difference:
    """`a - b`, paired by seed where two or more seeds are known of both; else by Welch."""
    common = sorted(set(a.seeds) & set(b.seeds))
    if len(common) < 2:
        return welch(a, b, level)
    return paired([a.seeds[seed] - b.seeds[seed] for seed in common], level)


def paired(values: list[float], level: float = LEVEL) -> Difference:
    """The mean of differences, one per seed (or another independent unit), with its t-interval."""
    band, test = t_interval(values, level), paired_t(values)
    n = (band.n, band.n)
    if test.refused:
        return _refused(band.mean, n, test.refused)
    return _interval(band.mean, band.sd / band.n**0.5, band.n - 1, n, level, paired=True)


def _interval(
    mean: float, se: float, df: float, n: tuple[int, int], level: float, *, paired: bool = False
) -> Difference:
    outer, inner = se * float(stdtrit(df, (1 + level) / 2)), se * float(stdtrit(df, level))
    p = float(2 * stdtr(df, -abs(mean) / se))
    return Difference(mean, mean - outer, mean + outer, mean - inner, mean + inner, p, df, n, paired=paired, se=se)


def _refused(mean: float, n: tuple[int, int], reason: str) -> Difference:
    nan = float("nan")
    return Difference(mean, nan, nan, nan, nan, nan, nan, n, reason)
