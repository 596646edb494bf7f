"""Power against independent figures, and what a design is told that it cannot do."""

import numpy as np
import pytest
from scipy import stats

from fathom.core.records import FathomError, RunSpec, Study
from fathom.design.power import proof
from fathom.stats.power import power, units_needed


@pytest.mark.parametrize(("n", "d_z"), [(3, 3.27), (5, 1.69), (10, 1.00), (20, 0.66), (50, 0.41)])
def test_the_effect_that_is_found_in_four_of_five_cases(n: int, d_z: float) -> None:
    assert power(n, d_z) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("n", "d_z"), [(3, 2.0), (5, 1.0), (10, 0.5)])
def test_power_is_the_share_of_rejections_and_that_of_the_noncentral_t(n: int, d_z: float) -> None:
    drawn = np.random.default_rng(0).normal(d_z, 1, (n, 20_000))
    rejected = stats.ttest_1samp(drawn, 0).pvalue < 0.05
    assert power(n, d_z) == pytest.approx(rejected.mean(), abs=0.012)
    critical, shift = stats.t.ppf(0.975, n - 1), d_z * n**0.5
    expected = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    assert power(n, d_z) == pytest.approx(expected, abs=1e-9)


def test_power_without_an_effect_is_alpha_and_with_a_huge_one_is_one() -> None:
    assert power(5, 1e-9) == pytest.approx(0.05)
    assert power(3, 1e3) == pytest.approx(1)
    assert power(1, 5) == 0


@pytest.mark.parametrize("ratio", [3.0, 1.0, 0.3])
def test_the_seeds_needed_are_the_fewest(ratio: float) -> None:
    n = units_needed(0.01, 0.01 / ratio)
    assert n is not None
    assert power(n, ratio) >= 0.8 > power(n - 1, ratio)
    assert units_needed(1e-5, 0.5) is None


def study(seeds: int, datasets: int) -> Study:
    runs = [
        RunSpec(f"d{d}", "low", "p", q, s) for d in range(datasets) for s in range(seeds) for q in ("random", "badge")
    ]
    return Study("s", tuple(runs))


def test_a_design_that_cannot_reject_is_told_so() -> None:
    three = proof(study(3, 5))
    assert (three.smallest_p, three.smallest_p_across) == (0.25, 0.0625)
    assert not three.can_reject
    assert any("cannot reject anything" in note for note in three.notes())
    across = proof(study(3, 6))
    assert across.can_reject
    assert [n for n in across.notes() if "within one setting this design can describe" in n]
    assert not [n for n in across.notes() if "anything" in n]
    assert proof(study(10, 1)).notes() == []
    assert proof(study(3, 5)).to_json()["can_reject"] is False


def test_an_effect_in_percent_is_refused() -> None:
    with pytest.raises(FathomError, match=r"a point is \.01"):
        proof(study(3, 1), effect=1.0)
