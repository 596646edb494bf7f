"""Welch and equivalence tests against scipy."""

import math

import numpy as np
import pytest
from scipy import stats
from tests.faults import fault

from fathom.stats.differences import SeedSummary, contrast, paired, paired_difference, welch

WRONG_STATISTIC = fault("statistics", "wrong statistic", "equal to hand-computed values, SciPy and published formulas")

A, B = [0.52, 0.55, 0.53], [0.50, 0.44, 0.47, 0.49]


def arm(values: list[float], first_seed: int = 0) -> SeedSummary:
    return SeedSummary.of({first_seed + i: v for i, v in enumerate(values)})


@WRONG_STATISTIC
def test_welch_is_scipys() -> None:
    found, expected = welch(arm(A), arm(B)), stats.ttest_ind(A, B, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.df == pytest.approx(expected.df)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    inner = expected.confidence_interval(0.90)
    assert (found.inner_low, found.inner_high) == pytest.approx((inner.low, inner.high))
    assert found.n == (3, 4)


@WRONG_STATISTIC
def test_equivalence_is_two_one_sided_tests() -> None:
    a, b = [0.500, 0.504, 0.498], [0.503, 0.499, 0.506]
    found = welch(arm(a), arm(b))
    for margin in (0.002, 0.01, 0.02):
        lower = stats.ttest_ind(np.add(a, margin), b, equal_var=False, alternative="greater").pvalue
        upper = stats.ttest_ind(np.subtract(a, margin), b, equal_var=False, alternative="less").pvalue
        assert found.within(margin) is bool(max(lower, upper) < 0.05)
    assert found.within(0.02)
    assert not found.within(0.002)


def test_a_contrast_of_four_arms() -> None:
    """With equal counts and spreads it is the t-interval of the pooled variance."""
    four = [SeedSummary(m, 0.01, 3) for m in (0.5, 0.4, 0.3, 0.25)]
    found = contrast(list(zip((1, -1, -1, 1), four, strict=True)))
    assert found.mean == pytest.approx(0.05)
    assert found.df == pytest.approx(8)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 8) * 0.01 * (4 / 3) ** 0.5)


def test_common_seeds_are_paired() -> None:
    a, b = [0.5, 0.6, 0.7], [0.49, 0.58, 0.70]
    found, expected = paired_difference(arm(a), arm(b)), stats.ttest_rel(a, b)
    assert found.paired
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert not paired_difference(arm(a), arm(b, first_seed=10)).paired


def test_what_cannot_be_said_is_refused_with_its_reason() -> None:
    one = SeedSummary(0.5, float("nan"), 1)
    assert "1 seed" in welch(one, arm(A)).refused
    assert welch(one, arm(A)).mean == pytest.approx(0.5 - np.mean(A))
    assert "nothing varies" in welch(SeedSummary(0.5, 0.0, 3), SeedSummary(0.4, 0.0, 3)).refused
    assert "spread" in welch(SeedSummary(0.5, float("nan"), 3), arm(A)).refused
    assert "do not vary" in paired([0.1, 0.1, 0.1]).refused
    refused = paired([0.1])
    assert math.isnan(refused.low)
    assert not refused.within(1.0)
    assert (refused.mean, refused.n) == (0.1, (1, 1))  # what is known is still said


@fault(
    "statistics",
    "identical methods, simulated",
    "false claims at no more than the stated rate; intervals cover as stated",
)
def test_coverage_of_the_interval() -> None:
    """Over many made-up pairs of three seeds each, the interval holds the true difference about as often as it says."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        a, b = random.normal(0.5, 0.01, 3), random.normal(0.5, 0.03, 3)
        found = welch(arm(a.tolist()), arm(b.tolist()))
        held += found.low < 0 < found.high
    assert 0.935 < held / 2000 < 0.975
