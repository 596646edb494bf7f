"""A training that is not finite: the whole setting again with the change that the study declares, told and kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.run.studies import PARADIGM, study

from fathom import registry
from fathom.learn.standard import Standard
from fathom.records import FathomError, NonFiniteError, Study
from fathom.run.backends import run
from fathom.run.tune import retried
from fathom.store import Store
from fathom.study.design import load_study


def diverging(monkeypatch: pytest.MonkeyPatch, above: float) -> list[float]:
    """Trainings of later rounds with a learning rate above some value are not finite; the rates that were tried."""
    real, tried = Standard.fit, []

    def fit(self, task, hparams, state, streams, **options):  # type: ignore[no-untyped-def]
        tried.append(hparams["lr"])
        if streams.round == 1 and hparams["lr"] > above:
            raise NonFiniteError("the loss was inf in step 2 of epoch 0")
        return real(self, task, hparams, state, streams, **options)

    monkeypatch.setattr(Standard, "fit", fit)
    return tried


def laddered(*changes: str) -> Study:
    return replace(study(("random", "entropy"), (0, 1)), retry=changes)


def test_all_runs_of_the_setting_are_done_again_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverging(monkeypatch, 0.05)
    outcome = run(laddered("fp32", "lr/10"), tmp_path / "out", workers=0)
    assert outcome.finished
    store = Store.open(tmp_path / "out")
    setting = store.study.settings[0]
    assert store.retries(setting) == ["lr/10"], "float32 is what a CPU trains in anyway"
    for spec in store.study.runs:
        rounds = store.rounds(spec)
        assert len(rounds) == 3
        assert {r.hparams["lr"] for r in rounds} == {0.01}
        assert (store.root / f"runs/{spec.key}").is_dir(), "what was done before stays"
        assert store.run_name(spec) == f"runs/{spec.key}-1"
    failures = [f for f in store.failures() if f["error"] == "NonFiniteError"]
    assert len(failures) == 4
    assert all(f["retries"] == 0 and "step 2 of epoch 0" in f["message"] for f in failures)
    (record,) = store.records("shared/retries").values()
    assert "step 2 of epoch 0" in record[0]["because"]
    assert set(store.table()["round"]) == {0, 1, 2}


def test_without_a_declaration_the_failure_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverging(monkeypatch, 0.05)
    outcome = run(laddered(), tmp_path / "out", workers=0)
    assert not outcome.finished
    assert len(outcome.failures) == 4
    assert not (tmp_path / "out/shared/retries").exists()


def test_a_ladder_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = diverging(monkeypatch, 0.0)
    outcome = run(laddered("lr/10", "lr/10"), tmp_path / "out", workers=0)
    assert not outcome.finished
    assert {round(lr, 6) for lr in tried} == {0.1, 0.01, 0.001}


def test_going_on_after_a_retry_does_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = diverging(monkeypatch, 0.05)
    assert run(laddered("lr/10"), tmp_path / "out", workers=0).finished
    tried.clear()
    assert run(laddered("lr/10"), tmp_path / "out", workers=0).finished
    assert tried == []


def test_a_score_that_is_not_finite_is_the_method_s_own_affair(tmp_path: Path) -> None:
    """Nobody else's HPs are changed for it."""
    plugin = tmp_path / "odd.py"
    plugin.write_text(
        "import torch\nfrom fathom import score\n\n@score('nan')\ndef nan(view):\n"
        '    """Gives no number."""\n    return torch.full((len(view),), float(\'nan\'))\n'
    )
    registry.add_file(plugin)
    try:
        outcome = run(replace(study(("random", "odd/nan")), retry=("lr/10",)), tmp_path / "out", workers=0)
    finally:
        registry._files.clear()
        registry.index.cache_clear()
    assert (outcome.finished, outcome.complete) == (False, 1)
    assert Store.open(tmp_path / "out").retries(outcome_setting(tmp_path)) == []


def outcome_setting(tmp_path: Path) -> tuple[str, str, str]:
    setting: tuple[str, str, str] = Store.open(tmp_path / "out").study.settings[0]
    return setting


def test_a_retry_that_another_process_declares_waits_for_the_end_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that began under one form of its setting ends under it, and is then done again under the new one."""
    real, out = Standard.fit, tmp_path / "out"
    declared: list[str] = []

    def fit(self, task, hparams, state, streams, **options):  # type: ignore[no-untyped-def]
        if streams.round == 1 and not declared:
            declared.append("now")
            Store.open(out).retry(Store.open(out).study.settings[0], 1, "lr/10", "elsewhere a loss was inf")
        return real(self, task, hparams, state, streams, **options)

    monkeypatch.setattr(Standard, "fit", fit)
    assert run(laddered("lr/10"), out, workers=0).finished
    store = Store.open(out)
    for spec in store.study.runs:
        for folder, lr in ((f"runs/{spec.key}", 0.1), (f"runs/{spec.key}-1", 0.01)):
            files = sorted((out / folder).glob("round-*.json"))
            assert len(files) == 3
            assert {json.loads(f.read_text())["content"]["hparams"]["lr"] for f in files} == {lr}


def test_a_change_that_was_made_elsewhere_is_not_skipped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 was tried on a GPU; gone on with on a CPU, lr/10 comes next."""
    toy, out = laddered("fp32", "lr/10"), tmp_path / "out"
    Store(out).begin(toy)
    Store(out).retry(toy.settings[0], 1, "fp32", "on a GPU a loss was inf")
    diverging(monkeypatch, 0.05)
    assert run(toy, out, workers=0).finished
    assert Store(out).retries(toy.settings[0]) == ["fp32", "lr/10"]


def test_changes_of_hyper_parameters() -> None:
    chosen = {"lr": 0.1, "weight_decay": 0.01}
    assert retried(chosen, []) == chosen
    assert retried(chosen, ["fp32", "lr/10"]) == {"lr": pytest.approx(0.01), "weight_decay": 0.01, "precision": "fp32"}
    assert chosen == {"lr": 0.1, "weight_decay": 0.01}


def test_a_study_file_declares_it(tmp_path: Path) -> None:
    text = f"""
name = "toy"
datasets = ["digits"]
regimes = ["low"]
paradigms = ["{PARADIGM}"]
queries = ["random"]
seeds = 1
retry = ["lr/10"]
"""
    path = tmp_path / "toy.toml"
    path.write_text(text)
    assert load_study(path).retry == ("lr/10",)
    assert Study.from_json(load_study(path).to_json()) == load_study(path)
    path.write_text(text.replace("lr/10", "pray"))
    with pytest.raises(FathomError, match=r"retry.*fp32.*lr/10"):
        load_study(path)
