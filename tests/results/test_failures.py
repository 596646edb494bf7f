"""Retried settings: their numbers carry a note, and the failures stay listed."""

from pathlib import Path

import pytest
from tests.report.test_report import Page, made
from tests.results.synthetic import CLASSES, Plan, build, regime_of, rounds_of

from fathom.core.records import digest
from fathom.report import report as report_module
from fathom.report.summary import warnings
from fathom.results.failures import retry_note
from fathom.results.results import StudyResults
from fathom.store.store import Store

PLAN = Plan(datasets=("digits", "digits-lt"), queries=("random", "badge"), seeds=2, rounds=3, classes=CLASSES[:3])
MESSAGE = "the loss is not finite in epoch 3, step 7"


@pytest.fixture
def retried(tmp_path: Path) -> Store:
    """A store whose second setting was repeated with a tenth of the learning rate; one of its four runs is open."""
    store = build(tmp_path, PLAN)
    setting = store.study.settings[1]
    runs = [spec for spec in store.study.runs if spec.setting == setting]
    for spec, kind, job in [
        (runs[1], "run", f"runs/{runs[1].key}"),
        (runs[3], "run", f"runs/{runs[3].key}"),
        (runs[0], "round-0", "shared/round-0/0123"),
    ]:
        content = {"job": job, "what": f"{kind} {spec}", "kind": kind, "setting": list(setting), "retries": 0}
        content |= {"query": spec.query if kind == "run" else "", "seed": spec.seed, "error": "NonFiniteError"}
        clock = {"session": "s", "finished": "2026-11-22T23:00:00+00:00"}
        store.fail(f"{kind}-{digest(job, 6)}", content | {"message": MESSAGE, "traceback": ""}, clock)
    store.retry(setting, 1, "lr/10", MESSAGE)
    full_data = {**dict(zip(("dataset", "regime", "paradigm"), setting, strict=True)), "seed": 0, "budget": 1180}
    full_data |= {"hparams": {"lr": 0.01}, "metrics": {"accuracy": 0.9}, "recalls": [0.9] * 3}
    store.put(
        f"shared/full-data/{digest([*setting, 0, 'lr/10'], 16)}", full_data, {"seconds": 1.0, "environment": "abc"}
    )
    regime = regime_of(PLAN, setting[2])
    for spec in runs:
        store.begin_run(spec, regime)
        for record in rounds_of(spec, regime, PLAN)[: 2 if spec == runs[3] else None]:
            store.commit(spec, record)
    return store


def test_only_the_rounds_of_the_retry_count(retried: Store) -> None:
    results = StudyResults.of(retried.root)
    assert [run.done for run in results.runs] == [3, 3, 3, 3, 3, 3, 3, 2]
    assert len(results.frame) == 23
    assert results.full_data_score(results.store.study.settings[0]) == 0.975
    assert results.full_data_score(results.store.study.settings[1]) == 0.9  # that of the first form is left out


def test_a_failure_is_made_good_by_the_run_that_took_its_place(retried: Store) -> None:
    failures = StudyResults.of(retried.root).failures
    assert {f["what"].split()[-2:][0] + f["what"].split()[-1]: f["resolved"] for f in failures} == {
        "badgeseed=0": True,
        "badgeseed=1": False,
        "randomseed=0": True,
    }
    assert {f["retried"] for f in failures} == {"with a tenth of the learning rate (lr/10)"}


@pytest.mark.usefixtures("undrawn")
def test_every_table_of_the_setting_says_it(retried: Store) -> None:
    page, tables = made(retried.root)
    note = retry_note(["lr/10"])
    assert "repeated with a tenth of the learning rate (lr/10)" in note
    own = [name for name in tables if name.startswith("digits-lt-low-standard")]
    assert len(own) == 4
    assert all(note in tables[name].note for name in own)
    assert not any("repeated" in tables[name].note for name in tables if name.startswith("digits-low-standard"))
    for name in ("across", "penalty", "times"):
        assert f"In digits-lt · low · standard: {note}" in tables[name].note, name
    assert "In digits-lt" in dict(warnings(StudyResults.of(retried.root)))["Retried settings"]
    assert "Retried: all runs of digits-lt · low · standard, with lr/10" in page.text
    assert page.text.count(MESSAGE) == 4  # the retry and the three failures, which stay listed
    assert page.text.count("(the setting was repeated with a tenth of the learning rate (lr/10); completed)") == 2


@pytest.mark.usefixtures("undrawn")
def test_a_study_without_retries_says_nothing_of_them(tmp_path: Path) -> None:
    build(tmp_path, PLAN)
    text = Page(report_module.Page(StudyResults.of(tmp_path)).html()).text
    assert "retried" not in text.lower()
    assert "repeated" not in text.lower()


def test_a_failure_of_before_there_were_retries_is_read(tmp_path: Path) -> None:
    store = build(tmp_path, PLAN)
    content = {"job": f"runs/{store.study.runs[0].key}", "what": "a run", "error": "OSError", "message": "full"}
    store.fail("run-old", {**content, "kind": "run", "traceback": ""}, {"session": "s", "finished": ""})
    (failure,) = StudyResults.of(tmp_path).failures
    assert (failure["resolved"], failure["retried"]) == (True, "")
