"""Environments of a study: one, several, and work without a recorded environment."""

from dataclasses import replace
from pathlib import Path

from tests.results.synthetic import Plan, build, put_environment

from fathom.core.records import RunSpec
from fathom.report.summary import warnings
from fathom.report.tables import environment_table
from fathom.results.environments import UNKNOWN, common, differing, mixed_words
from fathom.results.results import StudyResults

SMALL = Plan(datasets=("digits",), queries=("random", "badge"), seeds=2, rounds=3)


def by_method(spec: RunSpec) -> str:
    return "abc" if spec.query == "random" else "def"


def of(out: Path, plan: Plan = SMALL, **other: object) -> StudyResults:
    store = build(out, plan)
    if other:
        put_environment(store, "def", **other)
    return StudyResults.of(out)


def test_one_environment_is_told_in_full_and_mixes_nothing(tmp_path: Path) -> None:
    results = of(tmp_path)
    (only,) = results.environments
    assert (only.name, only.rounds, only.shared, only.work) == ("abc", 12, 2, "12 rounds and 2 shared results")
    told = dict(common(results.environments))
    assert (told["device name"], told["computed"]) == ("A processor", only.work)
    assert environment_table(results.environments) is None
    assert mixed_words(results.environments) is None


def test_two_environments_are_listed_with_what_each_computed_and_what_differs(tmp_path: Path) -> None:
    plan = replace(SMALL, environment=by_method)
    results = of(tmp_path, plan, commit="ffff", torch="2.16.0", since="2026-11-23T09:30:00+00:00")
    assert [(e.name, e.rounds, e.shared) for e in results.environments] == [("abc", 6, 2), ("def", 6, 0)]
    assert differing(results.environments) == ["commit", "torch"]
    shared = dict(common(results.environments))
    assert "commit" not in shared
    assert shared["numpy"] == "2.4.6"
    table = environment_table(results.environments)
    assert table is not None
    assert table.columns == ["Environment", "Rounds", "Shared", "Commit", "Torch", "Since (UTC)"]
    assert [c.text for c in table.rows[1]] == ["def", "6", "0", "ffff", "2.16.0", "2026-11-23 09:30"]
    told = dict(warnings(results))["Mixed environments"]
    assert "2 environments computed this study, which differ in commit, torch" in told
    assert "abc: 6 rounds and 2 shared results; def: 6 rounds" in told


def test_an_environment_that_did_only_shared_work_mixes_too(tmp_path: Path) -> None:
    results = of(tmp_path, replace(SMALL, shared="def"), cpu="Another processor")
    assert [(e.rounds, e.shared) for e in results.environments] == [(12, 0), (0, 2)]
    assert "differ in cpu" in dict(warnings(results))["Mixed environments"]


def test_one_that_computed_nothing_is_listed_and_mixes_nothing(tmp_path: Path) -> None:
    results = of(tmp_path, commit="ffff")
    table = environment_table(results.environments)
    assert table is not None
    assert [row[1].text for row in table.rows] == ["12", "0"]
    assert "Mixed environments" not in dict(warnings(results))


def test_rounds_of_an_environment_that_is_not_here_are_counted(tmp_path: Path) -> None:
    results = of(tmp_path, replace(SMALL, environment=by_method))
    assert [(e.name, e.rounds) for e in results.environments] == [("abc", 6), (UNKNOWN, 6)]
    assert differing(results.environments) == []
    assert dict(common(results.environments))["torch"] == "2.15.0"
    assert f"{UNKNOWN}: 6 rounds" in dict(warnings(results))["Mixed environments"]
