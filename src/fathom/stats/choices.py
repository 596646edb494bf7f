"""Comparison of two choices, each among several candidates, without the bias of measuring a winner on its own seeds.

The mean of the best of several candidates is too high where it is taken on the seeds that chose it: among equal
candidates the largest mean lies above their common one, and the more candidates, the farther. Two remedies:

- `cross_fit` chooses on all seeds but one and measures on that one. Its mean is unbiased for what a choice on so many
  seeds gains. Its values share the seeds that chose, so within a dataset they are no independent units; the means of
  several datasets are.
- `lead_bound` bounds by how much the best of one set of candidates leads the best of another, whichever are the best.
  Nothing is chosen by looking, so seeds stay the units, and it holds for means without their seeds too.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from fathom.stats.decisions import MIN_UNITS
from fathom.stats.inference import SPREAD, Array


def cross_fit(gains: Array, none: bool = True) -> tuple[Array, list[int | None]]:
    """Gain on each seed of the candidate that has the highest mean on the other seeds, and that candidate.

    Args:
        gains: [candidates, seeds], fractions; all over one reference.
        none: Keep the reference (gain 0, candidate None) where no candidate has a mean above 0.

    Source: cross-fitting, leave one out; Stone, 1974, and Chernozhukov et al., 2018.
    """
    values = np.zeros(gains.shape[1])
    chosen: list[int | None] = []
    for held_out in range(len(values)):
        means = np.delete(gains, held_out, axis=1).mean(axis=1) if len(values) > 1 else np.zeros(0)
        best = int(np.argmax(means)) if len(means) else None
        if best is not None and none and not means[best] > 0:
            best = None
        if best is not None:
            values[held_out] = gains[best, held_out]
        chosen.append(best)
    return values, chosen


def lead_bound(mean: Array, se: Array, df: Array, alpha: float) -> float:
    """Lower bound of the best candidate's lead over the best rival, at coverage 1 - alpha; -inf where there is none.

    For each candidate the bound is that of its least favorable rival: whichever rival is truly the best is among them,
    so they need no correction (intersection-union test). The candidates do need one, since any of them may lead:
    each is bounded at alpha / candidates.

    Args:
        mean: [candidates, rivals] leads of each candidate over each rival.
        se: Their standard errors; NaN where nothing may be decided.
        df: Their degrees of freedom.
        alpha: Error rate, one-sided.

    Source: intersection-union tests: Berger, 1982; Bonferroni over candidates.
    """
    if not mean.size:
        return -np.inf
    low = mean - stdtrit(df, 1 - alpha / len(mean)) * se
    return float(np.where(np.isfinite(low), low, -np.inf).min(axis=1).max())


def pooled_lead_bound(groups: Sequence[tuple[Array, Array, Array]], weights: Array, alpha: float) -> float:
    """Lower bound of a weighted mean over independent groups of the best candidate's lead over each group's best rival.

    One candidate for all groups, so the bound holds for a choice by group as well, whose lead is larger. In each group
    the least favorable rival is taken, with the largest standard error and the fewest degrees of freedom of any.

    Args:
        groups: (mean, se, df) as for `lead_bound`, with the same candidates in the same order.
        weights: Of the groups; they sum to 1.
        alpha: Error rate, one-sided.

    Source: degrees of freedom by Satterthwaite, 1946.
    """
    means = np.array([mean.min(axis=1) for mean, _, _ in groups])
    ses = np.array([se.max(axis=1) for _, se, _ in groups])
    df = np.array([df.min(axis=1) for _, _, df in groups])
    variances = (weights[:, None] * ses) ** 2
    total, pooled = weights @ means, variances.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        together = pooled**2 / (variances**2 / df).sum(axis=0)
    return lead_bound(total[:, None], np.sqrt(pooled)[:, None], together[:, None], alpha)


def lead_interval(gains: Array, rivals: Array, alpha: float) -> tuple[float, float]:
    """Interval of max(0, best of `gains`) - max(0, best of `rivals`), at coverage 1 - alpha, paired by seed.

    Args:
        gains, rivals: [candidates, seeds] each, gains over one reference, which may be kept (0) in place of any.
        alpha: Error rate, two-sided.
    """

    def bound(own: Array, other: Array) -> float:
        leads = own[:, None] - np.vstack([np.zeros((1, other.shape[1])), other])[None]
        se = standard_errors(leads)
        return lead_bound(leads.mean(axis=-1), se, np.full_like(se, leads.shape[-1] - 1), alpha / 2)

    return bound(gains, rivals), -bound(rivals, gains)


def standard_errors(values: Array) -> Array:
    """Standard errors of the means over the last axis (seeds); NaN where nothing may be decided.

    That is on fewer than three seeds, and where nothing varies, which shows only the resolution of the test set.
    """
    n = values.shape[-1]
    if n < MIN_UNITS:
        return np.full(values.shape[:-1], np.nan)
    se: Array = values.std(axis=-1, ddof=1) / n**0.5
    return np.where(se < SPREAD, np.nan, se)
