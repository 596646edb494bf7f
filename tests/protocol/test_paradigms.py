"""Every paradigm follows one protocol: prepared once, trained every round, restored to the bit, with diagnostics."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.faults import fault
from tests.studies import FROZEN, PARADIGM, SELF_SL, SEMI_SL, contents, labels_of, study

from fathom.core.machine import Machine
from fathom.core.records import FathomError, RunSpec, Setting
from fathom.core.streams import Streams
from fathom.core.work import WorkKind
from fathom.data.dataset import DataRoot
from fathom.engine.engine import run_study
from fathom.engine.jobs import jobs_of
from fathom.estimate.plan import estimate_plan
from fathom.learn.paradigms.standard import Standard
from fathom.learn.task import Checkpointer
from fathom.protocol import loop
from fathom.protocol.context import WorkerContext
from fathom.protocol.dropout import dropout_of
from fathom.protocol.knn_eval import knn_probe, nearest_classes
from fathom.protocol.oracle import Oracle
from fathom.protocol.preparation import CacheWarning, features_of, prepare_state
from fathom.query.method import build_query
from fathom.store.record_store import RecordStore
from fathom.store.store import Store

DAMAGED_CACHE = fault("data", "damaged cache", "noticed and made again, with a warning")

PARADIGMS = {"standard": PARADIGM, "self-sl": SELF_SL, "semi-sl": SEMI_SL, "frozen": FROZEN}


def context_of(tmp_path: Path, cache: str = "cache") -> WorkerContext:
    store = Store(tmp_path / "store")
    return WorkerContext(store, DataRoot(tmp_path, tmp_path / cache, quiet=True), torch.device("cpu"))


@pytest.fixture(scope="module", params=PARADIGMS)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp(request.param) / "out"
    outcome = run_study(
        study(("random", "bald", "core-set", "badge"), (0,), paradigm=PARADIGMS[request.param]), out, workers=0
    )
    assert outcome.finished, outcome.failures
    return Store.open(out)


def test_a_study_ends_and_round_zero_is_shared(done: Store) -> None:
    first = {}
    for spec in done.study.runs:
        rounds = done.rounds(spec)
        assert [r.budget for r in rounds] == [20, 30, 40]
        first[spec.query] = rounds[0].metrics
    assert first["random"] == first["core-set"] == first["badge"]
    assert first["bald"] != first["random"], "the classifier with dropout is another one"


def test_what_it_shows_of_its_training_is_committed(done: Store) -> None:
    for spec in done.study.runs:
        for record in done.rounds(spec):
            if not spec.paradigm.startswith("semi-sl"):
                assert record.training == {}
                continue
            training = record.training
            assert 0 < training["pseudo_rate"] <= 1
            assert 0 <= training["pseudo_accuracy"] <= 1
            assert len(training["marginals"]) == 10
            assert sum(training["marginals"]) == pytest.approx(1, abs=1e-4)


def test_nothing_is_left_of_work_under_way(done: Store) -> None:
    assert not list(done.root.glob(".work/*"))


def test_core_set_sees_the_encoder_and_badge_the_last_layer() -> None:
    assert [build_query(name).features for name in ("core-set", "badge", "entropy")] == ["encoder", "last", ""]


def test_features_are_what_the_last_layer_gets(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    train_split, split = context.train_split("digits", 0), context.split("digits", study().runs[0].regime, 0)
    paradigm, task = context.paradigm(SELF_SL), split.task(split.open()[1])
    state = paradigm.prepare(train_split.unlabeled, Streams(0)("pretrain"), context.data, Checkpointer())
    classifier = paradigm.fit(task, paradigm.grid(task)[0], state, Streams(0))
    prediction = next(iter(classifier.stream(split.dataset.test_images, 0, Streams(0)("draws"))))
    network = classifier.network  # type: ignore[attr-defined]
    assert not torch.equal(prediction.embeddings, prediction.features)
    torch.testing.assert_close(network.hidden(prediction.embeddings), prediction.features)
    torch.testing.assert_close(network.head(prediction.features).log_softmax(1), prediction.log_probs[:, 0])


# -------------------------------------------------------------------------------------------------------- shared


def test_an_encoder_is_trained_once_for_all_regimes_heads_and_methods(tmp_path: Path) -> None:
    other = SELF_SL.replace("recipe=short", "head=linear, recipe=short")
    regimes = (study().runs[0].regime, "custom(query_size=5, rounds=2, start=30, val_size=60)")
    runs = [r for p in (SELF_SL, other) for g in regimes for r in study(("random",), (0, 1), paradigm=p, regime=g).runs]
    toy = study()
    jobs = jobs_of(type(toy)("toy", tuple(runs), full_data=0), context_of(tmp_path))
    prepared = [job for job in jobs if job.kind == "pretrain"]
    assert [job.seed for job in prepared] == [0, 1]
    needing = [job for job in jobs if job.kind == "round-0"]
    assert len(needing) == 8
    assert all(any(p.name in job.needs for p in prepared) for job in needing)


def test_every_seed_and_recipe_has_an_encoder_of_its_own(tmp_path: Path) -> None:
    """Nothing that differs between two trainings of an encoder is left out of the name that it is kept under."""
    context = context_of(tmp_path)
    for paradigm, seed in ((SELF_SL, 0), (SELF_SL, 1), (SELF_SL.replace("pretrain_epochs=3", "pretrain_epochs=4"), 0)):
        prepare_state(context, Setting("digits", "", paradigm), seed)
    encoders = [content["tensors"] for content, _ in context.store.records(WorkKind.PRETRAIN.folder).values()]
    assert len(set(encoders)) == len(encoders) == 3


def test_a_kept_encoder_is_for_the_versions_that_made_it(tmp_path: Path) -> None:
    kept = []
    data = DataRoot(tmp_path, tmp_path / "cache", quiet=True)
    for number, (torch_version, unused) in enumerate((("1", "a"), ("1", "b"), ("2", "a"))):
        store = Store(tmp_path / str(number))
        store.put("environments/e", {"torch": torch_version, "scikit-learn": unused})
        context = WorkerContext(store, data, torch.device("cpu"), "e")
        prepare_state(context, Setting("digits", "", SELF_SL), 0)
        kept.append(len(RecordStore(data.cache).records(WorkKind.PRETRAIN)))
    assert kept == [1, 1, 2]


def test_another_study_takes_the_encoder_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    assert run_study(study(("random",), paradigm=SELF_SL), tmp_path / "a", workers=0).finished
    import fathom.learn.paradigms.self_sl as module

    monkeypatch.setattr(module, "train_simclr", None)  # nothing can be trained any more
    assert run_study(study(("random", "badge"), paradigm=SELF_SL), tmp_path / "b", workers=0).finished
    records = [Store(tmp_path / name).records("shared/pretrain") for name in "ab"]
    assert records[0] == records[1]
    name = next(iter(records[0].values()))[0]["tensors"]
    assert (tmp_path / "cache" / "encoders" / f"{name}.safetensors").is_file(), "and it can be asked for by name"
    by_name = SELF_SL.replace("pretrain_epochs=3", f'encoder="{name[:12]}"')
    assert run_study(study(("random",), paradigm=by_name), tmp_path / "c", workers=0).finished
    rounds = [Store.open(tmp_path / n).rounds(Store.open(tmp_path / n).study.runs[0]) for n in "ac"]
    assert [r.metrics for r in rounds[0]] == [r.metrics for r in rounds[1]], "the same encoder, the same numbers"


@DAMAGED_CACHE
def test_a_damaged_encoder_is_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    assert run_study(study(("random",), paradigm=SELF_SL), out, workers=0).finished
    before = contents(out)
    for path in (*out.glob("shared/pretrain/*.safetensors"), *(tmp_path / "cache").rglob("*.safetensors")):
        path.write_bytes(path.read_bytes()[:-8] + b"damaged!")
    for path in (*out.glob("runs/*/round-0[12].json"), *out.glob("shared/round-0/*")):
        path.unlink()
    with pytest.warns(match="SHA-256 of its arrays differs"):
        assert run_study(study(("random",), paradigm=SELF_SL), out, workers=0).finished
    after = {name: data for name, data in contents(out).items() if not name.startswith("quarantine")}
    assert after == before


def test_a_cache_that_cannot_be_written_costs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file in the place of the folder")
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    with pytest.warns(CacheWarning, match="could not be written to the cache"):
        assert run_study(study(("random",), paradigm=SELF_SL), tmp_path / "out", workers=0).finished


@DAMAGED_CACHE
def test_an_encoder_that_vanished_from_the_cache_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / "cache"))
    assert run_study(study(("random",), paradigm=SELF_SL), tmp_path / "a", workers=0).finished
    for path in (tmp_path / "cache/encoders").glob("*"):
        path.unlink()
    (record,) = (tmp_path / "cache/pretrain").glob("*.json")
    told = json.loads(record.read_text())
    record.write_text(json.dumps(told))  # as it was: other bits would conflict with it, were it still asked
    assert run_study(study(("badge",), paradigm=SELF_SL), tmp_path / "b", workers=0).finished
    assert len(list((tmp_path / "cache/encoders").glob("*.safetensors"))) == 1


def test_what_is_absent_is_refused_before_anything_trains(tmp_path: Path) -> None:
    for paradigm, words in (
        ("frozen(backbone=mobilenet_v2_uint8, weights=nope.npz)", "nope.npz"),
        ('self-sl(encoder="abcdefabcdef")', "no encoder abcdefabcdef"),
        ('frozen(backbone=encoder, weights="abcdefabcdef")', "no encoder abcdefabcdef"),
    ):
        with pytest.raises(FathomError, match=words):
            run_study(
                study(("random",), paradigm=paradigm), tmp_path / "out", workers=0, machine=Machine(data=tmp_path)
            )
        assert not list((tmp_path / "out").glob("shared/*/*.json"))
    # and nothing that was refused stands in the way of what is right
    assert run_study(study(("random",)), tmp_path / "out", workers=0).finished


def test_a_backbone_of_a_kept_encoder_needs_its_name() -> None:
    with pytest.raises(FathomError, match="SHA-256"):
        context_of(Path()).paradigm("frozen(backbone=encoder)")


def test_features_are_kept_and_their_change_is_refused(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    setting = Setting("digits", study().runs[0].regime, FROZEN)
    featured = features_of(context, setting, 0)
    plain = context.dataset("digits")
    flat = plain.images.take(torch.arange(len(plain.labels))).flatten(1).float()
    values = featured.images.take(torch.arange(len(plain.labels)))
    alive = flat.std(0) > 0
    torch.testing.assert_close(
        values[:, alive], ((flat - flat.mean(0)) / flat.std(0, correction=0))[:, alive], atol=2e-2, rtol=0
    )
    assert not values[:, ~alive].any()
    (record,) = context.store.records("shared/features").values()
    assert record[0]["dim"] == 192
    context.featured.clear()
    (path,) = (tmp_path / "store").glob("shared/features/*.json")
    path.unlink()
    context.store.put(f"shared/features/{path.stem}", {**record[0], "train_sha256": "other"})
    with pytest.raises(FathomError, match="train_sha256 differ"):
        features_of(context, setting, 0)


# ---------------------------------------------------------------------------------------------------- diagnostics


def test_pseudo_labels_are_judged_by_the_oracle(tmp_path: Path) -> None:
    """What a round says of its pseudo-labels is what an outsider with all labels finds."""
    assert run_study(study(("random",), paradigm=SEMI_SL), tmp_path / "out", workers=0).finished
    context = context_of(tmp_path)
    store = Store.open(tmp_path / "out")
    context.store = store
    spec = store.study.runs[0]
    split = context.split_of(spec)
    _, labeled = split.open()
    classifier, _ = loop.ActiveLearningRun.open(context, spec).train(0.0)
    pool = split.pool_ids(labeled.ids)
    chunks = classifier.stream(split.task(labeled).pool, 0, Streams(0)("draws"))
    probs = torch.cat([p.log_probs[:, 0].exp() for p in chunks]).numpy()
    sure = probs.max(1) >= 0.15
    right = (probs.argmax(1) == labels_of(split.dataset)[pool])[sure].mean()
    training = store.rounds(spec)[0].training
    assert training["pseudo_rate"] == pytest.approx(sure.mean(), abs=2 / len(pool))  # one may lie on the threshold
    assert training["pseudo_accuracy"] == pytest.approx(right, abs=0.01)


def test_pseudo_labels_are_judged_on_the_pool_before_the_query(tmp_path: Path) -> None:
    """One classifier, one pool: round 0 says the same whatever the query method then takes out of it."""
    big = "custom(query_size=300, rounds=2, start=20, val_size=60)"
    toy = study(("random", "entropy", "margin"), paradigm=SEMI_SL, regime=big)
    assert run_study(toy, tmp_path / "out", workers=0).finished
    store = Store.open(tmp_path / "out")
    assert len({json.dumps(store.rounds(spec)[0].training) for spec in toy.runs}) == 1
    assert len({json.dumps(store.rounds(spec)[1].training) for spec in toy.runs}) == 3


def test_nearest_classes_are_those_of_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    generator = torch.Generator().manual_seed(0)
    bank, asked = (torch.randn(n, 8, generator=generator) for n in (200, 50))
    labels = torch.randint(4, (200,), generator=generator)
    found = nearest_classes(asked, bank, labels, 4)
    knn = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)).fit(bank, labels)
    assert (found.numpy() == knn.predict(asked)).all()


def test_the_probe_sees_train_images_alone_and_bills_nobody(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    train_split = context.train_split("digits", 3)
    asked = []

    def embed(images):  # type: ignore[no-untyped-def]
        asked.append(images.ids)
        return images.take(torch.arange(len(images))).flatten(1).float()

    oracle = Oracle(train_split.dataset.vault)
    found = knn_probe(train_split, oracle, embed)
    assert set(asked[0].tolist()) <= set(train_split.train_ids.tolist())
    assert found["knn_accuracy"] > 0.9, "pixels of digits tell them apart"
    assert oracle.paid == 0
    assert oracle.looked_at == len(asked[0])


# -------------------------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize(
    ("paradigm", "query", "expected"),
    [
        ("auto", "random", 0.0),
        ("auto", "bald", 0.5),
        ("auto", "random(dropout=0.5)", 0.5),
        ("auto", "bald(dropout=0.3)", 0.3),
        ("all", "random", 0.5),
        ("all", "random(dropout=0)", 0.0),
        (0.2, "bald", 0.2),
    ],
)
def test_whose_dropout_goes_first(paradigm: str | float, query: str, expected: float) -> None:
    assert dropout_of(Standard(dropout=paradigm), build_query(query)) == expected


def test_the_matched_control_has_the_classifier_of_bald(tmp_path: Path) -> None:
    assert run_study(study(("bald", "random(dropout=0.5)", "random")), tmp_path / "out", workers=0).finished
    store = Store.open(tmp_path / "out")
    bald, control, plain = (store.rounds(spec)[0].metrics for spec in store.study.runs)
    assert bald == control
    assert plain != control


@pytest.mark.parametrize(
    "query", ["bald(dropout=0)", "random(dropout=1)", "entropy(dropout=much)", "random(dropout=none)"]
)
def test_dropout_that_cannot_be_is_refused(query: str) -> None:
    with pytest.raises(FathomError, match="dropout"):
        build_query(query)


# ------------------------------------------------------------------------------------------------------------ plan


def test_a_plan_counts_encoders_and_features(tmp_path: Path) -> None:
    short = study(("random", "badge"), (0, 1), paradigm=SELF_SL)
    runs = [*short.runs, *(RunSpec(r.dataset, r.regime, FROZEN, r.query, r.seed) for r in short.runs)]
    made = estimate_plan(type(short)("toy", tuple(runs), full_data=0), workers=1, machine=Machine(data=tmp_path))
    assert (made.pretrainings, made.embeddings) == (2, 1)
    assert made.total == made.trainings_shared + made.trainings_search + 2
    assert made.seconds is not None
    assert made.seconds > 0
    assert json.dumps(made.rates)


def test_a_plan_does_not_pretrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fathom.learn.paradigms.self_sl as module

    real, epochs = module.train_simclr, []

    def pretrain(unlabeled, name, how, stream, checkpointer):  # type: ignore[no-untyped-def]
        epochs.append((how.epochs, len(unlabeled.images) <= 1024))
        return real(unlabeled, name, how, stream, checkpointer)

    monkeypatch.setattr(module, "train_simclr", pretrain)
    for paradigm in ("self-sl", "frozen(backbone=simclr)"):
        made = estimate_plan(study(("random",), paradigm=paradigm), workers=1, machine=Machine(data=tmp_path))
        assert made.seconds is not None
        assert made.seconds > 60, "a thousand epochs are counted"
    assert set(epochs) == {(1, True)}
