"""Test predictions that rounds keep: what is kept, what comes back, and what becomes of damage."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load as unpack
from tests.faults import fault
from tests.studies import contents, study

import fathom
from fathom.core.records import FathomError, Round, RunSpec, Study
from fathom.data import load
from fathom.design.study_file import load_study
from fathom.engine.engine import data_root, run_study
from fathom.engine.watch import Interrupted
from fathom.learn.tensor_file import to_bytes
from fathom.protocol.predictions import LOWEST, keep_predictions
from fathom.recheck.recheck import recheck
from fathom.store import atomic_files
from fathom.store.atomic_files import DamageWarning
from fathom.store.store import PREDICTIONS, TEST_LABELS, Store

QUERIES = ("random", "entropy")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two methods and three rounds that keeps the first and the last of them."""
    root = tmp_path_factory.mktemp("kept") / "out"
    assert run_study(study(QUERIES), root, workers=0).finished
    return root


def files(root: Path) -> list[Path]:
    return sorted((root / PREDICTIONS).glob("*"))


def kept_rounds(root: Path) -> list[list[int]]:
    store = Store.open(root)
    return [[r.round for r in store.rounds(spec) if r.predictions] for spec in store.study.runs]


def test_ends_are_kept_and_round_0_once_for_all_methods(out: Path) -> None:
    assert kept_rounds(out) == [[0, 2], [0, 2]]
    assert len(files(out)) == 3
    t = len(load("digits", data_root()).test_labels)
    assert all(2 * t * 10 < path.stat().st_size < 2 * t * 10 + 200 for path in files(out))


def test_they_come_back_with_the_labels_and_the_metrics_of_the_round(out: Path) -> None:
    store, found = Store.open(out), list(fathom.predictions(out))
    assert [(p.run.query, p.round, p.budget) for p in found] == [
        ("random", 0, 20), ("random", 2, 40), ("entropy", 0, 20), ("entropy", 2, 40)]  # fmt: skip
    for p in found:
        assert np.array_equal(p.labels, load("digits", data_root()).test_labels)
        assert np.allclose(np.exp(p.log_probs).sum(axis=1), 1, atol=0.002)
        committed = {k: v for k, v in store.rounds(p.run)[p.round].metrics.items() if k != "val_score"}
        assert p.metrics() == pytest.approx(committed, abs=0.002)


def test_a_part_of_them(out: Path) -> None:
    (last,) = fathom.predictions(out, only=["query=entropy"], round=-1)
    assert (last.run.query, last.round) == ("entropy", 2)
    assert [p.round for p in fathom.predictions(out, round=0)] == [0, 0]
    with pytest.raises(FathomError, match="no kept test predictions of these rounds"):
        fathom.predictions(out, round=1)


@pytest.mark.parametrize(("keep", "rounds"), [("all", [[0, 1, 2]]), ("none", [[]])])
def test_all_or_none_by_the_study_file(keep: str, rounds: list[list[int]], out: Path, tmp_path: Path) -> None:
    """What is kept decides no number, so the rounds are the same."""
    made = replace(study(("random",)), keep=keep)
    assert run_study(made, tmp_path / "out", workers=0).finished
    assert kept_rounds(tmp_path / "out") == rounds
    one, other = contents(tmp_path / "out"), contents(out)
    assert {name: data for name, data in one.items() if name.startswith("runs/")}.items() <= other.items()


def test_the_study_file_says_it(tmp_path: Path) -> None:
    axes = {"datasets": "digits", "regimes": "low", "paradigms": "standard", "queries": "random"}
    text = 'name = "a"\nseeds = 1\n' + "".join(f'{axis} = ["{value}"]\n' for axis, value in axes.items())
    path = tmp_path / "a.toml"
    path.write_text(text)
    assert load_study(path).keep == "ends"
    path.write_text(text + 'keep = "all"\n')
    assert load_study(path).keep == "all"
    path.write_text(text + 'keep = "some"\n')
    with pytest.raises(FathomError, match=r"keep: .*'ends', 'all' or 'none'"):
        load_study(path)


def test_it_may_change_later_and_a_study_from_before_goes_on(out: Path, tmp_path: Path) -> None:
    """A study file without the word, as an earlier version wrote it, is one that keeps the ends."""
    begun = Store(tmp_path / "out")
    begun.begin(study(("random",)))
    data = {key: value for key, value in begun.study.to_json().items() if key != "keep"}
    assert Study.from_json(data) == study(("random",))
    assert run_study(replace(study(("random",)), keep="none"), begun.root, workers=0).finished
    assert run_study(replace(study(("random",)), keep="all"), begun.root, workers=0).finished
    assert Store.open(begun.root).study.keep == "all"
    with pytest.raises(FathomError, match="Expected rounds that were run with keep"):
        fathom.predictions(begun.root)


def test_the_rule_for_rounds() -> None:
    keeps = {keep: [replace(study(), keep=keep).keeps(n, 4) for n in range(4)] for keep in ("ends", "all", "none")}
    assert keeps == {"ends": [True, False, False, True], "all": [True] * 4, "none": [False] * 4}


def test_a_probability_of_almost_nothing_stays_finite(tmp_path: Path) -> None:
    store = Store(tmp_path)
    name = keep_predictions(store, np.array([[0.0, -1e300], [np.log(0.5), np.log(0.5)]]))
    data = store.get_named_by_content(PREDICTIONS, name)
    assert data is not None
    assert unpack(data)["log_probs"].tolist() == [[0.0, LOWEST], [-0.693359375, -0.693359375]]


def test_a_plan_tells_the_size_that_is_kept(tmp_path: Path) -> None:
    for keep in ("ends", "all", "none"):
        made = replace(study(QUERIES), keep=keep)
        plan = fathom.plan(made, probe=False)
        run_study(made, tmp_path / keep, workers=0)
        kept = sum(path.stat().st_size for path in files(tmp_path / keep))
        assert plan.predictions_bytes <= kept <= plan.predictions_bytes + 200 * len(files(tmp_path / keep))
        assert f"{plan.predictions_bytes / 1e6:.1f} MB of it test predictions" in dict(plan.lines())["disk"]


# ---------------------------------------------------------------------------------------------- damage and kills


@fault("store", "ended between kept test predictions and their round", "the same store as an uninterrupted run")
def test_they_are_written_before_the_round_that_names_them(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills at every write are in `tests/engine/test_resume.py`; its stores are compared with these files too."""
    commit, folder = Store.commit, tmp_path / "out"

    def end(self: Store, spec: RunSpec, record: Round) -> None:
        if (spec.query, record.round) == ("entropy", 2):
            raise KeyboardInterrupt
        commit(self, spec, record)

    monkeypatch.setattr(Store, "commit", end)
    with pytest.raises(Interrupted):
        run_study(study(QUERIES), folder, workers=0)
    assert kept_rounds(folder) == [[0, 2], [0]]
    assert [p.name for p in files(folder)] == [p.name for p in files(out)]
    monkeypatch.setattr(Store, "commit", commit)
    assert run_study(study(QUERIES), folder, workers=0).finished
    assert contents(folder) == contents(out)


@fault("store", "kept test predictions damaged or gone", "told and left out; recheck finds it; nothing else changes")
def test_damage_is_told_and_changes_nothing_else(out: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    last = {p.run.query: p for p in fathom.predictions(copy, round=-1)}
    spec = last["random"].run
    path = copy / PREDICTIONS / f"{Store(copy).rounds(spec)[2].predictions}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.warns(DamageWarning, match="damaged or gone, so round 2 of .* is left out"):
        assert [p.run.query for p in fathom.predictions(copy, round=-1)] == ["entropy"]
    assert run_study(study(QUERIES), copy, workers=0).finished  # nothing to do
    found = recheck(copy, sample=100)
    (wrong,) = (o for o in found.outcomes if not o.same)
    assert wrong.differences == ["the kept test predictions are damaged or gone"]
    path.unlink()
    with pytest.warns(DamageWarning, match="damaged or gone"):
        assert len(list(fathom.predictions(copy))) == 3


def test_a_recheck_compares_them(out: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    assert recheck(copy, sample=100).sound
    store = Store(copy)
    record = store.rounds(store.open(copy).study.runs[1])[2]
    path = copy / store.run_name(store.study.runs[1]) / "round-02.json"
    other = keep_predictions(store, np.log(np.full((360, 10), 0.1)))
    content, clock = atomic_files.read_record(path)
    path.write_bytes(atomic_files.pack_record(content, {**clock, "predictions": other}))
    (wrong,) = (o for o in recheck(copy, sample=100).outcomes if not o.same)
    assert wrong.differences == [f"test predictions: {other[:12]} committed, {record.predictions[:12]} now"]


def test_labels_that_are_gone_come_back_with_the_next_call(out: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    (path,) = (copy / TEST_LABELS).glob("*.json")
    path.unlink()
    with pytest.raises(FathomError, match=r"test labels of digits, is damaged or gone\. Run the same study again"):
        fathom.predictions(copy)
    assert run_study(study(QUERIES), copy, workers=0).finished
    assert len(list(fathom.predictions(copy))) == 4


def test_a_file_of_a_stranger_is_damage(out: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    store = Store.open(copy)
    path = copy / store.run_name(store.study.runs[0]) / "round-02.json"
    content, clock = atomic_files.read_record(path)
    shapes = ({"log_probs": torch.zeros(5, 10)}, {"log_probs": torch.zeros(360, 2)}, {"other": torch.zeros(360, 10)})
    for tensors in shapes:
        name = store.put_named_by_content(PREDICTIONS, to_bytes(tensors))
        path.write_bytes(atomic_files.pack_record(content, {**clock, "predictions": name}))
        with pytest.warns(DamageWarning, match="left out"):
            assert len(list(fathom.predictions(copy))) == 3
