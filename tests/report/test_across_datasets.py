"""The table over datasets: the numbers are those of the verdicts."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.results.synthetic import Plan, build

from fathom.report.across_datasets import across_table
from fathom.report.tables import TableCell
from fathom.results.results import StudyResults
from fathom.stats.decisions import BETTER, WORSE

EFFECT = {"random": 0.0, "badge": 0.06, "bald": 0.0, "entropy": -0.08}
PLAN = Plan(
    datasets=("digits", "digits-lt", "mnist", "fashion-mnist"), queries=tuple(EFFECT), seeds=3, rounds=4,
    effect=EFFECT.__getitem__, noise=0.002,
)  # fmt: skip


def rows(results: StudyResults) -> dict[str, dict[str, TableCell]]:
    table = across_table(results)
    assert table is not None
    return {row[0].text: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_every_number_is_that_of_the_verdict(tmp_path: Path) -> None:
    results = StudyResults.of(build(tmp_path, PLAN).root)
    found = rows(results)
    for verdict, row in zip(results.verdicts, found.values(), strict=True):
        decision = verdict.decision
        assert (verdict.unit, row["Verdict"].text, row["Datasets"].text) == ("datasets", decision.verdict, "4")
        assert row["Mean gain"].value == decision.mean
        assert row["New dataset"].value == verdict.prediction[0]  # type: ignore[index]
        assert row["Losses"].text == f"{len(verdict.failures)} of 4"
        assert row["Worst setting"].value == min(g.estimate.mean for g in verdict.gains)
        assert row["No failure mode"].text == ("yes" if verdict.safe else "not shown")
    assert (found["BADGE"]["Verdict"].text, found["BADGE"]["Mean gain"].emphasis) == (BETTER, "up")
    assert (found["Entropy"]["Verdict"].text, found["Entropy"]["Mean gain"].emphasis) == (WORSE, "down")
    assert found["Entropy"]["Losses"].text == "4 of 4"
    assert (found["BADGE"]["No failure mode"].text, found["Entropy"]["No failure mode"].text) == ("yes", "not shown")


@pytest.mark.parametrize(("datasets", "unit"), [(("digits", "digits-lt"), "seeds"), (("digits",), "none")])
def test_with_two_datasets_seeds_are_the_sample_and_one_has_no_table(
    tmp_path: Path, datasets: tuple[str, ...], unit: str
) -> None:
    results = StudyResults.of(build(tmp_path, replace(PLAN, datasets=datasets)).root)
    if unit == "none":
        assert across_table(results) is None
        return
    row = rows(results)["BADGE"]
    assert row["Datasets"].text == "2 (3 seeds)"
    assert row["New dataset"].value is None
    table = across_table(results)
    assert table is not None
    assert "seeds are the sample" in table.note
