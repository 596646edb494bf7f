"""Report on training itself: encoders, backbones, pseudo-labels, and their time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.report.test_report import Page, made
from tests.results.paradigms import BACKBONE, SEMI, SIMCLR, STANDARD, build_four, four, training
from tests.results.synthetic import CLASSES, build

from fathom.core.records import RunSpec
from fathom.report.drawing import Drawing
from fathom.report.paradigm_figures import marginal_figure, mask_figure, probe_figure, rate_figure
from fathom.report.report import report
from fathom.report.sections.paradigms import HIDDEN
from fathom.report.style import method_styles
from fathom.report.tables import ReportTable
from fathom.report.training_tables import backbone_table, encoder_table, preparation_table, pseudo_label_table
from fathom.results.results import StudyResults
from fathom.results.training import probe_curves, pseudo_label_stats
from fathom.store.store import Store

PLAN = replace(four(), queries=("random", "badge"), paradigms=(STANDARD, SEMI), seeds=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_four(tmp_path_factory.mktemp("training"), PLAN)


@pytest.fixture(scope="module")
def results(store: Store) -> StudyResults:
    return StudyResults.of(store.root)


def column(table: ReportTable | None, name: str) -> list[str]:
    assert table is not None
    return [row[table.columns.index(name)].text for row in table.rows]


def test_encoders_are_shown_with_their_last_point(results: StudyResults) -> None:
    (probe,) = probe_curves(results)
    assert (probe.dataset, probe.preparation, probe.seeds) == ("digits", SIMCLR, [0, 1, 2])
    epochs, accuracy = probe.curve(1)
    assert epochs == [50.0 * i for i in range(1, 21)]
    table = encoder_table(results, [probe])
    assert column(table, "Seed") == ["0", "1", "2"]
    assert column(table, "Epochs") == ["1000"] * 3
    assert column(table, "kNN accuracy")[1] == f"{100 * accuracy[-1]:.1f} %"
    assert column(table, "SHA-256")[2] == "2abc2abc2abc"
    drawn = probe_figure("e", {seed: probe.curve(seed) for seed in probe.seeds})
    lines = drawn.figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["seed 0", "seed 1", "seed 2"]
    assert np.asarray(lines[1].get_ydata()) == pytest.approx(100 * np.array(accuracy))


def test_an_encoder_that_was_fetched_has_no_curve(tmp_path: Path) -> None:
    store = build(tmp_path, replace(PLAN, paradigms=(STANDARD,), classes=CLASSES[:3]))
    content = {"dataset": "digits", "preparation": "encoder(sha256=ab)", "seed": 0, "curve": [], "tensors": "ab" * 32}
    store.put("shared/pretrain/0", content, {"seconds": 1.0, "environment": "abc"})
    results = StudyResults.of(tmp_path)
    (probe,) = probe_curves(results)
    assert probe.seeds == []
    assert column(encoder_table(results, [probe]), "kNN accuracy") == ["\u2013"]
    text = made(tmp_path)[0].text
    assert "Encoders learned without labels" in text
    assert HIDDEN not in text  # nothing hidden was looked at


def test_backbones_have_their_facts(results: StudyResults) -> None:
    table = backbone_table(results)
    assert table is not None
    told = {name: column(table, name)[0] for name in table.columns}
    assert told["Backbone"] == "MobileNetV2"
    assert told["SHA-256"] == "0123456789ab"
    assert told["License"] == "apache-2.0"
    assert told["Seed"] == "all"
    assert told["Features"] == "1280"
    assert told["Other facts"] == "interpolation: bilinear"
    assert "Revision" not in table.columns  # none is known
    sha = table.rows[0][table.columns.index("SHA-256")]
    assert sha.title == "0123456789abcdef" * 4
    assert table.rows[0][1].title == BACKBONE


def test_pseudo_labels_are_those_of_the_rounds(store: Store, results: StudyResults) -> None:
    (own,) = pseudo_label_stats(results)
    assert (own.setting[2], own.query, own.threshold) == (SEMI, "random", 0.95)
    specs = [spec for spec in store.study.runs if spec.paradigm == SEMI and spec.query == "badge"]
    expected = [np.mean([training(s, n)["pseudo_accuracy"] for s in specs]) for n in range(4)]
    curves = own.curves("pseudo_accuracy")
    assert curves[curves["query"] == "badge"]["mean"].to_numpy() == pytest.approx(np.array(expected))
    table = pseudo_label_table(results, own, "g")
    assert column(table, "Method") == ["Random", "BADGE"]
    assert column(table, "Labels") == ["275", "275"]
    assert column(table, "Pseudo-label accuracy")[1].startswith(f"{100 * expected[-1]:.1f} ±")
    assert column(table, "Mask rate")[0] == "84.0 ± 0.0"
    assert "a confidence of at least 0.95" in table.caption


def test_mask_rates_and_marginals_are_means_over_seeds(store: Store, results: StudyResults) -> None:
    (own,) = pseudo_label_stats(results)
    rates = own.mask_rates()
    assert [budget for budget, _, _ in rates] == [50, 125, 200, 275]
    assert rates[3][1][-1] == 200  # epochs
    assert rates[3][2] == pytest.approx(0.84 * np.linspace(0, 1, 20) ** 0.3)
    found = own.marginals()
    assert found is not None
    budget, marginals, target = found
    specs = [spec for spec in store.study.runs if spec.paradigm == SEMI and spec.query == "random"]
    assert budget == 275
    assert marginals == pytest.approx(np.mean([training(s, 3)["marginals"] for s in specs], axis=0))
    assert target == pytest.approx(np.full(10, 0.1))
    assert own.pool == pytest.approx([0.1] * 10)


def odd(spec: RunSpec, number: int) -> dict[str, object]:
    """What another paradigm may show under the same names, or a round that was sure of nothing."""
    if spec.paradigm != SEMI:
        return {"mask_rate": "high", "threshold": None}
    return {"threshold": 0.9, "mask_rate": [], "pseudo_rate": 0.0, "pseudo_accuracy": None, "target": None}


@pytest.mark.usefixtures("undrawn")
def test_what_is_odd_or_missing_is_left_out(tmp_path: Path) -> None:
    build(tmp_path, replace(PLAN, training=odd, classes=CLASSES[:3]))
    results = StudyResults.of(tmp_path)
    (own,) = pseudo_label_stats(results)
    assert own.setting[2] == SEMI
    assert own.mask_rates() == []
    assert own.marginals() is None
    assert own.curves("pseudo_accuracy").empty
    assert column(pseudo_label_table(results, own, "g"), "Pseudo-label accuracy") == ["\u2013", "\u2013"]
    page, tables = made(tmp_path)
    assert "pseudo-labels-00" in tables
    assert "nan" not in page.text.lower().split()


def test_the_time_of_what_runs_share_is_told_and_counted(results: StudyResults, tmp_path: Path) -> None:
    table = preparation_table(results)
    assert column(table, "Work") == ["pre-training", "features"]
    assert column(table, "Count") == ["3", "1"]
    assert table is not None
    assert [row[-1].value for row in table.rows] == pytest.approx([16203.0, 75.0])
    build(tmp_path, PLAN)
    without = StudyResults.of(tmp_path)
    assert results.seconds - without.seconds == pytest.approx(16278.0)
    assert preparation_table(without) is None
    assert (
        sum(e.shared for e in results.environments) - sum(e.shared for e in without.environments) == 4
    )  # encoders and features are work of an environment too


def test_drawings_of_training() -> None:
    frame = {"query": ["random", "random"], "budget": [50.0, 100.0], "mean": [0.5, 0.75]}
    rate = rate_figure("r", pd.DataFrame(frame), method_styles(["random"]), "pseudo-label rate")
    assert rate.alt == "Pseudo-label rate in %: Random 75.0."
    mask = mask_figure("m", [(50, np.array([1.0, 2.0]), np.array([0.2, 0.4])), (100, np.array([1.0]), np.array([0.9]))])
    assert mask.alt == "Mask rate at the end of training: 50 labels 40 %; 100 labels 90 %."
    assert [line.get_label() for line in mask.figure.axes[0].get_lines()] == ["50 labels", "100 labels"]
    shares = {"target": [0.5, 0.5], "pool": [0.9, 0.1]}
    bars = marginal_figure("b", np.array([0.7, 0.3]), shares, ["a <b>", "c"])
    assert bars.alt == "Mean predicted share by class. Difference from: target 20 %; pool 20 %."
    assert [patch.get_height() for patch in bars.figure.axes[0].patches[:2]] == pytest.approx([70.0, 30.0])
    assert "a &lt;b&gt;" in bars.inline
    alone = marginal_figure("b", np.array([0.7, 0.3]), {}, [])
    assert "nothing known" in alone.alt


def test_the_whole_report_is_small_and_says_who_saw_hidden_labels(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drawing, "pdf", lambda self: b"%PDF")
    path = report(store.root)
    html = path.read_text(encoding="utf-8")
    assert len(html) < 3_000_000
    text = " ".join(Page(html).text.split())
    assert HIDDEN in text
    assert "Pseudo-labels: digits · low(query_size=75, rounds=4) · semi-sl" in text
    names = {p.stem for p in (path.parent / "figures").glob("*.svg")}
    assert {
        "paradigms-00",
        "encoder-00",
        "pseudo-labels-00-mask",
        "pseudo-labels-00-classes",
        "pseudo-labels-00-pseudo-rate",
    } <= names
    assert {"encoders", "backbones", "preparation-times"} <= {p.stem for p in (path.parent / "tables").glob("*.tex")}
