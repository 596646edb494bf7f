"""Areas, curves and gains: by hand, and what must not change them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.stats.curves import aubc, budget_curves, gain_curves, mean_gains, method_means, run_areas, seed_gains
from fathom.stats.inference import holm

GAPS = fault("statistics", "run that stopped, gap in a curve", "undefined and counted, never guessed")


def table(scores: np.ndarray, queries: list[str] | None = None, budgets: list[int] | None = None) -> pd.DataFrame:
    """The tidy table of one setting; scores [methods, seeds, rounds]."""
    queries = queries or ["random", "badge", "bald", "entropy"][: scores.shape[0]]
    budgets = budgets or [50 + 25 * t for t in range(scores.shape[2])]
    return pd.DataFrame(
        [
            {"run": f"{q}{s}", "dataset": "d", "regime": "low", "paradigm": "standard", "query": q, "seed": s}
            | {"round": t, "budget": budgets[t], "paid": budgets[t] + 100, "score": scores[i, s, t]}
            for i, q in enumerate(queries)
            for s in range(scores.shape[1])
            for t in range(scores.shape[2])
        ]
    )


def some(methods: int = 3, seeds: int = 4, rounds: int = 5, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    rise = np.linspace(0.5, 0.9, rounds)
    return np.asarray(rise + random.normal(0, 0.02, (methods, seeds, rounds)) + random.normal(0, 0.05, (1, seeds, 1)))


@fault("statistics", "wrong statistic", "equal to hand-computed values, SciPy and published formulas")
def test_area_by_hand_on_true_budgets() -> None:
    # (100 * 0.7 + 300 * 0.85) / 400, not the mean of equally spaced points
    assert aubc([100, 200, 500], [0.6, 0.8, 0.9]) == pytest.approx((70 + 255) / 400)
    assert aubc([50, 100], [0.4, 0.6]) == pytest.approx(0.5)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=8), st.floats(0, 1), st.floats(-1, 1))
@settings(max_examples=30, derandomize=True, deadline=None)
def test_area_of_a_constant_is_the_constant_and_shifts_with_it(steps: list[int], level: float, shift: float) -> None:
    budgets = np.cumsum(steps)
    assert aubc(budgets, np.full(len(steps), level)) == pytest.approx(level)
    scores = np.linspace(0, 1, len(steps))
    assert aubc(budgets, scores + shift) == pytest.approx(aubc(budgets, scores) + shift)
    assert aubc(budgets * 3 + 7, scores) == pytest.approx(aubc(budgets, scores))


@GAPS
def test_an_area_is_undefined_rather_than_guessed() -> None:
    assert np.isnan(aubc([50], [0.5]))
    assert np.isnan(aubc([50, 75, 100], [0.5, np.nan, 0.7]))
    with pytest.raises(FathomError, match="increase"):
        aubc([50, 50], [0.1, 0.2])
    with pytest.raises(FathomError, match="one score per budget"):
        aubc([50, 75], [0.1])


def test_curves_are_means_with_t_intervals() -> None:
    y = some()
    found = budget_curves(table(y)).set_index(["query", "round"])
    row = found.loc[("badge", 2)]
    expected = stats.t.interval(0.95, 3, loc=y[1, :, 2].mean(), scale=stats.sem(y[1, :, 2]))
    assert (row["low"], row["high"]) == pytest.approx(expected)
    assert (row["budget"], row["n"], row["mean"]) == (100, 4, pytest.approx(y[1, :, 2].mean()))
    assert budget_curves(table(y), "paid")["budget"].min() == 150
    with pytest.raises(FathomError, match="budget or paid"):
        budget_curves(table(y), "labels")


def test_one_seed_has_a_curve_and_no_interval() -> None:
    found = budget_curves(table(some(seeds=1)))
    assert found["mean"].notna().all()
    assert found[["low", "high"]].isna().all(axis=None)


@GAPS
def test_a_run_that_stopped_has_no_area_and_is_counted() -> None:
    frame = table(some())
    frame = frame[~((frame["query"] == "badge") & (frame["seed"] == 1) & (frame["round"] == 4))]
    areas = run_areas(frame)
    assert areas[~areas["complete"]][["query", "seed"]].to_numpy().tolist() == [["badge", 1]]
    assert areas[~areas["complete"]][["aubc", "final"]].isna().all(axis=None)
    means = method_means(areas).set_index("query")
    assert (means.loc["badge", "n"], means.loc["badge", "runs"]) == (3, 4)
    assert means.loc["random", "n"] == 4
    gain = mean_gains(areas, "random").set_index("query")
    assert (gain.loc["badge", "n"], gain.loc["bald", "n"]) == (3, 4)


@GAPS
def test_a_gap_in_the_middle_is_not_bridged() -> None:
    frame = table(some())
    frame = frame[~((frame["run"] == "badge0") & (frame["round"] == 2))]
    assert (
        run_areas(frame).set_index("run").loc["badge0", "aubc"]
        != run_areas(frame).set_index("run").loc["badge0", "aubc"]
    )


def test_planned_rounds_decide_what_is_complete() -> None:
    areas = run_areas(table(some(seeds=2)), {f"{q}{s}": 6 for q in ("random", "badge", "bald") for s in (0, 1)})
    assert not areas["complete"].any()


def test_gains_are_paired_by_seed_whatever_the_order_of_the_rows() -> None:
    y = some()
    frame = table(y)
    expected = np.array(
        [aubc([50, 75, 100, 125, 150], y[1, s]) - aubc([50, 75, 100, 125, 150], y[0, s]) for s in range(4)]
    )
    for rows in (frame, frame.sample(frac=1, random_state=3)):
        row = mean_gains(run_areas(rows), "random").set_index("query").loc["badge"]
        assert row["aubc"] == pytest.approx(expected.mean())
        assert row["aubc_p"] == pytest.approx(stats.ttest_1samp(expected, 0).pvalue)


def test_gains_do_not_change_with_what_all_methods_share_nor_with_the_names_of_seeds() -> None:
    y = some()
    first = mean_gains(run_areas(table(y)), "random")
    shared = mean_gains(run_areas(table(y + np.array([0.1, -0.2, 0.05, 0.3])[None, :, None])), "random")
    renamed = table(y)
    renamed["seed"] = renamed["seed"].map({0: 40, 1: 7, 2: 12, 3: 0})
    pd.testing.assert_frame_equal(first, shared)
    pd.testing.assert_frame_equal(first, mean_gains(run_areas(renamed), "random"))


def test_p_values_are_corrected_over_all_settings_and_methods() -> None:
    frames = [
        table(some(methods=4, seeds=6)).assign(dataset=name, run=lambda f: f["dataset"] + f["run"]) for name in "ab"
    ]
    frames[1]["score"] += np.random.default_rng(5).normal(0, 0.01, len(frames[1]))
    found = mean_gains(run_areas(pd.concat(frames)), "random")
    assert len(found) == 6
    assert found["aubc_holm"].to_numpy() == pytest.approx(holm(found["aubc_p"].to_numpy()))
    assert found["aubc_holm"].min() == pytest.approx(min(1, 6 * found["aubc_p"].min()))


@pytest.mark.parametrize(("seeds", "tested"), [(2, False), (3, True)])
def test_a_p_value_needs_three_seeds(seeds: int, tested: bool) -> None:
    found = mean_gains(run_areas(table(some(seeds=seeds))), "random")
    assert found["aubc_p"].notna().all() == tested
    assert found["aubc_p"].isna().all() != tested
    assert (found["aubc_refused"] == "").all() == tested


def test_gains_that_do_not_vary_prove_nothing() -> None:
    y = some(seeds=4)
    y[1] = y[0] + 0.25
    row = mean_gains(run_areas(table(y)), "random").set_index("query").loc["badge"]
    assert np.isnan(row["aubc_p"])
    assert np.isnan(row["aubc_holm"])
    assert "do not vary" in row["aubc_refused"]


def test_matched_controls_are_no_part_of_the_family() -> None:
    areas = run_areas(table(some(methods=4, seeds=6)))
    every, without = (mean_gains(areas, "random", controls=c).set_index("query") for c in ((), ("bald",)))
    assert np.isnan(without.loc["bald", "aubc_holm"])
    assert without.loc["bald", "aubc"] == every.loc["bald", "aubc"]
    rest = ["entropy", "badge"]
    assert without.loc[rest, "aubc_holm"].to_numpy() == pytest.approx(holm(every.loc[rest, "aubc_p"].to_numpy()))


def test_only_the_area_is_tested() -> None:
    found = mean_gains(run_areas(table(some(methods=4, seeds=6))), "random")
    assert {c for c in found.columns if c.endswith(("_p", "_holm"))} == {"aubc_p", "aubc_holm"}
    assert found[["final", "final_low", "final_high"]].notna().all(axis=None)


def test_without_the_baseline_there_are_no_gains() -> None:
    areas = run_areas(table(some()))
    assert mean_gains(areas, "margin").empty
    assert mean_gains(run_areas(table(some(seeds=1))), "random")["aubc_p"].isna().all()
    assert "n = 1" in mean_gains(run_areas(table(some(seeds=1))), "random")["aubc_refused"].iloc[0]


def test_gain_curves_are_differences_within_a_seed() -> None:
    y = some()
    frame = table(y)
    frame = frame[~((frame["run"] == "random3") & (frame["round"] == 4))]
    found = gain_curves(frame, "random").set_index(["query", "round"])
    assert found.loc[("bald", 1), "mean"] == pytest.approx((y[2, :, 1] - y[0, :, 1]).mean())
    assert found.loc[("bald", 4), "mean"] == pytest.approx((y[2, :3, 4] - y[0, :3, 4]).mean())
    assert found.loc[("bald", 4), "n"] == 3
    assert "random" not in found.index.get_level_values(0)
    assert gain_curves(frame, "margin").empty


def test_the_gains_of_seeds_are_those_behind_the_means() -> None:
    frame = table(some())
    points = seed_gains(frame, "random")
    means = points.groupby(["query", "round"])["score"].mean()
    expected = gain_curves(frame, "random").set_index(["query", "round"])["mean"]
    assert len(points) == 2 * 4 * 5
    assert means[expected.index].to_numpy() == pytest.approx(expected.to_numpy())
    assert seed_gains(frame.iloc[:0], "random").empty


def test_an_empty_table_is_no_error() -> None:
    empty = pd.DataFrame([])
    assert budget_curves(empty).empty
    assert run_areas(empty).empty
    assert method_means(run_areas(empty)).empty
    assert mean_gains(run_areas(empty), "random").empty
    frame = table(some())
    assert list(budget_curves(empty).columns) == list(budget_curves(frame).columns)
    assert list(run_areas(empty).columns) == list(run_areas(frame).columns)
