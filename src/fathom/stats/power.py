"""Power of the tests that decide on gains (`stats.decisions`), and the units that a decision needs.

A unit is a seed, or a dataset; `sd` is the standard deviation of the paired gains over units. The level is that of the
first step of Holm's correction, alpha / family, so the power of one effect among equal methods is what is promised.
"""

from functools import cache
from math import inf

from scipy.special import ncfdtr, nctdtr, stdtrit

from fathom.stats.decisions import MIN_UNITS
from fathom.stats.inference import ALPHA, critical_t

WANTED = 0.8
MOST_UNITS = 10_000


def power(n: int, d_z: float, alpha: float = ALPHA) -> float:
    """Probability that a two-sided paired t-test of n pairs rejects, if the effect is d_z; 0 for n < 2.

    Source: t is noncentral with n - 1 degrees of freedom and noncentrality sqrt(n) d_z; its square, noncentral F with
        (1, n - 1) and n d_z^2, has both tails in one and stays finite where scipy's noncentral t does not.
    """
    if n < 2:
        return 0.0
    return float(1 - ncfdtr(1, n - 1, n * d_z**2, critical_t(n, alpha) ** 2))


def power_not_worse(n: int, gain: float, sd: float, margin: float, alpha: float = ALPHA) -> float:
    """Probability that a one-sided paired t-test of n pairs rejects a loss of `margin`; 0 for n < 2.

    Args:
        n: Pairs.
        gain, sd, margin: True mean gain, spread of the gains, and margin, all in one unit.
        alpha: Error rate.
    """
    if n < 2:
        return 0.0
    shift = n**0.5 * (gain + margin) / sd
    if shift > 35:  # beyond the range of scipy's noncentral t
        return 1.0
    return float(1 - nctdtr(n - 1, shift, stdtrit(n - 1, 1 - alpha)))


@cache
def units_needed(
    effect: float, sd: float, *, family: int = 1, wanted: float = WANTED, alpha: float = ALPHA, not_worse: bool = False
) -> int | None:
    """The smallest number of units with power `wanted`, at least `MIN_UNITS`; None above `MOST_UNITS`.

    Args:
        effect: Gain to be found (`better`); with `not_worse` the margin, for methods that are equal. Above 0.
        sd: Standard deviation of the gains over units, in the same unit.
        family: Comparisons that Holm corrects for.
        wanted, alpha: Power and error rate.
        not_worse: Ask for `not worse` in place of `better`.
    """
    level = alpha / max(1, family)

    def reached(n: int) -> bool:
        found = power_not_worse(n, 0.0, sd, effect, level) if not_worse else power(n, effect / sd, level)
        return found >= wanted

    low, high = 1, 2  # power grows with units: double until it is enough, then bisect
    while not reached(high):
        low, high = high, 2 * high
        if low > MOST_UNITS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return max(high, MIN_UNITS)


def detectable(n: int, sd: float, *, family: int = 1, wanted: float = WANTED, alpha: float = ALPHA) -> float:
    """The smallest gain that n units find as `better` with power `wanted`, in the unit of `sd`; infinite for n < 3."""
    if n < MIN_UNITS:
        return inf
    low, high = 0.0, 1.0
    while power(n, high, alpha / max(1, family)) < wanted:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if power(n, middle, alpha / max(1, family)) >= wanted else (middle, high)
    return high * sd
