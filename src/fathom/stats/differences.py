"""Differences of two means that do not share seeds, and whether they are near enough to be called the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtr, stdtrit

from fathom.stats.inference import SPREAD, paired_t, t_interval

LEVEL = 0.95  # of intervals
ALPHA = 0.05  # of tests; equivalence is tested by the interval of 1 - 2 ALPHA


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
        """The arm of some seeds' values."""
        band = t_interval(list(seeds.values()))
        return cls(band.mean, band.sd, band.n, dict(seeds))


@dataclass(frozen=True)
class Difference:
    """A difference of means, with its intervals.

    Args:
        mean: A fraction; above zero where the first is higher.
        low, high: Interval of `LEVEL`; NaN where there is none.
        inner_low, inner_high: Interval of 1 - 2 `ALPHA`, of which two one-sided tests ask (TOST).
        p: Two-sided, of no difference; NaN where there is none.
        df: Degrees of freedom.
        n: Seeds of both, or of the pairs twice.
        refused: Why there is no interval; empty where there is one.
        paired: Whether seeds were paired.
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

    def within(self, margin: float) -> bool:
        """Whether both one-sided tests reject a difference of `margin` or more."""
        return -margin < self.inner_low and self.inner_high < margin


def welch(a: SeedSummary, b: SeedSummary, level: float = LEVEL) -> Difference:
    """`a - b` of independent seeds whose variances may differ, from means, spreads and counts alone.

    Refused where an arm has fewer than 2 seeds or neither varies: nothing then says how far chance alone moves them.

    Source: Welch, 1947. Equivalence by two one-sided tests: Schuirmann, 1987.
    """
    return contrast([(1, a), (-1, b)], level)


def contrast(terms: Sequence[tuple[float, SeedSummary]], level: float = LEVEL) -> Difference:
    """A weighted sum of independent means whose variances may differ; refused as `welch` is.

    Source: degrees of freedom by Satterthwaite, 1946.
    """
    arms = [arm for _, arm in terms]
    mean, n = sum(weight * arm.mean for weight, arm in terms), (arms[0].n, arms[-1].n)
    if (least := min(arm.n for arm in arms)) < 2:
        return _refused(mean, n, "1 seed has no spread" if least == 1 else "how many seeds is not known")
    if not np.isfinite([value for arm in arms for value in (arm.mean, arm.sd)]).all():
        return _refused(mean, n, "its spread is not known")
    parts = [(weight * arm.sd) ** 2 / arm.n for weight, arm in terms]
    if sum(parts) ** 0.5 < SPREAD:
        return _refused(mean, n, "nothing varies between seeds")
    df = sum(parts) ** 2 / sum(part**2 / (arm.n - 1) for part, arm in zip(parts, arms, strict=True))
    return _interval(mean, sum(parts) ** 0.5, df, n, level)


def paired_difference(a: SeedSummary, b: SeedSummary, level: float = LEVEL) -> Difference:
    """`a - b`, paired by seed where both know two seeds or more in common; else by Welch."""
    common = sorted(set(a.seeds) & set(b.seeds))
    if len(common) < 2:
        return welch(a, b, level)
    return paired([a.seeds[seed] - b.seeds[seed] for seed in common], level)


def paired(values: list[float], level: float = LEVEL) -> Difference:
    """The mean of differences, one a seed (or any other independent unit), with its t-interval."""
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
    return Difference(mean, mean - outer, mean + outer, mean - inner, mean + inner, p, df, n, paired=paired)


def _refused(mean: float, n: tuple[int, int], reason: str) -> Difference:
    nan = float("nan")
    return Difference(mean, nan, nan, nan, nan, nan, nan, n, reason)
