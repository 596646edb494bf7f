"""Classifiers no better than a constant answer are called that, and no saving of labels is claimed from them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults import fault
from tests.results.synthetic import Plan, build

from fathom.core.records import LabelRegime, Setting
from fathom.report.numbers import DASH
from fathom.report.page import Page
from fathom.report.setting_tables import setting_table
from fathom.report.summary import summary, warnings
from fathom.results.results import StudyResults
from fathom.results.trivial import constant_score, trivial_methods, weak_words
from fathom.stats.savings import CONSTANT, FLAT

SMALL = Plan(datasets=("digits",), queries=("random", "badge"), seeds=5, rounds=4)


def of(folder: Path, plan: Plan, **facts: object) -> StudyResults:
    results = StudyResults.of(build(folder, plan).root)
    results.facts["digits"] |= facts
    return results


def test_the_score_of_a_constant_answer() -> None:
    counts = {"test_class_counts": [30, 60, 10, 0]}
    assert constant_score({"metric": "accuracy", **counts}) == 0.6
    assert constant_score({"metric": "balanced_accuracy", **counts}) == pytest.approx(1 / 3)
    assert constant_score({"metric": "accuracy"}) == constant_score(None) == float("-inf")


@fault("report", "a classifier at the rate of the majority class", "it is called that; no saving is claimed", cases=2)
@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_a_classifier_no_better_than_a_constant_answer_is_called_that(tmp_path: Path, metric: str) -> None:
    good = of(tmp_path / "good", SMALL)
    setting = good.store.study.settings[0]
    assert not trivial_methods(good, setting)
    assert any(not s.needs.refused for s in good.savings[setting, "badge"])
    final = float(good.means["final"].max())
    n = round(1000 * final) + 5 if metric == "accuracy" else 1
    counts = [n, *[0] * 8, 1000 - n] if metric == "accuracy" else [360]
    poor = of(tmp_path / "poor", SMALL, metric=metric, test_class_counts=counts)
    assert set(trivial_methods(poor, setting)) == {"random", "badge"}
    assert all(s.needs.refused in (CONSTANT, FLAT) for s in poor.savings[setting, "badge"])
    what = "always naming the majority class" if metric == "accuracy" else "chance"
    text = summary(poor)[0]
    assert f"no better than {what}" in text
    assert re.search(r"Random \d+\.\d %, BADGE \d+\.\d %", text)
    assert not weak_words(poor, [setting])
    table = setting_table(poor, setting, "x")
    assert f"no better than {what}" in table.note
    assert all(row[-1].text in ("not estimable", DASH) for row in table.rows)


def test_a_classifier_that_hardly_beats_the_majority_class_is_called_that(tmp_path: Path) -> None:
    good = of(tmp_path, SMALL)
    setting = good.store.study.settings[0]
    assert not weak_words(good, [setting])
    final = float(good.means["final"].max())
    n = round(1000 * final) - 5
    good.facts["digits"] |= {"test_class_counts": [n, *[0] * 8, 1000 - n]}
    assert "Did the classifiers learn? digits · low · standard: no better than" in summary(good)[0]  # the worse one
    (text,) = weak_words(good, [setting])
    assert f"({n / 10:.1f} %): with the last budget the best mean score is {100 * final:.1f} %" in text
    assert text in summary(good)[0]


@fault("report", "frozen without a backbone", "plan, run and report say that its features are raw pixels")
def test_raw_pixels_are_named_in_the_report(tmp_path: Path) -> None:
    pixels = replace(SMALL, paradigms=("frozen", "frozen(backbone=pixels, lr=0.1)", "frozen(backbone=resnet18)"))
    texts = [text for title, text in warnings(of(tmp_path, pixels)) if title == "Settings"]
    assert [text.partition(" has no backbone")[0] for text in texts] == ["frozen", "frozen(backbone=pixels, lr=0.1)"]
    assert "raw pixels" in str(Page(of(tmp_path / "page", pixels)).html())


def test_a_smaller_validation_set_is_named_in_the_report(tmp_path: Path) -> None:
    regime = LabelRegime("low", start=50, query_size=25, rounds=4, val_size=36)
    results = of(tmp_path, replace(SMALL, regimes={SMALL.paradigms[0]: regime}))
    (text,) = [text for title, text in warnings(results) if title == "Settings"]
    assert text.startswith("digits, low: 36 validation labels instead of 250 (5 x start)")
    assert Setting(*results.store.study.settings[0]) == results.store.study.settings[0]
