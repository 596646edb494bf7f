"""Spreads of gains that a finished study observed, and the plan that uses them."""

from pathlib import Path

import numpy as np
import pytest
from tests.results.synthetic import Plan, build

from fathom.api.observed_spread import ObservedSpreads
from fathom.api.power import study_power
from fathom.core.records import FathomError, Setting
from fathom.design.power import HEADLINE
from fathom.results.results import StudyResults
from fathom.stats.verdicts import remaining_units

NOTHING: dict[str, int] = {}


def test_a_spread_is_that_of_the_settings_most_like_the_planned_one(tmp_path: Path) -> None:
    build(tmp_path, Plan(paradigms=("standard(recipe=short)", "frozen"), seeds=4))
    results = StudyResults.of(tmp_path)
    observed = ObservedSpreads(results)

    def expected(**wanted: str) -> float:
        own = [
            np.var(list(g.gains.values()), ddof=1)
            for g in results.paired_gains
            if all(getattr(g.setting, key).partition("(")[0] == name for key, name in wanted.items())
        ]
        return float(np.mean(own)) ** 0.5

    regime = results.paired_gains[0].setting.regime
    own = observed(Setting("digits", regime, "frozen"))
    assert own.sd == pytest.approx(expected(dataset="digits", paradigm="frozen"))
    assert own.where == "this setting (12 degrees of freedom)"  # four methods of four seeds
    variant = observed(Setting("digits-lt(rho=5)", "low(rounds=99)", "standard"))
    assert variant.sd == pytest.approx(expected(dataset="digits-lt", paradigm="standard"))
    assert observed(Setting("mnist", "low", "frozen")).sd == pytest.approx(expected(paradigm="frozen"))
    assert observed(Setting("mnist", "low", "semi-sl")).sd == pytest.approx(expected())
    assert observed(Setting("mnist", "low", "semi-sl")).where.startswith("all settings")
    assert observed.between() is None  # two datasets give no verdict over datasets


def test_a_plan_from_a_study_asks_for_what_its_report_asks_for(tmp_path: Path) -> None:
    """One method in one setting: the plan of the study itself, from itself, is the report's own sentence."""
    build(tmp_path, Plan(datasets=("digits",), queries=("random", "badge"), seeds=6))
    results = StudyResults.of(tmp_path)
    made = study_power(results.store.study, finished=tmp_path, test_images=NOTHING, rounds=NOTHING)
    (planned,), (verdict,) = made.of_kind(HEADLINE), results.verdicts
    assert (planned.unit, planned.n, planned.family) == (verdict.unit, verdict.decision.n, verdict.decision.family)
    assert planned.to_settle == verdict.to_settle
    assert planned.to_settle == remaining_units(6, planned.sd, 1, 0.01)
    assert planned.source.startswith(f"observed in {results.store.study.name}, for this setting")


def test_datasets_that_differ_are_seen_to_differ(tmp_path: Path) -> None:
    names = ("d0", "d1", "d2", "d3")
    for folder, noise in (("same", 0.008), ("noisy", 0.03)):
        build(tmp_path / folder, Plan(datasets=names, queries=("random", "badge"), seeds=5, noise=noise))
    spreads = [ObservedSpreads(StudyResults.of(tmp_path / folder)).between() for folder in ("same", "noisy")]
    for found in spreads:
        assert found is not None
        assert found.sd < 0.01  # the noise of seeds is no difference between datasets
        assert found.source.startswith("between datasets, observed in ")
    made = study_power(
        StudyResults.of(tmp_path / "same").store.study, finished=tmp_path / "same", test_images=NOTHING, rounds=NOTHING
    )
    assert "between datasets, observed in" in made.of_kind(HEADLINE)[0].source


def test_a_study_without_pairs_has_no_spread(tmp_path: Path) -> None:
    build(tmp_path, Plan(seeds=1))
    with pytest.raises(FathomError, match=r"two complete seeds in common with random.*leave out --from"):
        ObservedSpreads(StudyResults.of(tmp_path))


def test_one_source_of_the_spread_is_given(tmp_path: Path) -> None:
    study = build(tmp_path, Plan(seeds=3)).study
    sizes = {"test_images": NOTHING, "rounds": NOTHING}
    with pytest.raises(FathomError, match="give one of them"):
        study_power(study, sd=0.01, finished=tmp_path, **sizes)
    with pytest.raises(FathomError, match=r"a point is \.01"):
        study_power(study, sd=1.0, **sizes)
    given = study_power(study, sd=0.02, **sizes).of_kind(HEADLINE)[0]
    assert (given.source, given.sd) == ("as given", pytest.approx(0.02 / 2**0.5))  # mean of two datasets
    noisy = study_power(study, test_images={"digits": 10, "digits-lt": 10}, rounds=NOTHING).of_kind(HEADLINE)[0]
    assert "noise of 10 test images" in noisy.source
