"""Comparison of training paradigms: pairs at common budgets, the verdict by hand, and what is not compared."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.report.test_report import Page, made
from tests.results.paradigms import FROZEN, SELF, SEMI, STANDARD, WIDE, build_four, four
from tests.results.synthetic import CLASSES, Plan, build, rounds_of

from fathom.core.records import LabelRegime
from fathom.report import report as report_module
from fathom.report.panels import Panel, panel_figure
from fathom.report.paradigm_tables import across_words, paradigm_table, verdict_details, verdict_words
from fathom.report.style import method_styles
from fathom.report.summary import summary
from fathom.results.paradigm_lead import across
from fathom.results.paradigms import compare_paradigms, paradigm_groups, paradigm_verdicts, without_group
from fathom.results.results import StudyResults
from fathom.stats.curves import budget_curves
from fathom.stats.inference import t_interval
from fathom.store.store import Store

COMMON = [50, 125, 200]  # of 50, 75, ..., 225 and 50, 125, 200, 275


def small(**changes: object) -> Plan:
    return replace(four(), queries=("random", "badge"), classes=CLASSES[:3], **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_four(tmp_path_factory.mktemp("four"), small())


@pytest.fixture(scope="module")
def results(store: Store) -> StudyResults:
    return StudyResults.of(store.root)


def area(frame: pd.DataFrame, paradigm: str, query: str, seed: int, budgets: list[int]) -> float:
    """The area under one run's curve at these budgets, from the table alone."""
    own = frame[(frame["paradigm"] == paradigm) & (frame["query"] == query) & (frame["seed"] == seed)]
    scores = own.set_index("budget")["score"][budgets].to_numpy()
    return float(sum((scores[1:] + scores[:-1]) / 2 * np.diff(budgets)) / (budgets[-1] - budgets[0]))


def test_one_group_holds_all_that_start_alike(results: StudyResults) -> None:
    (group,) = paradigm_groups(results)
    assert (group.title, group.start, group.val_size) == ("digits · low", 50, 250)
    assert list(group.members.values()) == ["standard", "self-sl", "semi-sl", "frozen"]
    assert {s[2] for s in group.reference.values()} == {STANDARD}
    assert without_group(results) == []


@pytest.mark.parametrize(("paradigm", "budgets"), [(SELF, list(range(50, 226, 25))), (SEMI, COMMON)])
def test_a_paradigm_is_paired_by_seed_at_the_budgets_that_both_have(
    results: StudyResults, paradigm: str, budgets: list[int]
) -> None:
    (group,) = paradigm_groups(results)
    pair = compare_paradigms(results, group, next(arm for arm in group.members if arm[2] == paradigm))
    assert pair is not None
    assert pair.budgets == budgets
    frame = results.frame
    differences = [
        area(frame, paradigm, "random", seed, budgets) - area(frame, STANDARD, "random", seed, budgets)
        for seed in range(3)
    ]
    band = t_interval(differences)
    assert [pair.row[k] for k in ("aubc", "aubc_low", "aubc_high")] == pytest.approx([band.mean, band.low, band.high])
    assert pair.row["n"] == 3
    last = frame[(frame["query"] == "random") & (frame["budget"] == budgets[-1])].pivot(
        index="seed", columns="paradigm", values="score"
    )
    assert pair.row["final"] == pytest.approx((last[paradigm] - last[STANDARD]).mean())
    assert pair.saving is not None
    assert pair.saving.labels[0] > 0


def test_the_verdict_measures_each_choice_on_a_seed_that_had_no_part_in_it(results: StudyResults) -> None:
    (verdict,) = paradigm_verdicts(results)
    (choice,) = verdict.choices
    assert choice.budgets == COMMON
    assert [pick and pick[2] for pick in choice.paradigm_picks] == [SELF] * 3
    assert choice.query_picks == ["badge"] * 3
    base = np.array([area(results.frame, STANDARD, "random", seed, COMMON) for seed in range(3)])
    others = (SELF, SEMI, FROZEN)
    by_paradigm = np.array([[area(results.frame, p, "random", s, COMMON) for s in range(3)] for p in others]) - base
    by_query = np.array([area(results.frame, STANDARD, "badge", seed, COMMON) for seed in range(3)]) - base
    assert verdict.paradigm == pytest.approx(by_paradigm[0].mean())
    assert verdict.query == pytest.approx(by_query.mean())
    # The interval, with scipy: for the low end each paradigm against the query method and against none, at .025 / 3.
    low = -np.inf
    for own in by_paradigm:
        rivals = [own, own - by_query]
        low = max(low, min(d.mean() - stats.t.ppf(1 - 0.025 / 3, 2) * stats.sem(d) for d in rivals))
    high = max(d.mean() + stats.t.ppf(0.975, 2) * stats.sem(d) for d in (-by_query, *(by_paradigm - by_query)))
    assert (verdict.low, verdict.high) == pytest.approx((low, high))
    assert (verdict.level, verdict.n, verdict.family) == (pytest.approx(0.95), 3, 1)


def test_the_table_says_what_the_pairs_say(results: StudyResults, undrawn: None) -> None:
    page = report_module.Page(results)
    text = Page(page.html()).text
    table = next(table for table in page.tables if table.name == "paradigms-00")
    rows = {row[0].text: {name: cell.text for name, cell in zip(table.columns, row, strict=True)} for row in table.rows}
    assert rows["standard"]["Paradigm gain"] == "reference"
    assert rows["semi-sl"]["Budgets"] == "3 of 4"
    assert rows["frozen"]["Budgets"] == "8"
    assert all(rows[arm]["Best method"] == "BADGE" for arm in rows)
    (group,) = paradigm_groups(results)
    for arm, name in group.members.items():
        gains = results.gains[(results.gains["paradigm"] == arm[2]) & (results.gains["query"] == "badge")]
        assert rows[name]["AL gain"].startswith(f"{100 * gains['aubc'].item():+.1f} [".replace("-", "\u2212"))
        if pair := compare_paradigms(results, group, arm):
            assert rows[name]["Paradigm gain"].startswith(f"{100 * pair.row['aubc']:+.1f} [".replace("-", "\u2212"))
    assert "compared only at the budgets that both have" in table.note
    assert "semi-sl: 50, 125 and 200" in table.note
    assert "Query sizes differ (standard 25, self-sl 25, semi-sl 75, frozen 25)" in table.note
    assert "Training paradigms" in text
    assert "nan" not in text.lower().split()


@pytest.mark.parametrize(
    ("levels", "effect", "told"),
    [
        ({SELF: 0.05}, 0.0, "the choice of the training paradigm gained more than the choice of the query method"),
        ({SELF: 0.004}, 0.15, "the choice of the query method gained more than the choice of the training paradigm"),
        ({SELF: 0.03}, 0.039, "the runs cannot tell whether the training paradigm or the query method gains more"),
        ({SELF: -0.2}, -0.2, "neither choice gained anything on average"),
    ],
)
def test_what_is_said_follows_the_interval(tmp_path: Path, levels: dict[str, float], effect: float, told: str) -> None:
    plan = four({STANDARD: -0.3} | {SELF: -0.3 + levels[SELF]}, paradigms=(STANDARD, SELF), noise=0.006)
    gain = {"random": 0.0, "badge": effect}
    build(tmp_path, replace(plan, queries=tuple(gain), effect=gain.__getitem__, rounds=4, classes=CLASSES[:3]))
    results = StudyResults.of(tmp_path)
    (verdict,) = paradigm_verdicts(results)
    said = verdict_words(results, verdict)
    assert said.startswith(f"On digits {told}: ")
    assert f"Is the training paradigm worth more? {said}" in summary(results)
    assert ("cannot" in told or "neither" in told) == (verdict.low <= 0 <= verdict.high)
    if "neither" in told:
        assert verdict.paradigm == verdict.query == 0
        assert verdict_details(results, verdict).count("none was better than the reference") == 2


def test_one_seed_cannot_tell(tmp_path: Path) -> None:
    build(tmp_path, small(seeds=1))
    results = StudyResults.of(tmp_path)
    (said,) = [text for text in summary(results) if text.startswith("Is the training paradigm worth more?")]
    assert "one seed cannot tell" in said
    build(tmp_path / "two", small(seeds=2))
    (said,) = [
        text for text in summary(StudyResults.of(tmp_path / "two")) if text.startswith("Is the training paradigm")
    ]
    assert "two seeds cannot tell" in said
    assert "no interval for the lead" in said


@pytest.mark.parametrize(("level", "told"), [(0.1, "training paradigm gains more"), (0.0, "together cannot tell")])
def test_three_datasets_are_the_units_of_one_decision(tmp_path: Path, level: float, told: str) -> None:
    levels = {STANDARD: -0.2, SELF: -0.2 + level, FROZEN: -0.2}
    datasets = ("digits", "digits-lt", "breast")
    plan = four(levels, paradigms=tuple(levels), datasets=datasets, queries=("random", "badge", "entropy"), rounds=4)
    build(tmp_path, replace(plan, effect=lambda _: 0.0, noise=0.01, classes=CLASSES[:3]))
    results = StudyResults.of(tmp_path)
    found = paradigm_verdicts(results)
    assert [v.family for v in found] == [3] * 3
    assert [v.level for v in found] == pytest.approx([1 - 0.05 / 3] * 3)
    (lead,) = across(results, found)
    assert lead.decision.n == 3
    assert lead.decision.mean == pytest.approx(np.mean([v.paradigm - v.query for v in found]))
    assert told in across_words(lead)
    assert any(across_words(lead) in text for text in summary(results)), summary(results)
    assert across(results, found[:2]) == []


@pytest.mark.usefixtures("undrawn")
def test_other_starts_are_never_compared(tmp_path: Path) -> None:
    other = LabelRegime("low(start=60)", start=60, query_size=25, rounds=8, val_size=250)
    checked = LabelRegime("low(val_size=100)", start=50, query_size=25, rounds=8, val_size=100)
    plan = small(paradigms=(STANDARD, SELF, FROZEN), regimes={SELF: other, FROZEN: checked})
    build(tmp_path, plan)
    results = StudyResults.of(tmp_path)
    assert paradigm_groups(results) == []
    assert paradigm_verdicts(results) == []
    assert len(without_group(results)) == 3
    page, tables = made(tmp_path)
    assert (
        "Not compared, because no other paradigm starts with the same numbers of labels and validation labels"
        in page.text
    )
    assert "low(start=60) · self-sl (60 labels, 250 for validation)" in page.text
    assert not any(name.startswith("paradigms") for name in tables)


@pytest.mark.usefixtures("undrawn")
def test_one_paradigm_looks_as_before(tmp_path: Path) -> None:
    build(tmp_path, small(paradigms=(STANDARD,)))
    page, tables = made(tmp_path)
    assert {"paradigms", "training"}.isdisjoint(attributes.get("id") for _, attributes in page.tags)
    assert "On digits" not in page.text
    assert {"preparation-times", "encoders", "backbones"}.isdisjoint(tables)


def test_runs_that_are_not_complete_make_no_pair(tmp_path: Path) -> None:
    def stop(spec: object) -> int | None:
        return 2 if (spec.paradigm, spec.query, spec.seed) == (SELF, "random", 1) else None  # type: ignore[attr-defined]

    build(tmp_path, small(paradigms=(STANDARD, SELF), stop=stop))
    results = StudyResults.of(tmp_path)
    (group,) = paradigm_groups(results)
    pair = compare_paradigms(results, group, next(arm for arm in group.members if arm[2] == SELF))
    assert pair is not None
    assert (pair.row["n"], len(pair.budgets)) == (2, 8)
    (verdict,) = paradigm_verdicts(results)
    assert verdict.choices[0].seeds == [0, 2]


def test_a_paradigm_planned_with_fewer_seeds_is_compared_on_these(tmp_path: Path) -> None:
    """It is left out where it lost seeds, or has too few to decide anything."""

    def candidates(seeds: int, lost: int = 0) -> tuple[list[str], list[int]]:
        folder = tmp_path / f"{seeds}-{lost}"
        plan = small(
            paradigms=(STANDARD, SELF, FROZEN),
            seeds=6,
            planned=lambda spec: spec.paradigm != SELF or spec.seed < seeds,
            stop=lambda spec: 2 if spec.paradigm == SELF and spec.seed < lost else None,
        )
        build(folder, plan)
        (verdict,) = paradigm_verdicts(StudyResults.of(folder))
        (choice,) = verdict.choices
        return [member.paradigm for member in choice.paradigms], choice.seeds

    assert candidates(4) == ([SELF, FROZEN], [0, 1, 2, 3])
    assert candidates(5, lost=1) == ([FROZEN], [0, 1, 2, 3, 4, 5])
    assert candidates(2) == ([FROZEN], [0, 1, 2, 3, 4, 5])


def test_a_paradigm_that_has_not_begun_or_has_no_baseline_is_no_arm_of_a_verdict(tmp_path: Path) -> None:
    build(tmp_path / "open", small(stop=lambda spec: 0 if spec.paradigm == FROZEN else None))
    results = StudyResults.of(tmp_path / "open")
    assert [arm[2] for arm in paradigm_groups(results)[0].members] == [STANDARD, SELF, SEMI]
    assert len(paradigm_verdicts(results)) == 1
    build(tmp_path / "none", small(baseline="margin"))
    assert paradigm_verdicts(StudyResults.of(tmp_path / "none")) == []


def test_without_standard_the_first_paradigm_is_the_reference(tmp_path: Path, undrawn: None) -> None:
    build(tmp_path, small(paradigms=(SELF, FROZEN)))
    results = StudyResults.of(tmp_path)
    assert {s[2] for s in paradigm_groups(results)[0].reference.values()} == {SELF}
    _, tables = made(tmp_path)
    assert "The reference is self-sl, since standard was not run here." in tables["paradigms-00"].note


def test_a_paradigm_in_two_regimes_is_told_apart_and_each_has_the_reference_of_its_regime(tmp_path: Path) -> None:
    plan = small(paradigms=(STANDARD, SELF))
    store = build(tmp_path, plan)
    specs = [spec for spec in store.study.runs if spec.paradigm in (STANDARD, SELF)]
    wide = [replace(spec, regime=WIDE.name) for spec in specs]
    store.begin(replace(store.study, runs=(*specs, *wide)), extend=True)
    for spec in wide:
        store.begin_run(spec, WIDE)
        for record in rounds_of(spec, WIDE, plan):
            store.commit(spec, record)
    results = StudyResults.of(tmp_path)
    (group,) = paradigm_groups(results)
    narrow = "low(query_size=25)"
    assert list(group.members.values()) == [
        f"standard, {narrow}",
        f"self-sl, {narrow}",
        f"standard, {WIDE.name}",
        f"self-sl, {WIDE.name}",
    ]
    assert all(arm[1] == reference[1] and reference[2] == STANDARD for arm, reference in group.reference.items())
    pairs = [compare_paradigms(results, group, arm) for arm in group.members]
    assert [pair and len(pair.budgets) for pair in pairs] == [None, 8, None, 4]
    note = paradigm_table(results, group, "p").note
    assert f"Compared: self-sl, {narrow} with standard, {narrow}, self-sl, {WIDE.name} with standard" in note


def test_each_paradigm_has_a_panel_with_the_same_grey_curve(results: StudyResults) -> None:
    members = paradigm_groups(results)[0].members
    curves = {s: budget_curves(results.frame[results.frame["paradigm"] == s[2]]) for s in members}
    own = method_styles(["random", "badge"])
    base = next(iter(curves.values()))
    base = base[base["query"] == "random"]
    panels = [Panel(name, curves[s], 0.97 if s[2] == STANDARD else None) for s, name in members.items()]
    drawn = panel_figure("p", panels, base, "Random, standard", own, "accuracy")
    shown = [axes for axes in drawn.figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == list(members.values())
    for axes, panel in zip(shown, panels, strict=True):
        grey, *lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]
        assert list(grey.get_ydata()) == list(100 * base["mean"])
        assert {line.get_color() for line in lines} == {style.light for style in own.values()}
        assert len(axes.get_lines()) == 3 + (panel.full_data is not None)
    assert drawn.alt.startswith("Budget curves. With the last budget, standard: Random ")
    assert re.search(r"--q0\b", drawn.inline)
    assert panel_figure("p", panels, base, "Random, standard", own, "accuracy").svg == drawn.svg
