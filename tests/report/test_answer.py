"""Head of the report: one answer per question, never more than the verdicts say."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults import fault
from tests.results.synthetic import CLASSES, EFFECT, Plan, build

from fathom.report.head.answer import answers
from fathom.report.head.verdict_table import verdict_tables
from fathom.report.head.verdict_text import level_text
from fathom.report.report import Page
from fathom.results.results import StudyResults

ONE = Plan(datasets=("digits",), paradigms=("standard",), rounds=4, seeds=8, classes=CLASSES[:3])
WORTH, WHICH, SETTLE = (
    "Is active learning worth it here?", "With which query method?", "What is undecided, and what would settle it?"
)  # fmt: skip
ELSEWHERE, MISSING = "Does it hold for other data?", "What do missing runs change?"


def said(folder: Path, plan: Plan) -> dict[str, str]:
    build(folder, plan)
    return {answer.question: answer.text for answer in answers(StudyResults.of(folder))}


def test_decided_methods_are_named_with_their_gain_and_scope(tmp_path: Path) -> None:
    text = said(tmp_path, replace(ONE, noise=0.004))
    assert text[WORTH].startswith("It depends on the method: on digits (8 seeds), ")
    assert "BADGE" in text[WORTH]
    assert "Entropy is worse than Random" in text[WORTH]
    assert text[WHICH].startswith("BADGE has the largest gain: +1.")
    assert "(8 seeds, 98." in text[WHICH]
    assert text[SETTLE] == "Nothing: all 4 query methods are decided."
    assert text[ELSEWHERE].startswith("Not known: this holds for digits only.")
    assert MISSING not in text


@fault("report", "equal methods", "no method is called better, and nothing is recommended")
def test_equal_methods_are_not_recommended(tmp_path: Path) -> None:
    text = said(tmp_path, replace(ONE, effect=lambda query: 0.0, queries=("random", "badge", "bald")))
    assert not text[WORTH].startswith(("Yes", "No:"))
    assert "better" not in text[WORTH]
    assert text[WHICH].startswith(("None is shown to gain.", "None: no mean gain is above 0"))


@fault("report", "one or two seeds", "plain words that nothing is decided; no interval, no verdict", cases=2)
@pytest.mark.parametrize(("seeds", "count"), [(1, "1 seed"), (2, "2 seeds")])
def test_few_seeds_decide_nothing(tmp_path: Path, seeds: int, count: str) -> None:
    text = said(tmp_path, replace(ONE, seeds=seeds))
    assert text[WORTH] == f"Nothing is decided on digits: {count} cannot tell a gain from chance."
    assert text[WHICH].startswith("None is shown to gain. ")
    assert f"({count}, no interval)" in text[WHICH]
    assert (
        text[SETTLE] == f"All of it. A decision needs at least 3 seeds, and small gains need more; there are {seeds}."
    )


def test_a_study_without_a_comparison_says_why(tmp_path: Path) -> None:
    assert list(said(tmp_path / "a", replace(ONE, baseline="margin", seeds=1)).values()) == [
        "The baseline Margin was not run, so there are no gains; the report shows curves and areas only."
    ]
    assert list(said(tmp_path / "b", replace(ONE, queries=("random",), seeds=1)).values()) == [
        "Only Random was run, so there is nothing to compare it with."
    ]


def test_over_datasets_a_new_one_is_predicted(tmp_path: Path) -> None:
    plan = replace(ONE, datasets=("digits", "digits-lt", "mnist", "cifar10"), seeds=3, queries=("random", "badge"))
    build(tmp_path, plan)
    results = StudyResults.of(tmp_path)
    text = {answer.question: answer.text for answer in answers(results)}
    (verdict,) = results.verdicts
    assert text[WORTH].startswith("Yes: over 4 datasets, BADGE is better than Random.")
    low, high = (f"{100 * value:+.1f}" for value in verdict.prediction or ())
    assert f"would lie between {low} and {high} points (95 % prediction interval from 4 datasets)" in text[ELSEWHERE]
    (table,) = verdict_tables(results)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["New dataset"].text == f"{low} to {high}"
    assert row["n"].text == "4 datasets"
    assert row["These datasets alone"].text == "better"


def test_many_combinations_are_counted_and_the_head_stays_short(tmp_path: Path) -> None:
    paradigms = ("standard", "self-sl", "semi-sl", "frozen")
    build(tmp_path, replace(ONE, paradigms=paradigms, datasets=("digits", "mnist"), queries=tuple(EFFECT), seeds=3))
    found = answers(StudyResults.of(tmp_path))
    assert "of 16 combinations of query method and training paradigm" in found[0].text
    assert len(found) <= 8
    assert sum(len(answer.text) for answer in found) < 2000


def test_missing_runs_are_told_with_the_verdict_without_them(tmp_path: Path) -> None:
    plan = replace(ONE, noise=0.004, stop=lambda s: 2 if s.query == "badge" and s.seed > 3 else None)
    plan = replace(plan, effect=lambda query: 0.015 if query == "badge" else 0.0)
    build(tmp_path, plan)
    results = StudyResults.of(tmp_path)
    text = {answer.question: answer.text for answer in answers(results)}
    verdict = next(v for v in results.verdicts if v.query == "badge")
    assert (verdict.decision.n, verdict.decision.missing) == (4, 4)
    assert "Runs are missing for BADGE" in text[MISSING]
    assert verdict.decision.observed != verdict.decision.verdict
    assert f"By the complete runs alone they would be: BADGE {verdict.decision.observed}." in text[MISSING]
    (table,) = verdict_tables(results)
    row = next(row for row in table.rows if row[0].text == "BADGE")
    assert "4 seeds (4 missing)" in [cell.text for cell in row]


def test_a_setting_without_a_complete_run_is_told(tmp_path: Path) -> None:
    plan = replace(ONE, datasets=("digits", "mnist"), seeds=4, queries=("random", "badge", "entropy"))
    text = said(tmp_path, replace(plan, stop=lambda s: 1 if (s.query, s.dataset) == ("badge", "mnist") else None))
    assert "BADGE has no complete run in 1 setting." in text[SETTLE]
    assert "with 0 seeds" not in " ".join(text.values())


def test_the_page_shows_words_with_the_colors_and_a_given_name(tmp_path: Path) -> None:
    store = build(tmp_path, replace(ONE, noise=0.004))
    named = replace(store.study, names={"digits": "Hand <digits>"})
    store.begin(named)
    results = StudyResults.of(tmp_path)
    page = Page(results)
    html = page.html()
    for emphasis, word in (("better", "better"), ("worse", "worse")):
        assert f'class="text {emphasis}" data-v="{word}">{word}</td>' in html
    assert "on Hand &lt;digits&gt; (8 seeds)" in html
    assert {"hand-digits-low-standard", "hand-digits-low-standard-paid", "verdicts"} <= {t.name for t in page.tables}
    assert {d.name for d in page.drawings} >= {"hand-digits-low-standard-curves", "hand-digits-low-standard-gains"}


def test_levels_are_spelled_as_far_as_they_matter() -> None:
    assert [level_text(level) for level in (0.95, 0.9875, 1 - 0.05 / 13)] == ["95 %", "98.8 %", "99.6 %"]
    assert level_text(1 - 0.05 / 300) == "99.983 %"
