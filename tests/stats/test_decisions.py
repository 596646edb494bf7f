"""Decisions on families of gains."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from fathom.core.records import FathomError
from fathom.stats.decisions import (
    BETTER,
    NOT_WORSE,
    UNDECIDED,
    WORSE,
    GainEstimate,
    combined,
    decide,
    look_alpha,
    rejects_loss,
)


def drawn(means: list[float], sd: float = 0.01, n: int = 6, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(mean, sd, n) for mean in means]


def closed(p: list[float]) -> list[float]:
    """Holm's correction as what it abbreviates: the closed test of Bonferroni's over all subsets."""
    subsets = [s for size in range(1, len(p) + 1) for s in combinations(range(len(p)), size)]
    return [max(min(1.0, len(s) * min(p[i] for i in s)) for s in subsets if one in s) for one in range(len(p))]


def test_p_values_are_those_of_scipy_and_of_the_closed_test() -> None:
    values = drawn([0.0, 0.01, 0.02, -0.02])
    found = decide([GainEstimate.of(v) for v in values], margin=0.01)
    p = [stats.ttest_1samp(v, 0).pvalue for v in values]
    loss = [stats.ttest_1samp(v, -0.01, alternative="greater").pvalue for v in values]
    assert [d.p for d in found] == pytest.approx(p)
    assert [d.p_loss for d in found] == pytest.approx(loss)
    assert [d.p_holm for d in found] == pytest.approx(closed(p))
    assert [d.p_loss_holm for d in found] == pytest.approx(closed(loss))


@pytest.mark.parametrize("seed", range(40))
def test_intervals_say_what_the_corrected_tests_say(seed: int) -> None:
    means = list(np.random.default_rng(seed).normal(0, 0.015, 7))
    for d in decide([GainEstimate.of(v) for v in drawn(means, seed=seed)]):
        assert (d.low > 0 or d.high < 0) == (d.p_holm < 0.05) == (d.verdict in (BETTER, WORSE))
        assert (d.bound > -0.01) == (d.p_loss_holm < 0.05)
        assert 0.95 <= d.level < 1


def test_the_four_verdicts() -> None:
    values = [[0.02, 0.021, 0.019], [0.001, -0.001, 0.0], [-0.02, -0.021, -0.019], [0.05, -0.06, 0.03]]
    found = [d.verdict for d in decide([GainEstimate.of(v) for v in values])]
    assert found == [BETTER, NOT_WORSE, WORSE, UNDECIDED]


@pytest.mark.parametrize(
    ("values", "reason"),
    [([0.01, 0.02], "n = 2"), ([0.01] * 5, "do not vary"), ([], "n = 0"), ([0.1, float("nan"), 0.2], "undefined")],
)
def test_what_cannot_be_decided_is_undecided_and_no_part_of_the_family(values: list[float], reason: str) -> None:
    alone = decide([GainEstimate.of([0.01, 0.02, 0.012, 0.018])])[0]
    first, refused = decide([GainEstimate.of([0.01, 0.02, 0.012, 0.018]), GainEstimate.of(values)])
    assert refused.verdict == UNDECIDED
    assert reason in refused.refused
    assert first.p_holm == alone.p_holm


def test_a_gain_that_rests_on_missing_units_is_not_better() -> None:
    values = [0.006, 0.03, 0.012, 0.02, 0.018, 0.007, 0.026]
    assert decide([GainEstimate.of(values)])[0].verdict == BETTER
    few, many = decide([GainEstimate.of(values, 1)])[0], decide([GainEstimate.of(values, 6)])[0]
    assert (few.verdict, few.observed) == (BETTER, BETTER)
    assert (many.verdict, many.observed) == (NOT_WORSE, BETTER)
    assert decide([GainEstimate.of(values, 6)], margin=0.001)[0].verdict == UNDECIDED


def test_a_loss_that_rests_on_missing_units_is_undecided() -> None:
    values = [-v for v in [0.006, 0.03, 0.012, 0.02, 0.018, 0.007, 0.026]]
    assert decide([GainEstimate.of(values, 1)])[0].verdict == WORSE
    assert decide([GainEstimate.of(values, 8)])[0].verdict == UNDECIDED


def test_the_interval_holds_all_cases_of_missing_units_as_the_verdict_does() -> None:
    values = [0.006, 0.03, 0.012, 0.02, 0.018, 0.007, 0.026]
    for missing in (0, 1, 6):
        for sign in (1, -1):
            gains = [sign * v for v in values]
            found, alone = decide([GainEstimate.of(gains, missing)])[0], decide([GainEstimate.of(gains)])[0]
            assert (found.verdict in (BETTER, WORSE)) == (not found.low < 0 < found.high)
            assert found.low <= alone.low < alone.high <= found.high
            assert (found.bound < alone.bound) == (missing > 0)
    beside = decide([GainEstimate.of(values), GainEstimate.of(values, 6)])
    assert beside[0] == decide([GainEstimate.of(values), GainEstimate.of(values)])[0]


def test_a_loss_is_rejected_only_with_missing_units_at_their_worst() -> None:
    values = [0.006, 0.03, 0.012, 0.02, 0.018, 0.007, 0.026]
    assert [rejects_loss(GainEstimate.of(values, missing), 0.001) for missing in (0, 6)] == [True, False]
    assert not rejects_loss(GainEstimate.of(values[:2]), 0.5)


def test_two_independent_means_combine_as_welch_combines_them() -> None:
    a, b = drawn([0.01, 0.03], n=5)
    found = combined([GainEstimate.of(a), GainEstimate.of(b)])
    welch = stats.ttest_ind(a, -b, equal_var=False)  # the mean of a and b is half the difference of a and -b
    assert found.mean == pytest.approx((a.mean() + b.mean()) / 2)
    assert found.mean / found.se == pytest.approx(welch.statistic)
    assert found.df == pytest.approx(welch.df)


def test_all_later_looks_share_a_fifth_of_alpha() -> None:
    assert look_alpha(1) == 0.05
    assert sum(look_alpha(look) for look in range(2, 10_000)) == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(FathomError, match="counted from 1"):
        look_alpha(0)


@pytest.mark.parametrize(("margin", "alpha"), [(0, 0.05), (1, 0.05), (0.01, 0), (0.01, 1)])
def test_margin_and_alpha_are_fractions(margin: float, alpha: float) -> None:
    with pytest.raises(FathomError, match="fractions between 0 and 1"):
        decide([GainEstimate.of([0.0, 0.1, 0.2])], margin, alpha)
