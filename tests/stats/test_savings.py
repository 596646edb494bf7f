"""Labels saved: by hand, by scipy on a grid, open ends, refusals, and coverage by simulation."""

from math import inf, isnan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.faults import fault

from fathom.stats.savings import (
    CONSTANT,
    FEW_SEEDS,
    FLAT,
    NO_SPREAD,
    UNDEFINED,
    LabelSaving,
    first_crossing,
    label_savings,
    matched_budget,
)

WRONG_STATISTIC = fault("statistics", "wrong statistic", "equal to hand-computed values, SciPy and published formulas")
SIMULATED = fault(
    "statistics",
    "identical methods, simulated",
    "false claims at no more than the stated rate; intervals cover as stated",
)

BUDGETS = np.array([50.0, 100.0, 150.0, 200.0])
RISING, FASTER = [0.2, 0.4, 0.6, 0.8], [0.2, 0.6, 0.75, 0.85]


def table(curves: dict[str, list[float]], seeds: int = 5, noise: float = 0.004, val: float = 100.0) -> pd.DataFrame:
    """Round 0 is shared within a seed, as in a study."""
    random = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        start = random.normal(0, noise)
        for query, curve in curves.items():
            for t, score in enumerate(curve):
                row = {"run": f"{query}{seed}", "dataset": "d", "regime": "low", "paradigm": "p", "query": query}
                row |= {"seed": seed, "round": t, "budget": BUDGETS[t], "paid": BUDGETS[t] + val}
                rows.append(row | {"score": score + (random.normal(0, noise) if t else start)})
    return pd.DataFrame(rows)


def last(frame: pd.DataFrame, **more: object) -> LabelSaving:
    return label_savings(frame, "random", **more)[0]  # type: ignore[arg-type]


@WRONG_STATISTIC
def test_first_crossing_by_hand() -> None:
    curve = np.array([0.2, 0.6, 0.5, 0.8])
    assert first_crossing(BUDGETS, curve, 0.1) == 50
    assert first_crossing(BUDGETS, curve, 0.4) == 75
    assert first_crossing(BUDGETS, curve, 0.6) == 100
    assert first_crossing(BUDGETS, curve, 0.65) == pytest.approx(175)
    assert first_crossing(BUDGETS, curve, 0.9) == inf


@WRONG_STATISTIC
def test_a_saving_by_hand() -> None:
    """Straight lines: the method has the reference's final score at 125 labels, and seeds shift it by 5 at most."""
    own = np.array([[0.0, 0.4, 0.8, 1.2]] * 3) + np.array([-0.04, 0.0, 0.04])[:, None]
    other = np.array([[0.0, 0.2, 0.4, 0.6]] * 3)
    found = matched_budget(BUDGETS, own, other, 200)
    half = stats.t.ppf(0.975, 2) * 0.04 / 3**0.5
    assert found.point == pytest.approx(125)
    assert (found.low, found.high) == pytest.approx((125 - half / 0.008, 125 + half / 0.008))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 8))
def test_the_ends_are_those_of_scipy_on_a_fine_grid(number: int, n: int) -> None:
    random = np.random.default_rng(number)
    own, other = random.normal(0, 0.05, (2, n, 4)) + np.array([FASTER, RISING])[:, None]
    found = matched_budget(BUDGETS, own, other, 200)
    fine = np.linspace(50, 200, 3001)
    curves = np.array([np.interp(fine, BUDGETS, c) for c in own]) - other[:, -1:]
    kept = fine[stats.ttest_1samp(curves, 0).pvalue >= 0.05]
    if not found.refused and len(kept):
        assert found.low == pytest.approx(0 if kept[0] == 50 else kept[0], abs=0.06)
        assert found.high == pytest.approx(inf if kept[-1] == 200 else kept[-1], abs=0.06)
        assert found.low <= found.point <= found.high


def test_labels_and_shares_count_what_is_paid() -> None:
    saving, middle = label_savings(table({"random": RISING, "badge": FASTER}), "random")
    assert (saving.budget, middle.budget, saving.n, saving.val, saving.last) == (200, 150, 5, 100, 200)
    point, low, high = saving.labels
    assert (point, low, high) == (200 - saving.needs.point, 200 - saving.needs.high, 200 - saving.needs.low)
    assert 10 < low < point < high < 50
    assert saving.share() == pytest.approx((point / 200, low / 200, high / 200))
    assert saving.share(paid=True)[0] == pytest.approx(1 - (saving.needs.point + 100) / 300)
    assert middle.extra[0] > 0


def test_a_method_that_never_gets_there_needs_at_least_all_labels() -> None:
    found = last(table({"random": RISING, "entropy": [0.2, 0.25, 0.3, 0.35]}))
    assert (found.needs.point, found.needs.low, found.needs.high) == (inf, 200, inf)
    assert found.labels[2] == 0
    assert found.reference_needs.low > 50
    assert found.reference_needs.high < 100
    assert found.extra[2] < 0  # the reference needs fewer


def test_a_curve_that_starts_above_needs_at_most_the_first_budget() -> None:
    found = matched_budget(BUDGETS, np.full((3, 4), 0.9), table_scores(), 200)
    assert (found.point, found.low, found.high) == (50, 0, 50)


def table_scores(seeds: int = 3) -> np.ndarray:
    return np.array(RISING)[None] + np.random.default_rng(3).normal(0, 0.01, (seeds, 4))


def test_what_cannot_be_estimated_has_its_reason() -> None:
    flat = last(table({"random": [0.5] * 4, "badge": [0.5, 0.6, 0.7, 0.8]}, noise=0.002))
    assert (flat.needs.refused, flat.needs.flat) == (FLAT, "random")
    assert isnan(flat.needs.point)
    loud = last(table({"random": RISING, "badge": FASTER}, seeds=3, noise=0.6))
    assert loud.needs.refused == FEW_SEEDS
    assert last(table({"random": RISING, "badge": FASTER}, seeds=2)).needs.refused == FEW_SEEDS
    floor = last(table({"random": RISING, "badge": FASTER}), floors={"d": 0.81})
    assert floor.needs.refused == CONSTANT
    assert not floor.reference_needs.refused  # the method's score is above it
    same = last(table({"random": RISING, "badge": FASTER}, noise=0.0))
    assert same.needs.refused == same.reference_needs.refused == NO_SPREAD
    hole = table({"random": RISING, "badge": FASTER})
    hole.loc[3, "score"] = float("nan")
    assert last(hole).needs.refused == UNDEFINED


def test_each_pair_has_its_own_seeds() -> None:
    frame = table({"random": RISING, "badge": FASTER, "bald": FASTER})
    part = frame[~((frame["query"] == "bald") & (frame["seed"] > 2) & (frame["round"] == 3))]
    found = {s.query: s for s in label_savings(part, "random") if s.budget == 200}
    assert {query: s.n for query, s in found.items()} == {"badge": 5, "bald": 3}
    assert found["badge"] == next(s for s in label_savings(frame, "random") if s.query == "badge")


def test_seeds_with_other_budgets_are_compared_where_all_have_a_curve() -> None:
    frame = table({"random": RISING, "badge": FASTER})
    frame.loc[frame["seed"] == 1, ["budget", "paid"]] += 10
    found = last(frame)
    assert found.budget == found.last == 200
    assert 100 < found.needs.low < found.needs.high < 200


def test_references_and_missing_references() -> None:
    frame = table({"random": RISING, "badge": FASTER, "control": FASTER})
    key = next(iter(label_savings(frame, "random"))).setting
    found = {s.query: s.reference for s in label_savings(frame, "random", {(key, "badge"): "control"})}
    assert found == {"badge": "control", "control": "random"}
    assert label_savings(frame, "margin") == []
    assert label_savings(frame[frame["round"] == 0], "random") == []
    assert label_savings(pd.DataFrame([]), "random") == []


@SIMULATED
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_the_true_budget_as_often_as_it_says(n: int) -> None:
    """Of 600 studies the share that covers lies within four standard errors of .95 (p < 1e-4 by chance)."""
    random, studies = np.random.default_rng(n), 600
    grid = 50.0 * np.arange(1, 9)
    reference, method = (0.85 - 0.25 * np.exp(-(grid - 50) / k) for k in (150, 100))
    true = {400.0: first_crossing(grid, method, reference[-1]), 250.0: first_crossing(grid, method, reference[4])}
    covered = 0
    for _ in range(studies):
        shared = random.normal(0, 0.015, (n, 1))  # of the seed
        start = random.normal(0, 0.01, n)  # of round 0, which all methods share
        own, other = (shared + curve + 0.008 * noise(random, n, len(grid)) for curve in (method, reference))
        own[:, 0], other[:, 0] = method[0] + start, reference[0] + start
        for budget, truth in true.items():
            found = matched_budget(grid, own, other, budget)
            assert not found.refused
            covered += found.low <= truth <= found.high
    share = covered / (2 * studies)
    assert abs(share - 0.95) < 4 * (0.95 * 0.05 / studies) ** 0.5  # both budgets of a study are counted as one


def noise(random: np.random.Generator, n: int, rounds: int) -> np.ndarray:
    """Noise of a run: one part for the whole curve, one per round."""
    return np.asarray(0.5**0.5 * (random.normal(size=(n, 1)) + random.normal(size=(n, rounds))))
