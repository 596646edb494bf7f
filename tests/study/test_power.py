"""What a design can prove, beside published values and a simulation."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from fathom.records import FathomError, RunSpec, Study
from fathom.study.power import Proof, paired_power, seeds_for


def _study(seeds: int, datasets: int = 1, queries: tuple[str, ...] = ("random", "entropy", "bald")) -> Study:
    names = [f"d{i}" for i in range(datasets)]
    runs = tuple(RunSpec(d, "low", "standard", q, s) for d in names for s in range(seeds) for q in queries)
    return Study("some", runs)


# Effect over standard deviation that n pairs find with a power of .8: 3.27 at 3 pairs, ...
@pytest.mark.parametrize(("n", "effect"), [(3, 3.27), (5, 1.69), (10, 1.00), (20, 0.66), (50, 0.41)])
def test_the_effect_that_n_seeds_find(n: int, effect: float) -> None:
    assert paired_power(n, effect) == pytest.approx(0.8, abs=0.02)
    assert seeds_for(effect * 1.02) <= n < seeds_for(effect * 0.9)


def test_power_is_the_share_of_rejections() -> None:
    draws = np.random.default_rng(0).normal(0.8, 1.0, size=(20_000, 8))
    rejected = np.mean(ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05)
    assert paired_power(8, 0.8) == pytest.approx(rejected, abs=0.01)


def test_power_grows_with_seeds_and_effect_and_is_the_level_without_one() -> None:
    assert paired_power(1, 5.0) == 0.0
    assert paired_power(7, 0.0) == pytest.approx(0.05)
    powers = [paired_power(n, 0.5) for n in range(2, 60)]
    assert powers == sorted(powers)
    assert paired_power(5, 1000.0) == pytest.approx(1.0)
    assert seeds_for(1e-6) == 10_000


def test_three_seeds_on_one_dataset_are_told_that_they_cannot_reject() -> None:
    proof = Proof.of(_study(3))
    assert (proof.seeds, proof.datasets, proof.comparisons, proof.smallest_p) == (3, 1, 2, 0.25)
    assert any("cannot reject anything" in note for note in proof.limits())
    assert proof.to_json()["seeds_needed"] == proof.seeds_needed > 3


def test_what_more_seeds_and_more_datasets_can_do() -> None:
    six = Proof.of(_study(6)).limits()
    assert len(six) == 1
    assert "Holm" in six[0]
    assert Proof.of(_study(7)).limits() == []
    over = Proof.of(_study(3, datasets=8))
    assert over.smallest_p_datasets == pytest.approx(0.0078, abs=1e-4)
    assert not any("anything" in note for note in over.limits())


def test_a_design_with_nothing_to_compare() -> None:
    assert Proof.of(_study(10, queries=("random",))).limits() == [
        "no query method beside the baseline: there is nothing to compare"
    ]


def test_a_larger_effect_needs_fewer_seeds() -> None:
    assert Proof.of(_study(5), effect=2.0).seeds_needed < Proof.of(_study(5), effect=0.5).seeds_needed


@pytest.mark.parametrize("bad", [{"effect": 0.0}, {"effect": float("nan")}, {"sd": -1.0}])
def test_what_is_no_number_of_points_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(FathomError, match="positive number of points"):
        Proof.of(_study(3), **bad)
