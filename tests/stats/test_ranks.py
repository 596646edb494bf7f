"""Rankings, their stability, and rank statistics over datasets."""

import numpy as np
import pytest
from scipy import stats

from fathom.core.records import FathomError, Setting
from fathom.stats.ranks import (
    Ranking,
    critical_difference,
    interquartile_mean,
    paired_improvement,
    probability_of_improvement,
    ranking,
    task_interval,
)
from fathom.stats.verdicts import SettingGain


def gains(effects: dict[str, float], datasets: int = 3, seeds: int = 6, sd: float = 0.01) -> list[SettingGain]:
    rng = np.random.default_rng(0)
    return [
        SettingGain(
            Setting(f"d{d}", "low", "standard"),
            query,
            "random",
            {s: effect + float(rng.normal(0, sd)) for s in range(seeds)},
            frozenset(),
        )
        for d in range(datasets)
        for query, effect in effects.items()
    ]


def ranked(own: list[SettingGain]) -> Ranking:
    found = ranking(own, "random", draws=500)
    assert found is not None
    return found


def test_a_clear_order_is_certain_and_the_baseline_is_in_it() -> None:
    found = ranked(gains({"badge": 0.05, "entropy": -0.05}, sd=0.001))
    assert found.methods == ["badge", "random", "entropy"]
    assert found.gains[1] == 0
    assert found.first == pytest.approx([1, 0, 0])
    assert found.low.tolist() == found.high.tolist() == [1, 2, 3]
    assert found.tau == pytest.approx(np.ones(6))


def test_equal_methods_are_first_by_chance() -> None:
    first = [ranked(gains({f"m{k}": 0.0 for k in range(4)}, datasets=1, seeds=3)).first]
    assert first[0].sum() == pytest.approx(1)
    assert first[0].max() < 1


def test_datasets_count_alike_whatever_settings_they_have() -> None:
    one = gains({"badge": 0.0}, datasets=2, sd=1e-9)
    more = [
        SettingGain(Setting("d0", f"r{k}", "standard"), "badge", "random", {0: 0.3, 1: 0.3, 2: 0.3}, frozenset())
        for k in range(2)
    ]
    assert ranked([*one, *more]).gains.max() == pytest.approx((0.2 + 0.0) / 2, abs=1e-6)


def test_a_method_that_lacks_a_setting_is_not_ranked() -> None:
    own = [g for g in gains({"badge": 0.0, "bald": 0.1}) if (g.query, g.setting.dataset) != ("bald", "d0")]
    found = ranked(own)
    assert found.not_ranked == ["bald"]
    assert set(found.methods) == {"badge", "random"}


def test_one_seed_is_no_ranking() -> None:
    assert ranking(gains({"badge": 0.0}, seeds=1), "random") is None
    assert ranking([], "random") is None


def test_the_same_gains_give_the_same_ranking() -> None:
    own = gains({"badge": 0.002, "bald": 0.0})
    assert ranked(own).first.tolist() == ranked(own).first.tolist()


# ------------------------------------------------------------------------------------------------ scores over tasks


def test_the_interquartile_mean_leaves_out_a_quarter_on_each_side() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(16.0)).reshape(4, 4)
    assert interquartile_mean(scores) == pytest.approx(np.arange(4, 12).mean())


def test_the_probability_of_improvement_is_that_of_mann_whitney() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(0.3, 1, (4, 5)).round(1), rng.normal(0, 1, (4, 5)).round(1)  # rounded: with ties
    u = [stats.mannwhitneyu(a, b).statistic / 25 for a, b in zip(x, y, strict=True)]
    assert probability_of_improvement(x.tolist(), y.tolist()) == pytest.approx(np.mean(u))
    assert probability_of_improvement(x.tolist(), x.tolist()) == pytest.approx(0.5)


def test_tasks_must_be_the_same() -> None:
    with pytest.raises(FathomError, match="same tasks"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])


def test_paired_improvement_counts_seeds_within_tasks() -> None:
    assert paired_improvement([[1.0, -1.0], [0.0]]) == 0.5
    assert paired_improvement([[1.0, 1.0], [-1.0]]) == 0.5


def test_the_interval_over_tasks_resamples_seeds_within_them() -> None:
    tasks = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]  # no spread within a task, so none in the interval
    assert task_interval(lambda drawn: float(np.mean(drawn)), tasks, draws=50) == (0.5, 0.5)
    low, high = task_interval(lambda drawn: float(np.mean(drawn)), [[0.0, 1.0, 2.0, 3.0]], draws=400)
    assert 0 <= low < 1.5 < high <= 3


# ---------------------------------------------------------------------------------------------- critical difference


def test_ranks_friedman_and_wilcoxon_are_those_of_scipy() -> None:
    scores = np.random.default_rng(2).normal([0.0, 1.0, 2.0, 0.0], 1.0, (8, 4))
    found = critical_difference(["a", "b", "c", "d"], scores)
    mean = stats.rankdata(-scores, axis=1).mean(axis=0)
    assert found.ranks == pytest.approx(np.sort(mean))
    assert found.methods[0] == "c"
    assert found.friedman == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    place = ["abcd".index(m) for m in found.methods]
    lowest = min(found.pairs.values())
    raw = [stats.wilcoxon(scores[:, place[i]] - scores[:, place[j]]).pvalue for i, j in found.pairs]
    assert lowest == pytest.approx(min(1, 6 * min(raw)))


def test_bars_join_what_no_pair_tells_apart() -> None:
    rng = np.random.default_rng(3)
    scores = np.column_stack([rng.normal(10, 0.1, 12), rng.normal(10, 0.1, 12), rng.normal(0, 0.1, 12)])
    assert critical_difference(["a", "b", "c"], scores).bars == [(0, 1)]
    assert critical_difference(["a", "b", "c"], scores[:3]).bars == [(0, 2)]  # three datasets can tell nothing apart
    equal = critical_difference(["a", "b"], np.ones((4, 2)))
    assert (equal.bars, equal.pairs) == ([(0, 1)], {(0, 1): 1.0})


@pytest.mark.parametrize("scores", [np.ones((2, 3)), np.ones((4, 1)), np.full((4, 3), np.nan)])
def test_ranks_over_too_few_datasets_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(FathomError, match="at least 3 datasets and 2 methods"):
        critical_difference(["a", "b", "c"][: scores.shape[1]], scores)
