"""Classifier of a query method, the reference of its gain, and the notes in reports."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.report.test_report import made
from tests.results.synthetic import CLASSES, Plan, build

from fathom.learn.builder import build_paradigm
from fathom.protocol.dropout import dropout_of
from fathom.query.method import build_query
from fathom.report.latex import latex
from fathom.report.summary import classifier_note, summary
from fathom.results.classifiers import Classifiers, dropout_by_spec, joined_notes
from fathom.results.results import StudyResults

QUERIES = ("random", "bald", "badge")
SMALL = Plan(datasets=("digits",), queries=QUERIES, seeds=3, rounds=3, classes=CLASSES[:3])
CONTROL = "random(dropout=0.5)"


@pytest.mark.parametrize(
    "paradigm", ["standard", "standard(dropout=all)", "standard(dropout=0.3)", "standard(dropout=0)"]
)
@pytest.mark.parametrize(
    "query", ["random", CONTROL, "bald", "bald(draws=20)", "bald(dropout=0.2)", "random(dropout=0)"]
)
def test_the_rule_is_that_of_the_runs(paradigm: str, query: str) -> None:
    expected = dropout_of(build_paradigm(paradigm), build_query(query))
    assert dropout_by_spec(paradigm, query) == expected


def test_what_is_not_installed_follows_its_spec_string_and_the_usual_rule() -> None:
    assert dropout_by_spec("not-here", "bald") == 0.5
    assert dropout_by_spec("not-here(dropout=0.1)", "my_al/unknown") == 0.1
    assert dropout_by_spec("standard", "my_al/unknown(dropout=0.4)") == 0.4
    assert dropout_by_spec("standard", "my_al/unknown(draws=10)") == 0.5
    assert dropout_by_spec("standard", "my_al/unknown") == 0.0


def test_bald_is_measured_against_its_matched_control_where_that_was_run() -> None:
    plain = Classifiers.of("standard", QUERIES, "random")
    assert (plain.reference("bald"), plain.mark("bald"), plain.mark("badge")) == ("random", "†", "")
    assert "add random(dropout=0.5) to the study, the matched control of BALD." in plain.note()
    matched = Classifiers.of("standard", (*QUERIES, CONTROL), "random")
    assert (matched.reference("bald"), matched.mark("bald")) == (CONTROL, "‡")
    assert (matched.reference(CONTROL), matched.mark(CONTROL)) == ("random", "†")
    assert "‡ Gains of BALD are measured from Random (dropout=0.5), the matched control." in matched.note()
    assert "add" not in matched.note()
    other = Classifiers.of("standard", (*QUERIES, "random(dropout=0.2)"), "random")
    assert other.reference("bald") == "random"  # another dropout is another classifier
    assert "3 classifiers" in other.note()


def test_alike_classifiers_need_no_note() -> None:
    alike = Classifiers.of("standard(dropout=all)", QUERIES, "random")
    assert (alike.note(), alike.brief(), alike.mark("bald")) == ("", "", "")


def test_what_all_settings_say_is_said_once() -> None:
    assert joined_notes({"a": "x.", "b": "x."}) == "x."
    assert joined_notes({"a": "x.", "b": ""}) == "In a: x."
    assert joined_notes({"a": "x.", "b": "y.", "c": "x."}) == "In a and c: x. In b: y."
    assert joined_notes({"a": "", "b": ""}) == ""


@pytest.mark.usefixtures("undrawn")
def test_the_note_stands_once_and_marks_lead_to_it(tmp_path: Path) -> None:
    build(tmp_path, replace(SMALL, datasets=("digits", "digits-lt")))
    page, tables = made(tmp_path)
    assert page.text.count("dropout 0.5 for BALD; no dropout for Random and BADGE") == 1
    assert page.text.count("BALD†: see the note.") == 2 * 2 + 1  # curves and gains of each setting, penalty matrix
    links = [a["href"] for tag, a in page.tags if tag == "a" and a.get("class") == "mark"]
    assert set(links) == {"#note-classifiers"}
    assert len(links) == page.text.count("†") - 1  # but for the note itself
    bald = next(row for row in tables["digits-low-standard"].rows if row[0].text == "BALD")
    assert bald[4].text.endswith("]†")
    assert not any("†" in cell.text for row in tables["digits-low-standard"].rows for cell in row if row is not bald)
    for name in ("across", "verdicts"):
        assert "BALD†" in [row[0].text for row in tables[name].rows]
    note = classifier_note(StudyResults.of(tmp_path))
    assert "no dropout for Random and BADGE" in latex(tables["across"], note)
    assert "no dropout" not in latex(tables["digits-low-standard-paid"], note)  # compares nothing


def test_gains_and_savings_of_bald_are_those_over_the_control(tmp_path: Path) -> None:
    effect = {"random": 0.0, CONTROL: -0.1, "bald": -0.05, "badge": 0.02}
    build(tmp_path, replace(SMALL, queries=tuple(effect), effect=effect.__getitem__, noise=0.001))
    results = StudyResults.of(tmp_path)
    gains = results.gains.set_index("query")
    areas = results.areas.pivot(index="seed", columns="query", values="aubc")
    assert gains.loc["bald", "aubc"] == pytest.approx((areas["bald"] - areas[CONTROL]).mean())
    assert gains.loc["bald", "aubc"] > 0 > gains.loc[CONTROL, "aubc"]
    assert gains["reference"].to_dict() == {"bald": CONTROL, CONTROL: "random", "badge": "random"}
    (setting,) = results.classifiers
    saving = results.savings[(setting, "bald")][0]
    assert saving.reference == CONTROL
    assert saving.labels[1] > 0
    told = " ".join(summary(results))
    assert "BALD‡ has the largest gain: +" in told
    assert "Random (dropout=0.5)" not in told
    assert [v.query for v in results.verdicts] == ["bald", "badge"]  # the control is no query method
    assert "measured from Random (dropout=0.5)" in classifier_note(results)
