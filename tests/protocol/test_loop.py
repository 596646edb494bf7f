"""The protocol on real images: ledger, sharing, leaks, reproducibility, the last round."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.faults import fault
from tests.studies import PARADIGM, REGIME, SEARCHING, contents, labels_of, study

from fathom.core.records import FathomError, RunSpec, Study
from fathom.core.streams import Streams
from fathom.core.work import WorkKind
from fathom.data.images import Subset
from fathom.engine.engine import data_root, run_study
from fathom.learn.tensor_file import from_bytes
from fathom.protocol import loop
from fathom.protocol.context import WorkerContext
from fathom.protocol.split import Split
from fathom.query.method import build_query
from fathom.store.store import Store
from fathom.store.tables import rounds_table

TOO_FEW_SAMPLES = fault(
    "labels",
    "budget, query or validation set larger than the data",
    "the last round takes the rest and says so; else refused before training",
)
HIDDEN_LABELS = fault(
    "labels",
    "hidden labels within reach of a method",
    "no label of the pool is in its arguments; each is read once, when bought",
)
ANOTHER_ORDER = fault("identity", "other workers, chunks, listing order, locale, hash seed", "the same store")

METHODS = ("random", "entropy", "least-confidence", "margin", "variation-ratios", "bald", "core-set", "badge")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A study of every kind of method, two seeds, an HP search and full data, run in this process."""
    out = tmp_path_factory.mktemp("whole") / "out"
    outcome = run_study(
        study(("random", "entropy", "bald", "core-set", "badge"), (0, 1), paradigm=SEARCHING, full_data=1),
        out,
        workers=0,
    )
    assert outcome.finished
    assert not outcome.failures
    return Store.open(out)


def test_every_cell_is_filled(whole: Store) -> None:
    table = rounds_table(whole)
    assert len(table) == 5 * 2 * 3
    assert table[["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece", "val_score"]].notna().all().all()
    assert table["accuracy"].between(0, 1).all()


def test_the_ledger(whole: Store) -> None:
    for spec in whole.study.runs:
        rounds = whole.rounds(spec)
        assert [r.budget for r in rounds] == [20, 30, 40]
        assert [r.paid for r in rounds] == [80, 90, 100]
        assert [sum(r.labeled_classes) for r in rounds] == [20, 30, 40]
        assert [len(r.queried) for r in rounds] == [10, 10, 0]  # nothing is asked after the last round
        bought = [i for r in rounds for i in r.queried]
        assert len(set(bought)) == len(bought)


def test_shared_work_says_how_long_it_took_and_on_what(whole: Store) -> None:
    (environment,) = whole.records("environments")
    for kind in (WorkKind.HP_SEARCH, WorkKind.ROUND_0, WorkKind.FULL_DATA):
        clocks = [clock for _, clock in whole.records(kind.folder).values()]
        assert clocks
        assert all(clock["environment"] == environment and clock["seconds"] > 0 for clock in clocks)


def test_queried_classes_are_the_true_ones(whole: Store) -> None:
    context = WorkerContext(whole, data_root(), torch.device("cpu"))
    for spec in whole.study.runs:
        split = context.split_of(spec)
        for r in whole.rounds(spec):
            assert labels_of(split.dataset)[r.queried].tolist() == r.queried_classes
            assert set(r.queried) <= set(split.train_ids.tolist()) - set(split.start_ids.tolist())


def test_methods_of_a_seed_share_round_0_but_for_dropout(whole: Store) -> None:
    first = {(s.query, s.seed): whole.rounds(s)[0].metrics for s in whole.study.runs}
    for seed in (0, 1):
        assert first["random", seed] == first["entropy", seed] == first["core-set", seed] == first["badge", seed]
        assert first["bald", seed] != first["random", seed]
    assert first["random", 0] != first["random", 1]
    assert len(whole.records("shared/round-0")) == 4  # two seeds, with and without dropout


def test_hps_are_chosen_once_and_the_whole_table_is_kept(whole: Store) -> None:
    ((content, _),) = whole.records("shared/hp-choice").values()
    assert content["seeds"] == [0, 1]
    assert [row["hparams"]["lr"] for row in content["table"]] == [0.1, 0.01]
    means = [row["mean"] for row in content["table"]]
    assert means == [pytest.approx(np.mean(row["scores"])) for row in content["table"]]
    assert content["chosen"] == content["table"][int(np.argmax(means))]["hparams"]
    for spec in whole.study.runs:
        assert all(r.hparams == content["chosen"] for r in whole.rounds(spec))


def test_the_chosen_arm_is_the_shared_round_0(whole: Store) -> None:
    """Search and round 0 train on the same set with the same streams, so their validation scores are the same."""
    ((content, _),) = whole.records("shared/hp-choice").values()
    scores = next(row["scores"] for row in content["table"] if row["hparams"] == content["chosen"])
    for spec in whole.study.runs:
        if spec.query == "random":
            assert whole.rounds(spec)[0].metrics["val_score"] == scores[spec.seed]


def test_full_data_is_trained_on_all_labels(whole: Store) -> None:
    ((content, _),) = whole.records("shared/full-data").values()
    split = WorkerContext(whole, data_root(), torch.device("cpu")).split("digits", whole.study.runs[0].regime, 0)
    assert content["budget"] == len(split.train_ids) > 1000


@ANOTHER_ORDER
def test_the_same_study_twice_is_the_same_store(whole: Store, tmp_path: Path) -> None:
    run_study(whole.study, tmp_path / "again", workers=0)
    assert contents(tmp_path / "again") == contents(whole.root)


@ANOTHER_ORDER
def test_workers_do_not_change_results(whole: Store, tmp_path: Path) -> None:
    outcome = run_study(whole.study, tmp_path / "two", workers=2)
    assert outcome.finished
    assert contents(tmp_path / "two") == contents(whole.root)


def test_a_finished_study_is_left_alone(whole: Store) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.root.rglob("*.json")}
    assert run_study(whole.study, whole.root, workers=0).finished
    assert {p: p.stat().st_mtime_ns for p in whole.root.rglob("*.json")} == before


# ---------------------------------------------------------------------------------------------------------- leaks


class Shuffled(WorkerContext):
    """A context whose hidden labels are shuffled: all but starting, validation and test labels."""

    def split_of(self, spec: RunSpec) -> Split:
        split = super().split_of(spec)
        labels = labels_of(split.dataset).copy()
        hidden = np.setdiff1d(split.train_ids, split.start_ids)
        labels[hidden] = np.random.default_rng(0).permutation(labels[hidden])
        return dataclasses.replace(split, dataset=dataclasses.replace(split.dataset, labels=labels))


@HIDDEN_LABELS
@pytest.mark.parametrize("method", [*METHODS, "batch-bald(draws=5)"])
def test_shuffled_hidden_labels_change_no_pick(method: str, tmp_path: Path) -> None:
    two_rounds = REGIME.replace("rounds=3", "rounds=2").replace("query_size=10", "query_size=5")
    spec = study((method,), regime=two_rounds).runs[0]
    picks, classes = [], []
    for name, kind in (("true", WorkerContext), ("shuffled", Shuffled)):
        store = Store(tmp_path / name)
        context = kind(store, data_root(), torch.device("cpu"))
        store.begin(Study("leak", (spec,)))
        store.begin_run(spec, context.split_of(spec).regime)
        from fathom.protocol.tune import choose_hparams

        choose_hparams(context, spec.setting)
        loop.run_rounds(context, spec)
        picks.append(store.rounds(spec)[0].queried)
        classes.append(store.rounds(spec)[0].queried_classes)
    assert picks[0] == picks[1]
    assert classes[0] != classes[1]  # the labels really were other ones


@HIDDEN_LABELS
def test_a_task_holds_no_label_of_the_pool() -> None:
    context = WorkerContext(Store("unused"), data_root(), torch.device("cpu"))
    context._check = lambda text, loaded: None  # type: ignore[method-assign]
    split = context.split("digits", study().runs[0].regime, 0)
    task = split.task(split.open()[1])
    known = len(task.labels) + len(task.val_labels)
    tensors = [v for v in vars(task).values() if isinstance(v, torch.Tensor)]
    assert sum(t.numel() for t in tensors) == known == 80
    assert len(task.pool) == len(split.train_ids) - 20


# ------------------------------------------------------------------------------------------------------ the end


@TOO_FEW_SAMPLES
def test_a_last_query_that_finds_too_little_takes_the_rest_and_says_so(tmp_path: Path) -> None:
    split = Split.draw(
        WorkerContext(Store(tmp_path / "x"), data_root(), torch.device("cpu")).dataset("digits"),
        _regime(20, 10),
        0,
        torch.device("cpu"),
    )
    pool = len(split.train_ids) - 20
    regime = f"custom(query_size={pool - 7}, rounds=3, start=20, val_size=60)"
    outcome = run_study(study(("random", "core-set"), regime=regime), tmp_path / "out", workers=0)
    assert outcome.finished
    store = Store.open(tmp_path / "out")
    for spec in store.study.runs:
        rounds = store.rounds(spec)
        assert [len(r.queried) for r in rounds] == [pool - 7, 7, 0]
        assert rounds[2].budget == len(split.train_ids)
        assert "took all" in rounds[1].notes[0]


def _regime(split: int, query_size: int):  # type: ignore[no-untyped-def]
    from fathom.core.records import LabelRegime

    return LabelRegime("x", split, query_size, 3, 60)


@TOO_FEW_SAMPLES
def test_a_regime_that_does_not_fit_is_refused_before_anything_trains(tmp_path: Path) -> None:
    too_much = study(regime="custom(query_size=400, rounds=9, start=20, val_size=60)")
    with pytest.raises(FathomError, match=r"does not fit.*custom\("):
        run_study(too_much, tmp_path / "out", workers=0)
    assert not (tmp_path / "out" / "shared").exists()


def test_draws_share_masks_over_the_whole_pool(whole: Store) -> None:
    """Predicting the pool in one piece or in two gives the same draws."""
    context = WorkerContext(whole, data_root(), torch.device("cpu"))
    spec = next(s for s in whole.study.runs if s.query == "bald")
    split = context.split_of(spec)
    key = loop.round_0_key(context, spec.setting, spec.seed, 0.5)
    state = from_bytes(whole.get_arrays(key, whole.get(key)[0]["tensors"]))  # type: ignore[index, arg-type]
    task = split.task(split.open()[1])
    restored = context.paradigm(spec.paradigm).restore(task, state, dropout=0.5)
    draws = Streams(0)("draws")
    once = torch.cat([p.log_probs for p in restored.stream(task.pool, 7, draws)])
    half = len(task.pool) // 2
    pieces = [Subset(task.pool, torch.arange(half)), Subset(task.pool, torch.arange(half, len(task.pool)))]
    twice = torch.cat([p.log_probs for piece in pieces for p in restored.stream(piece, 7, draws)])
    assert once.shape == (len(task.pool), 7, 10)
    torch.testing.assert_close(once, twice)
    assert PARADIGM


# ------------------------------------------------------------------------------------------------- HPs and pool


@pytest.mark.parametrize("grid", ["1e-09|2e-09", "2e-09|1e-09"])
def test_of_equally_good_hps_the_earlier_in_the_grid_is_chosen(tmp_path: Path, grid: str) -> None:
    """Learning rates so small that nothing is learned give equal scores."""
    paradigm = PARADIGM.replace("lr=0.1", f"lr={grid}, search=1")
    run_study(study(("random",), paradigm=paradigm), tmp_path / "out", workers=0)
    ((choice, _),) = Store.open(tmp_path / "out").records(WorkKind.HP_CHOICE.folder).values()
    first, second = choice["table"]
    assert first["mean"] == second["mean"] is not None
    assert choice["chosen"] == first["hparams"]
    assert first["hparams"]["lr"] == float(grid.split("|")[0])


def test_a_query_of_a_subsample_picks_from_all_of_the_pool(tmp_path: Path) -> None:
    query = "entropy(subsample=25)"
    run_study(study((query,)), tmp_path / "out", workers=0)
    store = Store.open(tmp_path / "out")
    (spec,), context = store.study.runs, WorkerContext(store, data_root(), torch.device("cpu"))
    split, labeled = context.split_of(spec), []
    for record in store.rounds(spec)[:-1]:
        pool = np.array(split.pool_ids([*split.start_ids.tolist(), *labeled]))
        positions = build_query(query).candidates(len(pool), Streams(spec.seed, record.round)("query"))
        assert positions is not None
        assert set(record.queried) <= set(pool[positions.numpy()].tolist())
        assert not set(record.queried) <= set(pool[:25].tolist())
        labeled += record.queried


# ----------------------------------------------------------------------------------------------------- dropout


def test_with_dropout_for_all_every_method_has_the_same_classifier(tmp_path: Path) -> None:
    """Search, round 0 and full data have the dropout of the runs; a prediction does not depend on a method's draws."""
    paradigm = SEARCHING.replace("batch_size", "dropout=all, batch_size")
    queries = ("random", "bald", "bald(draws=5)", "entropy")
    assert run_study(study(queries, paradigm=paradigm, full_data=1), tmp_path / "out", workers=0).finished
    store = Store.open(tmp_path / "out")
    first = [store.rounds(spec)[0].metrics for spec in store.study.runs]
    assert all(metrics == first[0] for metrics in first)
    ((choice, _),) = store.records("shared/hp-choice").values()
    scores = next(row["scores"] for row in choice["table"] if row["hparams"] == choice["chosen"])
    assert first[0]["val_score"] == scores[0]
    assert [content["dropout"] for content, _ in store.records("shared/round-0").values()] == [0.5]


def test_metrics_of_a_classifier_with_dropout_are_those_of_the_mean_of_its_draws(tmp_path: Path) -> None:
    paradigm = PARADIGM.replace("batch_size", "dropout=all, batch_size")
    run_study(study(("random",), paradigm=paradigm), tmp_path / "out", workers=0)
    store = Store.open(tmp_path / "out")
    (spec,), context = store.study.runs, WorkerContext(store, data_root(), torch.device("cpu"))
    split, metrics = context.split_of(spec), store.rounds(spec)[0].metrics
    key = loop.round_0_key(context, spec.setting, 0, 0.5)
    state = from_bytes(store.get_arrays(key, store.get(key)[0]["tensors"]))  # type: ignore[index, arg-type]
    classifier = context.paradigm(spec.paradigm).restore(split.task(split.open()[1]), state, dropout=0.5)
    images, truth = split.dataset.test_images, split.dataset.test_labels
    draws = torch.cat([p.log_probs for p in classifier.stream(images, 50, Streams(0)("draws"))])
    mean = draws.double().exp().mean(dim=1).numpy()
    assert metrics["accuracy"] == pytest.approx((mean.argmax(1) == truth).mean())
    assert metrics["log_loss"] == pytest.approx(-np.log(mean[np.arange(len(truth)), truth]).mean(), rel=1e-5)


def test_entropy_of_a_classifier_with_dropout_is_that_of_the_mean_of_its_draws(tmp_path: Path) -> None:
    paradigm = PARADIGM.replace("batch_size", "dropout=all, batch_size")
    run_study(study(("entropy",), paradigm=paradigm), tmp_path / "out", workers=0)
    store = Store.open(tmp_path / "out")
    (spec,), context = store.study.runs, WorkerContext(store, data_root(), torch.device("cpu"))
    split, record = context.split_of(spec), store.rounds(spec)[0]
    key = loop.round_0_key(context, spec.setting, 0, 0.5)
    state = from_bytes(store.get_arrays(key, store.get(key)[0]["tensors"]))  # type: ignore[index, arg-type]
    classifier = context.paradigm(spec.paradigm).restore(split.task(split.open()[1]), state, dropout=0.5)
    images = Subset(split.dataset.images, torch.tensor(record.queried))
    draws = torch.cat([p.log_probs for p in classifier.stream(images, 50, Streams(0, 0)("draws"))])
    mean = draws.double().exp().mean(dim=1)
    entropy = -(mean * mean.log()).sum(dim=1)
    assert record.scores == pytest.approx(entropy.tolist(), abs=1e-4)
