"""Data of the section "Explore": every score of the study, safe inside a page; vendored files are those released."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.results.synthetic import CLASSES, Plan, build

from fathom.core.records import Setting
from fathom.report import report as report_module
from fathom.report.explore import data as data_module
from fathom.report.explore.data import explore_data
from fathom.results.class_recalls import class_gains
from fathom.results.results import StudyResults
from fathom.stats.inference import t_interval
from fathom.store.store import Store
from fathom.store.tables import rounds_table

ROOT = Path(__file__).parents[2]
VENDORED = [ROOT / "src/fathom/report/vendor/uplot", ROOT / "tests/vendor/axe-core"]


@pytest.mark.parametrize("folder", VENDORED, ids=lambda folder: folder.name)
def test_vendored_files_are_those_of_the_release_with_their_licence(folder: Path) -> None:
    stated = json.loads((folder / "vendored.json").read_text())
    files = {path.name for path in folder.iterdir()} - {"vendored.json"}
    assert stated["sha256"] == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    assert "LICENSE" in files
    assert re.fullmatch(r"\d+\.\d+\.\d+", stated["version"])
    (script,) = (folder / name for name in files if name.endswith(".js"))
    assert f"v{stated['version']}" in script.read_text()[:100]


def results_of(out: Path, plan: Plan) -> StudyResults:
    build(out, plan)
    return StudyResults.of(out)


def data_of(results: StudyResults) -> dict[str, object]:
    files = {s: {"id": f"s{i}", "figures": {}, "table": ""} for i, s in enumerate(results.store.study.settings)}
    return json.loads(json.dumps(explore_data(results, files), allow_nan=False))


def test_the_data_hold_every_score_of_every_run(tmp_path: Path) -> None:
    plan = Plan(queries=("random", "badge"), rounds=4, stop=lambda spec: 2 if spec.seed == 1 else None)
    data: dict[str, object] = data_of(results_of(tmp_path, plan))
    rows = {}
    for setting in data["settings"]:
        for method, seed, budget, paid, scores in setting["runs"]:
            for i, score in enumerate(scores[setting["names"].index("log_loss")]):
                dataset = data["parts"][0][setting["parts"][0]]
                label = data["methods"][method]["label"]
                rows[dataset, label, seed, setting["grids"][budget][i], setting["grids"][paid][i]] = score
    frame = rounds_table(Store.open(tmp_path))
    labels = {"random": "Random", "badge": "BADGE"}
    expected = {(r.dataset, labels[r.query], r.seed, r.budget, r.paid): r.log_loss for r in frame.itertuples()}
    assert rows == pytest.approx(expected, abs=1e-6)
    assert list(data["metrics"]) == ["accuracy", "balanced_accuracy", "log_loss"]
    assert data["t"] == pytest.approx([12.706205, 4.302653])  # Student's t at .975, 1 and 2 degrees of freedom


def test_metrics_beyond_the_size_limit_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = results_of(tmp_path, Plan(datasets=("digits",), queries=("random", "badge"), seeds=2, rounds=3))
    monkeypatch.setattr(data_module, "CAP_SCORES", 25)  # 12 rounds: two metrics
    monkeypatch.setattr(data_module, "CAP_CLASSES", 19)
    data = data_of(results)
    assert list(data["metrics"]) == ["accuracy", "balanced_accuracy"]
    assert data["left_out"] == ["log loss"]
    assert data["settings"][0]["classes"] is None


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script><!--\u202e"
    build(tmp_path, Plan(datasets=("digits",), queries=("random", "badge"), seeds=2, rounds=3, classes=[name, "b"]))
    html = report_module.Page(StudyResults.of(tmp_path)).html()
    text = re.search(r'id="explore-data">(.*?)</script>', html, re.DOTALL)
    assert text is not None
    assert json.loads(text[1])["settings"][0]["class_names"][0] == name
    assert "<" not in text[1]
    assert "\u202e" not in text[1]


def test_a_study_without_rounds_has_no_such_section(tmp_path: Path) -> None:
    build(tmp_path, Plan(datasets=("digits",), queries=("random",), seeds=1, stop=lambda spec: 0))
    html = report_module.Page(StudyResults.of(tmp_path)).html()
    assert "explore-data" not in html
    assert 'href="#explore"' not in html


def test_recalls_per_class_are_paired_by_seed(tmp_path: Path) -> None:
    plan = Plan(
        datasets=("digits",), queries=("random", "badge"), seeds=4, rounds=3, classes=CLASSES[:3],
        stop=lambda spec: 1 if (spec.query, spec.seed) == ("badge", 2) else None,
    )  # fmt: skip
    results = results_of(tmp_path, plan)
    setting = Setting("digits", "low(query_size=25)", "standard(recipe=short)")
    found = class_gains(results, setting)
    last = {(r.spec.query, r.spec.seed): results.store.rounds(r.spec)[-1] for r in results.runs if r.complete}
    for c in range(3):
        pairs = [last["badge", s].recalls[c] - last["random", s].recalls[c] for s in (0, 1, 3)]
        band = t_interval(pairs)
        assert (found["badge"].mean[c], found["badge"].low[c]) == pytest.approx((band.mean, band.low))
        assert found["random"].mean[c] == pytest.approx(np.mean([last["random", s].recalls[c] for s in range(4)]))
        assert found["badge"].labels[c] == np.mean([last["badge", s].labeled_classes[c] for s in (0, 1, 3)])
    assert (found["badge"].n, found["random"].n, found["badge"].against) == (3, 4, "random")
