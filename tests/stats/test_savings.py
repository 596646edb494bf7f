"""Label savings: by hand, censored, and refused."""

import math

import numpy as np
import pandas as pd
import pytest
from tests.faults import fault

from fathom.core.streams import Stream
from fathom.stats.savings import TARGETS, first_crossing, label_savings

WRONG_STATISTIC = fault("statistics", "wrong statistic", "equal to hand-computed values, SciPy and published formulas")

BUDGETS = np.array([50.0, 100.0, 150.0, 200.0])


def table(curves: dict[str, list[float]], seeds: int = 3, noise: float = 0.001) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        shared = random.normal(0, noise)
        for query, curve in curves.items():
            for t, score in enumerate(curve):
                row = {"run": f"{query}{seed}", "dataset": "d", "regime": "low", "paradigm": "p", "query": query}
                row |= {"seed": seed, "round": t, "budget": BUDGETS[t], "paid": BUDGETS[t]}
                rows.append(row | {"score": score + shared + random.normal(0, noise)})
    return pd.DataFrame(rows)


@WRONG_STATISTIC
def test_first_crossing_by_hand() -> None:
    curve = np.array([0.2, 0.6, 0.5, 0.8])
    assert first_crossing(BUDGETS, curve, 0.1) == 50
    assert first_crossing(BUDGETS, curve, 0.4) == 75
    assert first_crossing(BUDGETS, curve, 0.6) == 100
    assert first_crossing(BUDGETS, curve, 0.65) == pytest.approx(175)
    assert first_crossing(BUDGETS, curve, 0.9) == math.inf


@WRONG_STATISTIC
def test_a_saving_by_hand() -> None:
    frame = table({"random": [0.2, 0.4, 0.6, 0.8], "badge": [0.2, 0.8, 0.8, 0.8]}, noise=0.0)
    frame["score"] += frame["seed"] * 0.0  # no noise at all: the rise is certain
    found = {s.share: s for s in label_savings(frame, "random")}
    assert set(found) == set(TARGETS)
    assert found[0.5].target == pytest.approx(0.5)
    assert found[0.5].saving == pytest.approx(1 - 75 / 125)
    assert found[1.0].saving == pytest.approx(1 - 100 / 200)
    assert found[0.5].low == found[0.5].high == pytest.approx(found[0.5].saving)


def test_the_interval_holds_the_value_and_the_draw_is_repeatable() -> None:
    frame = table({"random": [0.2, 0.4, 0.6, 0.8], "badge": [0.2, 0.6, 0.7, 0.85]}, seeds=6, noise=0.02)
    first = label_savings(frame, "random", draws=200, stream=Stream(1))
    assert all(s.low <= s.saving <= s.high and s.low < s.high for s in first if s.share < 1)
    assert first == label_savings(frame, "random", draws=200, stream=Stream(1))


def test_a_method_that_never_gets_there_is_bounded_not_dropped() -> None:
    frame = table({"random": [0.2, 0.4, 0.6, 0.8], "entropy": [0.2, 0.25, 0.3, 0.35]})
    saving = next(s for s in label_savings(frame, "random") if s.share == 0.9)
    assert saving.censored
    assert saving.saving == pytest.approx(1 - 200 / 185, abs=0.01)
    assert saving.low == -math.inf


def test_on_a_flat_curve_nothing_is_estimable() -> None:
    found = label_savings(table({"random": [0.5] * 4, "badge": [0.6] * 4}, noise=0.01), "random")
    assert found
    assert all("not estimable" in s.refused and math.isnan(s.saving) for s in found)


def test_no_baseline_and_one_seed_give_none() -> None:
    frame = table({"random": [0.2, 0.4, 0.6, 0.8], "badge": [0.2, 0.6, 0.7, 0.85]})
    assert label_savings(frame, "margin") == []
    assert label_savings(frame[frame["seed"] == 0], "random") == []
    assert label_savings(pd.DataFrame([]), "random") == []
