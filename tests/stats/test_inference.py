"""Intervals and tests against hand-computed values, scipy, and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.stats.inference import critical_t, holm, minimum_p, paired_t, t_interval

WRONG_STATISTIC = fault("statistics", "wrong statistic", "equal to hand-computed values, SciPy and published formulas")

values = st.lists(st.floats(-1, 1).map(lambda v: round(v, 6)), min_size=2, max_size=12)


@WRONG_STATISTIC
def test_interval_by_hand() -> None:
    band = t_interval([1.0, 2.0, 3.0])
    assert (band.mean, band.sd, band.n) == (2.0, 1.0, 3)
    assert (band.high - band.low) / 2 == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)


@WRONG_STATISTIC
@given(values, st.sampled_from([0.5, 0.9, 0.95]))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_interval_is_scipys(x: list[float], level: float) -> None:
    band = t_interval(x, level)
    if band.sd > 1e-9:
        expected = stats.t.interval(level, len(x) - 1, loc=np.mean(x), scale=stats.sem(x))
        assert (band.low, band.high) == pytest.approx(expected)


def test_one_value_has_no_interval_and_an_undefined_one_spoils_it() -> None:
    assert math.isnan(t_interval([0.5]).low)
    assert t_interval([0.5]).mean == 0.5
    assert math.isnan(t_interval([]).mean)
    assert math.isnan(t_interval([0.5, float("nan"), 0.6]).mean)
    with pytest.raises(FathomError, match="between 0 and 1"):
        t_interval([1.0, 2.0], 95)


@fault(
    "statistics",
    "identical methods, simulated",
    "false claims at no more than the stated rate; intervals cover as stated",
)
@pytest.mark.parametrize("n", [3, 5])
def test_coverage_is_what_it_says(n: int) -> None:
    x = np.random.default_rng(0).normal(size=(4000, n))
    bands = [t_interval(row) for row in x]
    assert np.mean([b.low <= 0 <= b.high for b in bands]) == pytest.approx(0.95, abs=0.012)


@WRONG_STATISTIC
def test_critical_values() -> None:
    assert critical_t(3, 0.05) == pytest.approx(4.3027, abs=1e-4)
    assert critical_t(5, 0.05) == pytest.approx(2.7764, abs=1e-4)


@WRONG_STATISTIC
@given(values, st.integers(0, 100))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_paired_t_is_scipys(x: list[float], seed: int) -> None:
    a = np.asarray(x)
    b = a + np.random.default_rng(seed).normal(size=len(a))
    expected, found = stats.ttest_rel(a, b), paired_t(a - b)
    assert (found.p, found.statistic) == pytest.approx((expected.pvalue, expected.statistic))
    assert paired_t(b - a).p == pytest.approx(found.p)


@pytest.mark.parametrize(
    ("differences", "reason"),
    [([], "n = 0"), ([0.1], "n = 1"), ([0.1, 0.1, 0.1], "do not vary"), ([0.1, float("nan")], "undefined")],
)
def test_a_p_value_is_refused_with_its_reason(differences: list[float], reason: str) -> None:
    test = paired_t(differences)
    assert math.isnan(test.p)
    assert reason in test.refused


@WRONG_STATISTIC
def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, float("nan"), 0.04])[[0, 2]] == pytest.approx([0.02, 0.04])
    assert len(holm([])) == 0
    with pytest.raises(FathomError, match=r"\[0, 1\]"):
        holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), st.randoms(use_true_random=False))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_holm_keeps_order_and_does_not_depend_on_it(p: list[float], random: object) -> None:
    adjusted = holm(p)
    order = list(range(len(p)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert holm([p[i] for i in order]) == pytest.approx(adjusted[order])
    assert (adjusted >= np.asarray(p) - 1e-12).all()
    assert (adjusted <= np.minimum(1, np.asarray(p) * len(p)) + 1e-12).all()  # never worse than Bonferroni


@WRONG_STATISTIC
def test_smallest_p() -> None:
    assert [minimum_p(n) for n in (0, 1, 3, 5, 6)] == [1.0, 1.0, 0.25, 0.0625, 0.03125]
