"""A training that is not finite: the whole setting again with the change that the study declares, told and kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults import fault
from tests.studies import PARADIGM, REGIME, SEARCHING, SELF_SL, SEMI_SL, study

from fathom.core.records import FathomError, NonFiniteError, Study
from fathom.design.study_file import load_study
from fathom.engine.engine import run_study
from fathom.learn import build_paradigm, predict
from fathom.learn.paradigms import self_sl
from fathom.learn.paradigms.standard import Standard
from fathom.protocol.tune import retried
from fathom.registry import registry
from fathom.results.failures import failures_of, retry_note
from fathom.store.store import Store
from fathom.store.tables import rounds_table

DIVERGED = fault(
    "methods",
    "training that is not finite",
    "typed failure that stays visible; a declared retry for all runs of the setting",
)


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


@DIVERGED
def test_all_runs_of_the_setting_are_done_again_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverging(monkeypatch, 0.05)
    outcome = run_study(laddered("fp32", "lr/10"), tmp_path / "out", workers=0)
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
    assert set(rounds_table(store)["round"]) == {0, 1, 2}


@DIVERGED
def test_without_a_declaration_the_failure_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverging(monkeypatch, 0.05)
    outcome = run_study(laddered(), tmp_path / "out", workers=0)
    assert not outcome.finished
    assert len(outcome.failures) == 4
    assert not (tmp_path / "out/shared/retries").exists()


@DIVERGED
def test_a_ladder_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = diverging(monkeypatch, 0.0)
    outcome = run_study(laddered("lr/10", "lr/10"), tmp_path / "out", workers=0)
    assert not outcome.finished
    assert {round(lr, 6) for lr in tried} == {0.1, 0.01, 0.001}


def test_going_on_after_a_retry_does_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = diverging(monkeypatch, 0.05)
    assert run_study(laddered("lr/10"), tmp_path / "out", workers=0).finished
    tried.clear()
    assert run_study(laddered("lr/10"), tmp_path / "out", workers=0).finished
    assert tried == []


@fault("methods", "scores that are not finite", "typed failure of the method alone, nothing selected")
def test_a_score_that_is_not_finite_is_the_method_s_own_affair(tmp_path: Path) -> None:
    """Nobody else's HPs are changed for it."""
    plugin = tmp_path / "odd.py"
    plugin.write_text(
        "import torch\nfrom fathom import score\n\n@score('nan')\ndef nan(view):\n"
        '    """Gives no number."""\n    return torch.full((len(view),), float(\'nan\'))\n'
    )
    registry.add_file(plugin)
    try:
        outcome = run_study(replace(study(("random", "odd/nan")), retry=("lr/10",)), tmp_path / "out", workers=0)
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
    assert run_study(laddered("lr/10"), out, workers=0).finished
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
    assert run_study(toy, out, workers=0).finished
    assert Store(out).retries(toy.settings[0]) == ["fp32", "lr/10"]


def test_a_search_of_which_nothing_is_finite_is_done_again_with_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tried = Standard.fit, []

    def fit(self, task, hparams, state, streams, **options):  # type: ignore[no-untyped-def]
        tried.append(hparams["lr"])
        if hparams["lr"] > 0.0015:
            raise NonFiniteError("the loss was inf in step 2 of epoch 0")
        return real(self, task, hparams, state, streams, **options)

    monkeypatch.setattr(Standard, "fit", fit)
    out, toy = tmp_path / "out", replace(study(("random", "entropy"), paradigm=SEARCHING), retry=("lr/10",))
    assert run_study(toy, out, workers=0).finished
    store, setting = Store.open(out), toy.settings[0]
    assert store.retries(setting) == ["search: lr/10"]
    ((choice, _),) = store.records("shared/hp-choice").values()
    assert [row["hparams"]["lr"] for row in choice["table"]] == [pytest.approx(0.01), pytest.approx(0.001)]
    assert (choice["table"][0]["mean"], choice["retries"]) == (None, ["search: lr/10"])
    assert {r.hparams["lr"] for spec in toy.runs for r in store.rounds(spec)} == {0.001}, "the change is made once"
    assert [f["kind"] for f in store.failures()] == ["hp-choice"]
    tried.clear()
    assert run_study(toy, out, workers=0).finished
    assert tried == []
    assert retry_note(store.retries(setting)).endswith("learning rate (lr/10) in the HP search.")


def test_a_search_without_a_ladder_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(self, *given, **options):  # type: ignore[no-untyped-def]
        raise NonFiniteError("the loss was inf in step 2 of epoch 0")

    monkeypatch.setattr(Standard, "fit", fit)
    outcome = run_study(study(("random",), paradigm=SEARCHING), tmp_path / "out", workers=0)
    assert not outcome.finished
    assert ["diverged; give it a smaller lr" in f["message"] for f in outcome.failures] == [True]


def pretraining(monkeypatch: pytest.MonkeyPatch, seed: int, above: float) -> list[tuple[int, float]]:
    """Pre-training of one seed with a learning rate above some value is not finite; (seed, rate) of all that began."""
    real, tried = self_sl.train_simclr, []

    def pretrain(unlabeled, network, how, stream, checkpointer):  # type: ignore[no-untyped-def]
        tried.append((stream.seed, how.lr))
        if stream.seed == seed and how.lr > above:
            raise NonFiniteError("the loss was inf in step 1 of epoch 0")
        return real(unlabeled, network, replace(how, epochs=1, warmup=0), stream, checkpointer)

    monkeypatch.setattr(self_sl, "train_simclr", pretrain)
    return tried


def test_pre_training_is_done_again_for_every_seed_and_setting_that_shares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    tried = pretraining(monkeypatch, 1, 0.01)
    few = "custom(query_size=5, rounds=2, start=20, val_size=60)"
    first, other = (study(("random",), (0, 1), regime=regime, paradigm=SELF_SL) for regime in (REGIME, few))
    plain = study(("random",), (0,))
    toy = Study("toy", first.runs + other.runs + plain.runs, retry=("fp32", "lr/10"))
    out = tmp_path / "out"
    assert run_study(toy, out, workers=0).finished
    store = Store.open(out)
    changes = {setting: store.retries(setting) for setting in toy.settings}
    assert list(changes.values()) == [["pre-training: lr/10"], ["pre-training: lr/10"], []]
    assert tried == [(0, 0.05), (1, 0.05), (0, pytest.approx(0.005)), (1, pytest.approx(0.005))]
    records = [content for content, _ in store.records("shared/pretrain").values()]
    with_retry = sorted((r["seed"], "pretrain_lr=0.005" in r["preparation"]) for r in records)
    assert with_retry == [(0, False), (0, True), (1, True)]
    assert {store.run_name(spec)[-2:] for spec in toy.runs if spec.paradigm.startswith("self-sl")} == {"-1"}
    assert {r.hparams["lr"] for spec in first.runs for r in store.rounds(spec)} == {0.01}, "fine-tuning is as it was"
    assert all(f["resolved"] for f in failures_of(store, {s: store.complete(s) for s in toy.runs}, lambda name: True))
    tried.clear()
    assert run_study(toy, out, workers=0).finished
    assert tried == []


def test_features_of_an_encoder_follow_its_pre_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    tried = pretraining(monkeypatch, 1, 0.01)
    frozen = "frozen(backbone=simclr, pretrain=short, epochs=2, epoch_size=64, lr=0.1, weight_decay=0.1)"
    toy = replace(study(("random",), (0, 1), paradigm=frozen), retry=("lr/10",))
    assert run_study(toy, tmp_path / "out", workers=0).finished
    store = Store.open(tmp_path / "out")
    assert {round(lr, 6) for _, lr in tried} == {0.05, 0.005}
    valid = [c for c, _ in store.records("shared/features").values() if "pretrain_lr=0.005" in c["backbone"]]
    assert sorted(c["seed"] for c in valid) == [0, 1]


def test_what_a_pre_training_can_be_eased_by() -> None:
    short = build_paradigm("self-sl(recipe=short)")
    assert short.with_retry("lr/10", "digits").pretraining("digits").lr == pytest.approx(0.005)
    assert build_paradigm("self-sl").with_retry("lr/10", "isic").pretraining("isic").lr == pytest.approx(0.48)
    precise = short.with_retry("fp32", "digits")
    assert precise.pretraining("digits") == replace(short.pretraining("digits"), precision="fp32")
    assert precise.with_retry("fp32", "digits") is None, "twice changes nothing"
    names = {p.preparation for p in (short, precise, short.with_retry("lr/10", "digits"))}
    assert len(names) == 3
    assert build_paradigm('self-sl(encoder="0123456789ab")').with_retry("lr/10", "digits") is None
    assert [build_paradigm(p).with_retry("fp32", "cifar") for p in ("standard", "semi-sl", "frozen")] == [None] * 3
    source = build_paradigm("frozen(backbone=simclr, pretrain=short)")
    both = source.with_retry("fp32", "digits").with_retry("lr/10", "digits")
    assert both.preparation == precise.with_retry("lr/10", "digits").preparation
    assert both.backbone != source.backbone


def test_the_precision_of_the_hyper_parameters_is_predicted_in_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In validation, test, pool, and by the restored classifier of round 0."""
    real, seen = predict.autocast, []

    def autocast(device, precision):  # type: ignore[no-untyped-def]
        seen.append(precision)
        return real(device, precision)

    monkeypatch.setattr(predict, "autocast", autocast)
    for number, paradigm in enumerate((PARADIGM, SEMI_SL, SELF_SL)):
        toy, out = replace(study(("entropy",), paradigm=paradigm), retry=("fp32",)), tmp_path / str(number)
        assert run_study(toy, out, workers=0).finished
        assert set(seen) == {"auto"}
        Store(out).retry(toy.settings[0], 1, "fp32", "on a GPU a loss was inf")
        seen.clear()
        assert run_study(toy, out, workers=0).finished
        assert set(seen) == {"fp32"}
        seen.clear()


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
