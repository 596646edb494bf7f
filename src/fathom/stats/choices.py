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

from fathom.stats.decisions import MIN_UNITS, GainEstimate
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


def lead_bound(leads: Sequence[Sequence[GainEstimate]], alpha: float) -> float:
    """Lower bound of the best candidate's lead over the best rival, at coverage 1 - alpha; -inf where there is none.

    For each candidate the bound is that of its least favorable rival: whichever rival is truly the best is among them,
    so they need no correction (intersection-union test). The candidates do need one, since any of them may lead:
    each is bounded at alpha / candidates.

    Args:
        leads: `leads[i][j]` is candidate i minus rival j.
        alpha: Error rate, one-sided.

    Source: intersection-union tests: Berger, 1982; Bonferroni over candidates.
    """
    level = alpha / max(1, len(leads))
    return max((min((_bound(e, level) for e in own), default=-np.inf) for own in leads), default=-np.inf)


def _bound(e: GainEstimate, alpha: float) -> float:
    # Nothing is decided on fewer than three units, and no spread at all shows only the resolution of the test set.
    if e.n < MIN_UNITS or not np.isfinite([e.mean, e.se]).all() or e.se < SPREAD:
        return -np.inf
    return e.mean - float(stdtrit(e.df, 1 - alpha)) * e.se


def lead_interval(gains: Array, rivals: Array, alpha: float) -> tuple[float, float]:
    """Interval of max(0, best of `gains`) - max(0, best of `rivals`), at coverage 1 - alpha, paired by seed.

    Args:
        gains, rivals: [candidates, seeds] each, gains over one reference, which may be kept (0) in place of any.
        alpha: Error rate, two-sided.
    """

    def bound(own: Array, other: Array) -> float:
        others = np.vstack([np.zeros((1, other.shape[1])), other])
        return lead_bound([[GainEstimate.of(a - b) for b in others] for a in own], alpha / 2)

    return bound(gains, rivals), -bound(rivals, gains)
