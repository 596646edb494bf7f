"""Statistics as data: what is in the files and frames is what the report decides."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tests.results.synthetic import Plan, build

import fathom
from fathom.core.records import RunSpec
from fathom.report.report import report
from fathom.results.results import StudyResults
from fathom.results.statements.statistics import BLOCKS, statistics_frame, statistics_json
from fathom.results.verdicts import detailed_verdicts

DATASETS, METHODS = ("digits", "digits-lt", "more"), ("random", "entropy", "badge")
PLAN = Plan(datasets=DATASETS, queries=METHODS, claims=("badge > random",))


def stop(spec: RunSpec) -> int | None:
    return 2 if (spec.query, spec.seed, spec.dataset) == ("badge", 2, "more") else None


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("statistics") / "out"
    build(made, replace(PLAN, stop=stop))
    return made


def test_the_files_hold_every_verdict_with_all_fields(out: Path) -> None:
    folder = report(out).parent
    data = json.loads((folder / "statistics.json").read_text())
    results = StudyResults.of(out)
    assert (data["format"], data["looks"], data["alpha"], data["margin"]) == (1, 1, 0.05, 0.01)
    assert len(data["methods"]) == len(results.verdicts) == 2
    for row, verdict in zip(data["methods"], results.verdicts, strict=True):
        for name in ("verdict", "mean", "low", "high", "level", "bound", "p", "p_holm", "n", "missing", "observed"):
            assert row[name] == pytest.approx(getattr(verdict.decision, name)), name
        assert (row["unit"], row["prediction_low"]) == ("datasets", pytest.approx((verdict.prediction or (0, 0))[0]))
    detail = detailed_verdicts(results)
    assert [row["mean"] for row in data["settings"]] == [pytest.approx(own.decision.mean) for own in detail]
    (claim,) = data["claims"]
    assert (claim["claim"], claim["stated_before_first_result"]) == ("badge > random", True)
    assert {row["query"] for row in data["savings"]} == {"entropy", "badge"}
    table = pd.read_csv(folder / "statistics.csv")
    assert table["block"].value_counts().to_dict() == {name: len(data[name]) for name in BLOCKS}
    assert {"statistics.json", "statistics.csv"} <= {path.name for path in folder.iterdir()}


def test_frames_hold_fractions_and_the_missing_seed(out: Path) -> None:
    found = fathom.verdicts(out)
    assert set(found["block"]) == {"methods", "settings"}
    badge = found[(found["block"] == "settings") & (found["query"] == "badge")].set_index("dataset")
    gains = fathom.gains(out)
    mean = gains[gains["query"] == "badge"].groupby("dataset")["aubc_gain"].mean()  # without the missing seed
    assert badge["mean"].to_dict() == pytest.approx(mean.to_dict())
    assert badge["missing"].to_dict() == {"digits": 0, "digits-lt": 0, "more": 1}
    (missing,) = gains[gains["missing"]].to_dict("records")
    assert (missing["dataset"], missing["query"], missing["seed"]) == ("more", "badge", 2)
    assert pd.isna(missing["aubc_gain"])
    areas = StudyResults.of(out).areas.set_index(["dataset", "query", "seed"])
    row = gains[(gains["dataset"] == "digits") & (gains["query"] == "entropy") & (gains["seed"] == 1)].iloc[0]
    for column in ("aubc", "final"):
        own, base = (areas.loc[("digits", query, 1), column] for query in ("entropy", "random"))
        assert row[f"{column}_gain"] == pytest.approx(own - base)


def test_a_study_without_results_has_no_rows(tmp_path: Path) -> None:
    build(tmp_path / "out", replace(PLAN, claims=(), stop=lambda _: 0))
    results = StudyResults.of(tmp_path / "out")
    assert list(statistics_frame(results).columns) == ["block"]
    assert {name: statistics_json(results)[name] for name in BLOCKS} == {name: [] for name in BLOCKS}
    assert fathom.gains(tmp_path / "out").empty
    assert fathom.verdicts(tmp_path / "out").empty


def test_numbers_that_are_not_defined_are_null(tmp_path: Path) -> None:
    build(tmp_path / "out", replace(PLAN, datasets=("digits",), seeds=1))
    data = statistics_json(StudyResults.of(tmp_path / "out"))
    assert data["methods"][0]["low"] is None
    assert data["methods"][0]["refused"] == "n = 1: a decision needs at least 3"
    json.dumps(data, allow_nan=False)
