"""Decisions on gains: better, not worse, worse or undecided, for a family of comparisons at once.

Two questions are asked of each gain, and each has its own family of tests, both corrected by Holm (1979):

- Is it 0? Two-sided t-test. Rejected: *better* where the gain is above 0, *worse* where it is below.
- Is it a loss of `margin` or more? One-sided t-test (non-inferiority). Rejected: *not worse*.

So at most `alpha` of all families of equal methods have a false *better* or *worse*, and at most `alpha` of all
families have a *not worse* whose true loss is the margin. What neither test decides is *undecided*: that is no evidence
of equality.

Comparisons whose units are missing on one side (failed or unfinished runs) are decided by the worst and best values
that the missing units may plausibly have: a method whose bad runs never finish must not gain by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from fathom.core.records import FathomError
from fathom.stats.inference import ALPHA, SPREAD, Array, holm

BETTER, NOT_WORSE, WORSE, UNDECIDED = "better", "not worse", "worse", "undecided"
MARGIN = 0.01  # one point: a smaller loss is accepted as none
MIN_UNITS = 3  # with two, one degree of freedom is left, and a single collapsed run decides everything
LATER_SHARE = 1 / 5  # of alpha, in addition to it: what all later looks at a study that grew have together
CASES = "observed", "worst", "best"  # of missing units
MISSING_SDS = 3.0  # a missing unit lies at most so many standard deviations from the mean of the others


@dataclass(frozen=True)
class GainEstimate:
    """A mean gain over independent units, with its standard error.

    Args:
        mean: A fraction; NaN where there is no unit.
        se: Standard error of the mean; NaN for fewer than 2 units.
        df: Degrees of freedom of the standard error.
        n: Units.
        missing: Units that one side has and the other lacks; they are no part of `mean`.
        worst, best: (mean, se) with the missing units at their worst and best plausible value; None where none is
            missing.
    """

    mean: float
    se: float
    df: float
    n: int
    missing: int = 0
    worst: tuple[float, float] | None = None
    best: tuple[float, float] | None = None

    @classmethod
    def of(cls, values: Sequence[float] | Array, missing: int = 0) -> "GainEstimate":
        """Estimate from one gain per unit.

        Args:
            values: Gains, fractions.
            missing: Units without a gain. Their gain is taken to lie within `MISSING_SDS` standard deviations.
        """
        x = np.asarray(values, dtype=np.float64)
        mean, se = _mean_se(x)
        if not missing or len(x) < 2:
            return cls(mean, se, len(x) - 1.0, len(x), missing)
        reach = MISSING_SDS * float(x.std(ddof=1))
        bounds = [_mean_se(np.append(x, np.full(missing, mean + sign * reach))) for sign in (-1, 1)]
        return cls(mean, se, len(x) - 1.0, len(x), missing, *bounds)


def _mean_se(x: Array) -> tuple[float, float]:
    mean = float(x.mean()) if len(x) else float("nan")
    return mean, float(x.std(ddof=1) / len(x) ** 0.5) if len(x) > 1 else float("nan")


def combined(parts: Sequence[GainEstimate]) -> GainEstimate:
    """Mean of independent estimates (datasets), each with its own spread over seeds.

    Source: degrees of freedom by Satterthwaite, 1946.
    """
    if len(parts) == 1:
        return parts[0]
    m = len(parts)

    def pooled(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
        means, ses = np.asarray(pairs, dtype=np.float64).T
        return float(means.mean()), float((ses**2).sum() ** 0.5 / m)

    mean, se = pooled([(p.mean, p.se) for p in parts])
    shares = np.array([p.se**2 for p in parts])
    with np.errstate(invalid="ignore", divide="ignore"):
        df = float(shares.sum() ** 2 / np.sum(shares**2 / np.array([max(p.df, 1e-9) for p in parts])))
    missing = sum(p.missing for p in parts)
    worst = pooled([p.worst or (p.mean, p.se) for p in parts]) if missing else None
    best = pooled([p.best or (p.mean, p.se) for p in parts]) if missing else None
    return GainEstimate(mean, se, df, min(p.n for p in parts), missing, worst, best)


@dataclass(frozen=True)
class GainVerdict:
    """Decision on one gain of a family.

    Args:
        verdict: `better`, `not worse`, `worse` or `undecided`.
        mean: Mean gain, a fraction.
        low, high: t-interval at `level`. It excludes 0 exactly where the two-sided test rejects. With missing units it
            reaches from the lowest to the highest end in all their cases, so it may hold 0 though `observed` decides.
        level: Coverage of the interval: 1 - alpha / (comparisons of Holm's step), at least 1 - alpha.
        bound: Lower bound of the non-inferiority test, one-sided at its Holm step: above -margin where it rejects.
        p, p_holm: Two-sided p of a gain of 0, and corrected.
        p_loss, p_loss_holm: One-sided p of a loss of `margin` or more, and corrected.
        n: Units.
        missing: Units that one side lacks.
        family: Comparisons that were corrected for.
        margin, alpha: As given to `decide`.
        refused: Why nothing can be decided; empty where something can.
        observed: Verdict without regard to missing units, where some are missing.
    """

    verdict: str
    mean: float
    low: float
    high: float
    level: float
    bound: float
    p: float
    p_holm: float
    p_loss: float
    p_loss_holm: float
    n: int
    missing: int
    family: int
    margin: float
    alpha: float
    refused: str = ""
    observed: str = ""


def look_alpha(look: int, alpha: float = ALPHA) -> float:
    """Error rate of the tests at a look, by alpha spending.

    The planned analysis (look 1) has `alpha`. A study that grows after a look has had its chance; all later looks
    together get `LATER_SHARE` of alpha more, the j-th of them 1 / (j (j + 1)) of that, so that seeds may be added
    without end: at most 1.2 alpha of all studies of equal methods ever show a difference.

    Args:
        look: 1 for a study that never grew, 2 after it grew once, ...

    Raises:
        FathomError: `look` is below 1.

    Source: alpha spending by Lan and DeMets, 1983; the shares are ours.
    """
    if look < 1:
        raise FathomError(f"looks are counted from 1; got {look}")
    return alpha if look == 1 else alpha * LATER_SHARE / ((look - 1) * look)


def decide(estimates: Sequence[GainEstimate], margin: float = MARGIN, alpha: float = ALPHA) -> list[GainVerdict]:
    """Decide on a family of gains, each with the others in view.

    Args:
        estimates: One per comparison.
        margin: Loss that still counts as none, a fraction above 0.
        alpha: Error rate of each of the two families of tests.

    Raises:
        FathomError: Margin or alpha is not in (0, 1).
    """
    if not (0 < margin < 1 and 0 < alpha < 1):
        raise FathomError(f"margin and alpha are fractions between 0 and 1 (a point is .01); got {margin} and {alpha}")
    refused = [_refusal(e) for e in estimates]
    cases = CASES if any(e.missing for e in estimates) else CASES[:1]
    zero = {case: _p_values(estimates, refused, case) for case in cases}
    loss = {case: _p_values(estimates, refused, case, margin) for case in cases}
    verdicts = {case: _verdicts(estimates, case, holm(zero[case]), holm(loss[case]), alpha) for case in cases}
    levels = {case: (_holm_levels(zero[case], alpha), _holm_levels(loss[case], alpha)) for case in cases}
    corrected, corrected_loss = holm(zero["observed"]), holm(loss["observed"])
    found = []
    for i, e in enumerate(estimates):
        own = {case: verdicts[case][i] for case in cases}
        known = cases if e.missing else CASES[:1]
        steps = {case: (float(levels[case][0][i]), float(levels[case][1][i])) for case in known}
        low, high, bound = _ends(e, steps) if not refused[i] else (np.nan, np.nan, np.nan)
        found.append(
            GainVerdict(
                verdict=_sure(own) if e.missing else own["observed"],
                mean=e.mean, low=low, high=high, level=1 - max(step for step, _ in steps.values()), bound=bound,
                p=float(zero["observed"][i]), p_holm=float(corrected[i]),
                p_loss=float(loss["observed"][i]), p_loss_holm=float(corrected_loss[i]),
                n=e.n, missing=e.missing, family=len(estimates), margin=margin, alpha=alpha,
                refused=refused[i], observed=own["observed"] if e.missing else "",
            )
        )  # fmt: skip
    return found


def rejects_loss(e: GainEstimate, margin: float, alpha: float = ALPHA) -> bool:
    """True if a loss of `margin` or more is rejected by this comparison alone, missing units at their worst."""
    return not _refusal(e) and all(_p_values([e], [""], case, margin)[0] < alpha for case in ("observed", "worst"))


def _sure(own: Mapping[str, str]) -> str:
    """The verdict that holds wherever the missing units lie: a good one in the worst case, a bad one in the best."""
    if own["observed"] == WORSE:
        return WORSE if own["best"] == WORSE else UNDECIDED
    if own["observed"] == UNDECIDED or own["worst"] in (WORSE, UNDECIDED):
        return UNDECIDED
    return own["worst"] if own["observed"] == BETTER else NOT_WORSE


def _refusal(e: GainEstimate) -> str:
    if e.n < MIN_UNITS:
        return f"n = {e.n}: a decision needs at least {MIN_UNITS}"
    if not (np.isfinite(e.mean) and np.isfinite(e.se)):
        return "a gain is undefined"
    return "the gains do not vary, which shows only the resolution of the test set" if e.se < SPREAD else ""


def _case(e: GainEstimate, case: str) -> tuple[float, float]:
    return (None if case == "observed" else getattr(e, case)) or (e.mean, e.se)


def _p_values(
    estimates: Sequence[GainEstimate], refused: Sequence[str], case: str, margin: float | None = None
) -> Array:
    """Two-sided p of a gain of 0, or with a margin one-sided p of a loss of that or more.

    NaN where refused, which leaves a comparison out of the family.
    """
    mean, se = np.array([_case(e, case) for e in estimates], dtype=np.float64).reshape(-1, 2).T
    df, asked = np.array([e.df for e in estimates]), ~np.array([bool(reason) for reason in refused], dtype=bool)
    p = np.full(len(estimates), np.nan)
    mean, se, df = mean[asked], se[asked], df[asked]
    p[asked] = 2 * stdtr(df, -np.abs(mean) / se) if margin is None else stdtr(df, -(mean + margin) / se)
    return p


def _verdicts(estimates: Sequence[GainEstimate], case: str, p: Array, p_loss: Array, alpha: float) -> list[str]:
    """Verdicts in one case of the missing units, from corrected p-values."""
    found = []
    for e, equal, loss in zip(estimates, p, p_loss, strict=True):
        above = _case(e, case)[0] > 0
        found.append((BETTER if above else WORSE) if equal < alpha else NOT_WORSE if loss < alpha else UNDECIDED)
    return found


def _ends(e: GainEstimate, steps: Mapping[str, tuple[float, float]]) -> tuple[float, float, float]:
    """Ends of the two-sided interval, and the one-sided bound, over all cases of the missing units.

    Args:
        steps: Case -> levels of the two-sided and of the one-sided test.
    """
    lows, highs, bounds = [], [], []
    for case, (level, loss_level) in steps.items():
        mean, se = _case(e, case)
        half = float(stdtrit(e.df, 1 - level / 2)) * se
        lows.append(mean - half)
        highs.append(mean + half)
        bounds.append(mean - float(stdtrit(e.df, 1 - loss_level)) * se)
    return min(lows), max(highs), min(bounds)


def _holm_levels(p: Array, alpha: float) -> Array:
    """Level at which Holm's procedure tests each hypothesis; after the first that stands, the level of that one.

    An interval at this level excludes the null value exactly where the corrected test rejects.
    """
    levels = np.full(len(p), alpha)
    asked = np.flatnonzero(~np.isnan(p))
    stopped = False
    level = alpha
    for rank, i in enumerate(asked[np.argsort(p[asked], kind="stable")]):
        if not stopped:
            level = alpha / (len(asked) - rank)
            stopped = not p[i] < level
        levels[i] = level
    return levels
