"""Headline verdicts of a study from its areas."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fathom.core.records import Setting
from fathom.stats.decisions import BETTER, WORSE
from fathom.stats.power import units_needed
from fathom.stats.verdicts import MethodVerdict, method_verdicts, setting_gains, setting_verdicts


def areas(
    effects: dict[str, float], datasets: int = 4, regimes: int = 2, seeds: int = 4, lost: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Areas of complete runs, except the last seed of the methods in `lost`."""
    rng, rows = np.random.default_rng(1), []
    for d in range(datasets):
        for r in range(regimes):
            for seed in range(seeds):
                level = 0.7 + rng.normal(0, 0.02)
                for query, effect in {"random": 0.0, **effects}.items():
                    area = level + effect + rng.normal(0, 0.004)
                    done = not (query in lost and seed == seeds - 1)
                    rows.append((f"d{d}", f"r{r}", "standard", query, seed, done, area if done else float("nan")))
    return pd.DataFrame(rows, columns=["dataset", "regime", "paradigm", "query", "seed", "complete", "aubc"])


def verdict(frame: pd.DataFrame, query: str) -> MethodVerdict:
    return next(v for v in method_verdicts(setting_gains(frame, "random")) if v.query == query)


def test_datasets_are_the_units_where_there_are_three() -> None:
    frame = areas({"badge": 0.02, "bad": -0.03})
    found = verdict(frame, "badge")
    wide = frame.pivot_table(index=["dataset", "regime", "seed"], columns="query", values="aubc")
    means = (wide["badge"] - wide["random"]).groupby(["dataset", "regime"]).mean().groupby("dataset").mean()
    assert (found.unit, found.decision.n, found.datasets) == ("datasets", 4, 4)
    assert found.decision.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert found.decision.verdict == BETTER
    assert verdict(frame, "bad").decision.verdict == WORSE
    half = stats.t.ppf(0.975, 3) * means.std() * (1 + 1 / 4) ** 0.5
    assert found.prediction == pytest.approx((means.mean() - half, means.mean() + half))


def test_with_one_dataset_seeds_are_the_units_over_its_settings() -> None:
    frame = areas({"badge": 0.02}, datasets=1, seeds=6)
    found = verdict(frame, "badge")
    wide = frame.pivot_table(index=["regime", "seed"], columns="query", values="aubc")
    by_seed = (wide["badge"] - wide["random"]).groupby("seed").mean()
    assert (found.unit, found.decision.n, found.prediction) == ("seeds", 6, None)
    assert found.decision.p == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue)


def test_with_two_datasets_the_verdict_is_for_these_alone() -> None:
    found = verdict(areas({"badge": 0.02}, datasets=2), "badge")
    assert (found.unit, found.prediction) == ("seeds", None)
    assert found.here is found.decision


def test_names_of_one_dataset_are_one_unit() -> None:
    gains = setting_gains(areas({"badge": 0.02}), "random")
    found = method_verdicts(gains, identity=lambda d: "the same" if d in ("d0", "d1") else d)
    assert found[0].decision.n == 3


def test_roles_are_never_averaged_and_are_one_family() -> None:
    gains = setting_gains(areas({"badge": 0.02}, datasets=6), "random")
    found = method_verdicts(gains, role=lambda d: "roll-out" if d in ("d0", "d1", "d2") else "development")
    assert [(v.role, v.decision.n, v.decision.family) for v in found] == [("roll-out", 3, 2), ("development", 3, 2)]


def test_each_comparison_has_its_own_n() -> None:
    frame = areas({"badge": 0.02, "bald": 0.02}, datasets=1, regimes=1, seeds=6, lost=("bald",))
    whole, one_lost = verdict(frame, "badge"), verdict(frame, "bald")
    assert (whole.decision.n, whole.decision.missing) == (6, 0)
    assert (one_lost.decision.n, one_lost.decision.missing) == (5, 1)


def test_a_setting_without_any_pair_is_told_and_no_method_is_safe_by_it() -> None:
    frame = areas({"badge": 0.02})
    lost = (frame["query"] == "badge") & (frame["dataset"] == "d0")
    frame.loc[lost, ["complete", "aubc"]] = [False, float("nan")]
    found = verdict(frame, "badge")
    assert [s.dataset for s in found.lost] == ["d0", "d0"]
    assert not found.safe
    assert verdict(areas({"badge": 0.02}), "badge").safe


def test_seeds_missing_beside_a_single_pair_count_at_the_spread_of_the_other_settings() -> None:
    frame = areas({"badge": 0.02}, datasets=3, regimes=1)
    lost = (frame["query"] == "badge") & (frame["dataset"] == "d0") & (frame["seed"] > 0)
    frame.loc[lost, ["complete", "aubc"]] = [False, float("nan")]
    found = verdict(frame, "badge").decision
    estimates = [g.estimate for g in setting_gains(frame, "random")]
    assert [e.n for e in estimates] == [1, 4, 4]
    spread = np.sqrt(np.mean([4 * e.se**2 for e in estimates[1:]]))
    means = np.array([e.mean for e in estimates])
    worst = means - [3 * spread * 3 / 4, 0, 0]
    low = worst.mean() - stats.t.ppf(0.975, 2) * worst.std(ddof=1) / 3**0.5
    assert (found.n, found.missing, found.mean) == (3, 3, pytest.approx(means.mean()))
    assert found.low == pytest.approx(low)


def test_failures_and_the_worst_setting() -> None:
    frame = areas({"badge": 0.02})
    frame.loc[(frame["query"] == "badge") & (frame["dataset"] == "d2") & (frame["regime"] == "r1"), "aubc"] -= 0.1
    found = verdict(frame, "badge")
    assert found.worst.setting == Setting("d2", "r1", "standard")
    assert [g.setting for g in found.failures] == [found.worst.setting]
    assert not found.safe


def test_settings_are_corrected_over_the_whole_study() -> None:
    gains = setting_gains(areas({"badge": 0.004, "bald": 0.0}, datasets=5, regimes=3), "random")
    found = setting_verdicts(gains)
    assert {v.decision.family for v in found} == {30}
    worst = min(found, key=lambda v: v.decision.p)
    assert worst.decision.p_holm == pytest.approx(min(1, 30 * worst.decision.p))


def test_units_that_would_settle_a_verdict_follow_from_the_spread() -> None:
    found = verdict(areas({"badge": 0.0}, datasets=1, regimes=1, seeds=3), "badge")
    d, (better, not_worse) = found.decision, found.to_settle
    sd = 3**0.5 * (d.high - d.mean) / stats.t.ppf(0.975, 2)
    assert better == units_needed(0.01, sd, family=1) - 3  # type: ignore[operator]
    assert not_worse == units_needed(0.01, sd, family=1, not_worse=True) - 3  # type: ignore[operator]
