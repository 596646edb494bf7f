"""Two studies side by side: pairs where seeds and data agree, and what is not compared."""

from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats
from tests.results.synthetic import Plan, build

import fathom
from fathom import cli
from fathom.core.records import FathomError
from fathom.report.sections.two_studies import page_of_two
from fathom.results.results import StudyResults
from fathom.results.side_by_side import study_differences

PLAN = Plan(datasets=("digits",), queries=("random", "badge"), seeds=5, rounds=4)


def results(out: Path, plan: Plan) -> StudyResults:
    build(out, plan)
    return StudyResults.of(out)


@pytest.fixture
def first(tmp_path: Path) -> StudyResults:
    return results(tmp_path / "first", PLAN)


def test_what_both_have_is_paired_by_seed(first: StudyResults, tmp_path: Path) -> None:
    second = results(
        tmp_path / "second",
        replace(PLAN, queries=("badge", "random", "bald"), level=lambda spec: 0.05 + 0.001 * spec.seed),
    )
    found = study_differences(first, second)
    assert [cell.query for cell in found.cells] == ["random", "badge"]
    cell = found.cells[0]
    a, b = ([own.seeds[s] for s in range(5)] for own in (cell.first, cell.second))
    assert cell.unpaired == ""
    assert cell.decision.p == pytest.approx(stats.ttest_rel(b, a).pvalue)
    assert cell.decision.mean == pytest.approx(0.052, abs=1e-3)
    assert [query for _, query in found.only_second] == ["bald"]
    assert found.only_first == []


def test_other_data_or_seeds_are_not_paired(first: StudyResults, tmp_path: Path) -> None:
    second = results(tmp_path / "second", PLAN)
    second.facts["digits"] = {**second.facts["digits"], "revision": "another"}
    cell = study_differences(first, second).cells[1]
    a, b = (list(own.seeds.values()) for own in (cell.first, cell.second))
    assert "revisions" in cell.unpaired
    assert not (cell.decision.p < 1)  # equal curves: no difference at all
    assert cell.decision.mean == pytest.approx(sum(b) / 5 - sum(a) / 5)


def test_other_sizes_or_metrics_are_not_compared(first: StudyResults, tmp_path: Path) -> None:
    second = results(tmp_path / "second", PLAN)
    second.facts["digits"] = {**second.facts["digits"], "metric": "balanced_accuracy"}
    found = study_differences(first, second)
    assert found.cells == []
    assert "accuracy and by balanced_accuracy" in found.not_compared[0][1]
    assert "nothing to compare" in page_of_two(first, second)
    longer = results(tmp_path / "longer", replace(PLAN, rounds=5))
    assert "rounds 4 and 5" in study_differences(first, longer).not_compared[0][1]


def test_the_page_and_the_command(first: StudyResults, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = results(tmp_path / "second", replace(PLAN, level=lambda spec: 0.05 + 0.001 * spec.seed))
    page = fathom.report(compare=(first.store.root, second.store.root), to=tmp_path / "page.html").read_text()
    assert "2 of them paired by seed. 2 better" in page
    assert page.count("<svg") == 2
    assert "synthetic (first)" in page
    folders = [str(results.store.root) for results in (first, second)]
    with pytest.raises(SystemExit) as ended:
        cli.app(["report", "--compare", *folders, "--to", str(tmp_path / "again.html")])
    assert not ended.value.code
    assert (tmp_path / "again.html").read_text() == page
    assert capsys.readouterr().out.strip() == str(tmp_path / "again.html")
    for words in ([], [folders[0], "--compare", *folders]):
        with pytest.raises(FathomError, match="either the folder of a study"):
            cli.app(["report", *words])
