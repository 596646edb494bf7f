"""Dips, cold starts and the effect of class imbalance."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fathom.core.records import Setting
from fathom.stats.dynamics import cold_starts, dips, imbalance_effect
from fathom.stats.verdicts import SettingGain


def frame(curves: dict[str, list[float]], seeds: int = 8, sd: float = 0.005, drop: int = -1) -> pd.DataFrame:
    """One setting; method -> mean curve. Seed `drop` of the last method lacks its last round."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(seeds):
        level = rng.normal(0, 0.05)
        for query, curve in curves.items():
            for number, mean in enumerate(curve):
                if seed == drop and query == list(curves)[-1] and number == len(curve) - 1:
                    continue
                score = level + mean + rng.normal(0, sd)
                run = f"{query}-{seed}"
                rows.append(("d", "low", "standard", query, seed, run, number, 50 + 25 * number, score))
    columns = ["dataset", "regime", "paradigm", "query", "seed", "run", "round", "budget", "score"]
    return pd.DataFrame(rows, columns=columns)


RISING, DIPPING = [0.5, 0.6, 0.65, 0.7], [0.5, 0.6, 0.56, 0.7]


def test_a_dip_is_found_where_it_is_and_nowhere_else() -> None:
    found = dips(frame({"random": RISING, "badge": DIPPING}))
    assert [(d.query, d.before, d.at, d.n) for d in found] == [("badge", 75, 100, 8)]
    assert found[0].change == pytest.approx(-0.04, abs=0.01)
    assert found[0].p_holm < 0.05


def test_equal_scores_have_no_dips_more_often_than_alpha() -> None:
    flat, hits = [0.6] * 6, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        made = frame({"random": flat, "badge": flat}, seeds=5)
        made["score"] = rng.normal(0.6, 0.01, len(made))
        hits += bool(dips(made))
    assert hits <= stats.binom.ppf(0.999, 60, 0.05)


def test_a_cold_start_is_a_loss_in_the_early_rounds_alone() -> None:
    late = [0.5, 0.52, 0.66, 0.75]
    found = cold_starts(frame({"random": RISING, "entropy": late}), "random")
    assert [(s.query, s.reference, s.until, s.n) for s in found] == [("entropy", "random", 75, 8)]
    assert found[0].early == pytest.approx(-0.08, abs=0.01)
    assert found[0].late == pytest.approx(0.05, abs=0.01)
    assert not cold_starts(frame({"random": late, "entropy": RISING}), "random")


def test_a_seed_without_its_last_round_does_not_count() -> None:
    made = frame({"random": RISING, "entropy": [0.5, 0.5, 0.5, 0.5]}, drop=3)
    assert cold_starts(made, "random")[0].n == 7


def test_the_effect_of_imbalance_is_a_welch_test_over_datasets() -> None:
    means = {"a": 0.01, "b": 0.012, "c": 0.03, "d": 0.05, "e": 0.035}
    gains = [
        SettingGain(Setting(d, r, "standard"), "badge", "random", {0: m, 1: m}, frozenset())
        for d, m in means.items()
        for r in ("low", "mid")
    ]
    found = imbalance_effect(gains, {"a": True, "b": True, "c": False, "d": False, "e": False})["badge"]
    welch = stats.ttest_ind([0.03, 0.05, 0.035], [0.01, 0.012], equal_var=False)
    assert found.p == pytest.approx(welch.pvalue)
    assert found.n == (3, 2)
    assert imbalance_effect(gains, {"a": True, "b": True}) == {}
    assert imbalance_effect(gains, {"a": True, "c": False})["badge"].refused
