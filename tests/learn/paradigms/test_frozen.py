"""Frozen features: what decides them, and a head that is trained as the theory of convex problems says."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.learn.tasks import Pixels, digits

from fathom.core.records import FathomError, NonFiniteError
from fathom.core.streams import Stream, Streams
from fathom.data.cache.features import FeatureImages, standardized
from fathom.data.images import Subset, TensorImages
from fathom.learn import build_paradigm
from fathom.learn.paradigms.feature_source import Rounding
from fathom.learn.paradigms.frozen import Frozen
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, Paradigm, State, Task, Unlabeled


@dataclass
class RecordStore:
    """A library in a folder."""

    path: Path = Path()
    download: bool = False

    @property
    def cache(self) -> Path:
        return self.path / "cache"


def member(text: str = "frozen") -> Frozen:
    built = build_paradigm(text)
    assert isinstance(built, Frozen)
    return built


def with_features(paradigm: Frozen, plain: Task, state: State | None = None) -> Task:
    """The task with features in the place of its images, as the protocol makes it."""
    parts = (plain.images, plain.val_images, plain.pool)
    shown = [Unlabeled(part, plain.mean, plain.std, plain.augment) for part in parts]
    values = [torch.cat(list(paradigm.embed(part, state, RecordStore()))) for part in shown]
    train = FeatureImages(torch.cat(values))
    train, _ = standardized(train, train)
    ends = np.cumsum([0, *map(len, parts)])
    subsets = [Subset(train, torch.arange(a, b)) for a, b in itertools.pairwise(ends.tolist())]
    return replace(plain, images=subsets[0], val_images=subsets[1], pool=subsets[2])


def accuracy(paradigm: Frozen, plain: Task, answers: torch.Tensor, hparams: dict[str, Any], **options: Any) -> float:
    task = with_features(paradigm, plain)
    classifier = paradigm.fit(task, hparams, None, Streams(0), **options)
    found = torch.cat([p.log_probs.exp().mean(1).argmax(1) for p in classifier.stream(task.pool, 0, Stream(0))])
    return float((found == answers).double().mean())


HPARAMS = {"lr": 0.03, "weight_decay": 0.1}


def test_it_is_a_paradigm() -> None:
    assert isinstance(member(), Paradigm)
    assert member().recipe_name == "ours (pixels, linear head)"
    assert member("frozen(backbone=resnet18, weights=random)").recipe_name == "ours (resnet18, untrained, linear head)"


# ------------------------------------------------------------------------------------------------------- the features


def test_what_decides_the_features_and_nothing_else_names_them() -> None:
    same = ("frozen", "frozen(head=mlp, lr=0.5)", "frozen(dropout=all, search=1)", "frozen(imbalance=weighted)")
    assert {member(text).backbone for text in same} == {"features(backbone=pixels)"}
    other = (
        "frozen(dtype=float32)",
        "frozen(backbone=features, weights=a.npz)",
        "frozen(backbone=features, weights=b.npz)",
        "frozen(backbone=resnet18)",
        "frozen(backbone=resnet18, size=64)",
        "frozen(backbone=simclr)",
        "frozen(backbone=simclr, pretrain=short)",
    )
    assert len({member(text).backbone for text in ("frozen", *other)}) == len(other) + 1


def test_names_of_timm_and_torchvision_are_call_strings() -> None:
    for name in ("vit_small_patch14_dinov2.lvd142m", "torchvision:resnet50.IMAGENET1K_V2", "mobilenet_v2_uint8"):
        assert member(f"frozen(backbone={name}, weights=sub/w.npz)").source.name == name


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_features_are_of_the_kind_asked_for(dtype: str) -> None:
    plain, _ = digits(5)
    paradigm = member(f"frozen(dtype={dtype})")
    unlabeled = Unlabeled(plain.images, plain.mean, plain.std, plain.augment)
    chunks = list(paradigm.embed(unlabeled, None, RecordStore()))
    expected = plain.images.take(torch.arange(5)).flatten(1).float() / 255
    assert torch.equal(torch.cat(chunks), expected.to(getattr(torch, dtype)))


@pytest.mark.parametrize(
    ("offset", "scale", "lost"),
    [
        (0.0, 1.0, False),
        (5.0, 0.2, False),
        (500.0, 0.2, True),
        (0.0, 1e-3, False),
        (0.0, 1e-8, True),
        (3.0, 0.0, False),
    ],
)
def test_features_that_float16_cannot_tell_apart_are_refused(
    tmp_path: Path, offset: float, scale: float, lost: bool
) -> None:
    """Far from zero and alike, or tiny: kept they would be noise or zeros. What never differs loses nothing."""
    values = (offset + scale * np.random.default_rng(0).normal(size=(90, 6))).astype(np.float32)
    np.savez(tmp_path / "f.npz", train=values, test=values[:3])
    plain = Unlabeled(Pixels(torch.zeros((90, 3, 8, 8), dtype=torch.uint8)), (0.3,) * 3, (0.3,) * 3, "digits")

    def kept(dtype: str) -> torch.Tensor:
        paradigm = member(f"frozen(backbone=features, weights=f.npz, order=dataset, dtype={dtype})")
        return torch.cat(list(paradigm.embed(plain, None, RecordStore(tmp_path))))

    assert torch.equal(kept("float32"), torch.from_numpy(values))
    if lost:
        with pytest.raises(FathomError, match=r"features of features .* dtype=float32"):
            kept("float16")
    else:
        assert torch.equal(kept("float16"), torch.from_numpy(values).half())


@pytest.mark.parametrize("backbone", ["torchvision:resnet18, weights=random, size=32", "simclr, pretrain=short"])
def test_features_kept_in_full_are_computed_in_full(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the device is faster with less, only features that are kept in less are computed in less."""
    from fathom.learn.features import backbone as module
    from fathom.learn.features import encoded
    from fathom.learn.network import build_network
    from fathom.learn.predict import autocast

    asked = []

    def told(device: torch.device, precision: str = "auto") -> Any:
        asked.append(precision)
        return autocast(device, precision)

    monkeypatch.setattr(module, "autocast", told)
    monkeypatch.setattr(encoded, "autocast", told)
    plain, _ = digits(2)
    unlabeled = Unlabeled(plain.images, plain.mean, plain.std, plain.augment)
    state = build_network("cnn", (8, 8), 2, 0.0, Stream(0), torch.device("cpu")).encoder.state_dict()
    for dtype in ("float16", "float32"):
        list(member(f"frozen(backbone={backbone}, dtype={dtype})").embed(unlabeled, state, RecordStore()))
    assert asked == ["auto", "fp32"]


@pytest.mark.parametrize("chunk", [1, 4, 90])
def test_rounding_is_judged_by_enough_images_whatever_the_chunks(chunk: int) -> None:
    values = torch.from_numpy(500 + 0.2 * np.random.default_rng(0).normal(size=(90, 6))).float()
    rounding, parts, enough = Rounding("x"), values.split(chunk), -(-32 // chunk)
    for part in parts[: enough - 1]:
        rounding.check(part, part.half())
    with pytest.raises(FathomError, match="more than 10%"):
        rounding.check(parts[enough - 1], parts[enough - 1].half())


def test_an_encoder_of_ours_is_prepared_and_embeds() -> None:
    plain, _ = digits(200)
    images = TensorImages(plain.images.take(torch.arange(200)))
    paradigm = member("frozen(backbone=simclr, pretrain=short)")
    assert paradigm.preparation == build_paradigm("self-sl(recipe=short)").preparation, "so that they share one encoder"
    unlabeled = Unlabeled(Subset(images, torch.arange(130)), plain.mean, plain.std, plain.augment)

    state = paradigm.prepare(unlabeled, Stream(0, ("pretrain",)), RecordStore(), NO_CHECKPOINT)
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    everything = replace(unlabeled, images=images)
    whole = torch.cat(list(paradigm.embed(everything, state, RecordStore())))
    last = replace(unlabeled, images=Subset(images, torch.arange(150, 200)))
    rest = torch.cat(list(paradigm.embed(last, state, RecordStore())))
    assert whole.shape == (200, 128)
    torch.testing.assert_close(whole[150:], rest)
    assert paradigm.facts(RecordStore())["weights"].startswith("simclr(")
    with pytest.raises(FathomError, match="need the pre-trained encoder"):
        list(paradigm.embed(everything, None, RecordStore()))


def test_an_encoder_s_features_are_those_of_its_network() -> None:
    """The prepared normalization is used: the same as the network itself on normalized images."""
    from fathom.learn.augment.families import Augmentation
    from fathom.learn.features.encoded import encode
    from fathom.learn.network import build_network

    plain, _ = digits(9)
    network = build_network("cnn", (8, 8), 10, 0.0, Stream(3), torch.device("cpu")).eval()
    unlabeled = Unlabeled(plain.images, plain.mean, plain.std, plain.augment)
    state = network.encoder.state_dict()
    mine = torch.cat(list(encode(unlabeled, state, "cnn")))
    transform = Augmentation(plain.augment, "standard", plain.mean, plain.std, torch.device("cpu"))
    with torch.no_grad():
        theirs = network.encode(transform.test(plain.images.take(torch.arange(9))))
    torch.testing.assert_close(mine, theirs)
    with pytest.raises(FathomError, match="does not fit the network resnet18"):
        list(encode(unlabeled, state, "resnet18"))


def test_memory_that_runs_out_makes_an_encoder_s_chunks_smaller() -> None:
    from fathom.learn.features.encoded import encode
    from fathom.learn.network import build_network

    plain, _ = digits(60)
    network = build_network("cnn", (8, 8), 10, 0.0, Stream(3), torch.device("cpu")).eval()

    def scarce(count: int) -> None:
        if count > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")

    chunks = {}
    for name, images in (("whole", plain.images), ("scarce", Pixels(plain.images.x, scarce))):
        unlabeled = Unlabeled(images, plain.mean, plain.std, plain.augment)
        chunks[name] = list(encode(unlabeled, network.encoder.state_dict(), "cnn"))
    assert [len(c) for c in chunks["whole"]] == [60]
    assert [len(c) for c in chunks["scarce"]] == [15, 15, 15, 15]
    torch.testing.assert_close(torch.cat(chunks["scarce"]), chunks["whole"][0], rtol=1e-5, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- the head


def test_a_long_training_finds_the_minimum_of_the_convex_problem() -> None:
    """Cross-entropy with L2 on the weights has one minimum; scikit-learn's L-BFGS finds it by other means."""
    from sklearn.linear_model import LogisticRegression

    plain, _ = digits(120)
    decay = 0.1
    paradigm = member("frozen(epochs=150, batch_size=120, epoch_size=120)")
    task = with_features(paradigm, plain)
    classifier = paradigm.fit(task, {"lr": 0.1, "weight_decay": decay}, None, Streams(0))
    last = classifier.history[-1]["loss"]
    x, y = task.images.take(torch.arange(120)).double().numpy(), task.labels.numpy()
    model = LogisticRegression(C=1 / (decay * 120), tol=1e-8, max_iter=2000).fit(x, y)
    exact = -np.log(model.predict_proba(x)[np.arange(120), y]).mean()
    assert last == pytest.approx(exact, rel=0.01)


def test_a_linear_head_on_digits_is_as_good_as_scikit_learn_s() -> None:
    from sklearn.linear_model import LogisticRegression

    plain, answers = digits(175)
    task = with_features(member(), plain)
    x, pool = (part.take(torch.arange(len(part))).numpy() for part in (task.images, task.pool))
    theirs = max(
        LogisticRegression(C=c, max_iter=1000).fit(x, task.labels).score(pool, answers) for c in (1e-3, 1e-2, 1e-1)
    )
    assert accuracy(member(), plain, answers, HPARAMS) > theirs - 0.015


@pytest.mark.parametrize("text", ["frozen(head=mlp)", "frozen(head=mlp, hidden=32)", "frozen(dropout=all)"])
def test_other_heads_learn_digits(text: str) -> None:
    plain, answers = digits(175)
    dropout = 0.5 if "dropout" in text else 0.0
    assert accuracy(member(text), plain, answers, HPARAMS, dropout=dropout) > 0.85


def test_features_and_embeddings_of_both_heads() -> None:
    plain, _ = digits(60)
    for text, width in (("frozen", 192), ("frozen(head=mlp, hidden=32)", 32)):
        paradigm = member(text)
        task = with_features(paradigm, plain)
        classifier = paradigm.fit(task, HPARAMS, None, Streams(0), dropout=0.5)
        (first, *_) = classifier.stream(task.pool, 7, Stream(0, ("draws",)))
        assert first.log_probs.shape[1:] == (7, 10)
        assert first.log_probs.std(1).max() > 0
        assert (first.features.shape[1], first.embeddings.shape[1]) == (width, 192)
        assert torch.equal(first.embeddings, task.pool.take(torch.arange(len(first.embeddings))))


def test_the_same_streams_give_the_same_bits_and_restore_them() -> None:
    plain, _ = digits(60)
    paradigm = member()
    task = with_features(paradigm, plain)
    one, two = (paradigm.fit(task, HPARAMS, None, Streams(4, 1)) for _ in range(2))
    other = paradigm.fit(task, HPARAMS, None, Streams(5, 1))
    assert all(torch.equal(t, two.state()[name]) for name, t in one.state().items())
    assert not torch.equal(one.state()["head.weight"], other.state()["head.weight"])
    back = paradigm.restore(task, one.state())
    a, b = (torch.cat([p.log_probs for p in c.stream(task.pool, 0, Stream(0))]) for c in (one, back))
    assert torch.equal(a, b)
    with pytest.raises(FathomError, match="do not fit the head"):
        member("frozen(head=mlp)").restore(task, one.state())


def test_training_goes_on_from_a_journal() -> None:
    class Kept(Checkpointer):
        def __init__(self, stop: int) -> None:
            self.state: dict[str, torch.Tensor] | None = None
            self.stop, self.done = stop, 0

        def load(self) -> dict[str, torch.Tensor] | None:
            return self.state

        def save(self, state: Callable[[], dict[str, torch.Tensor]], *, force: bool = False) -> None:
            self.state, self.done = state(), self.done + 1
            if self.done == self.stop:
                raise KeyboardInterrupt

    plain, _ = digits(60, v=60)
    paradigm = member("frozen(head=mlp, epochs=5, epoch_size=256)")
    task = with_features(paradigm, plain)
    through = paradigm.fit(task, HPARAMS, None, Streams(0), dropout=0.5)
    checkpointer = Kept(3)
    with pytest.raises(KeyboardInterrupt):
        paradigm.fit(task, HPARAMS, None, Streams(0), dropout=0.5, checkpointer=checkpointer)
    resumed = paradigm.fit(task, HPARAMS, None, Streams(0), dropout=0.5, checkpointer=checkpointer)
    assert all(torch.equal(t, resumed.state()[name]) for name, t in through.state().items())
    assert resumed.history == through.history


def test_classes_of_unequal_size_are_oversampled() -> None:
    plain, answers = digits(300, metric="balanced_accuracy", balanced=False)
    few = (plain.labels != 3) | (plain.labels.eq(3).cumsum(0) <= 2)
    labeled = few.nonzero().squeeze(1)
    plain = replace(
        plain, images=Subset(TensorImages(plain.images.take(torch.arange(300))), labeled), labels=plain.labels[labeled]
    )
    recall = {}
    for rule in ("auto", "none"):
        paradigm = member(f"frozen(imbalance={rule})")
        task = with_features(paradigm, plain)
        classifier = paradigm.fit(task, HPARAMS, None, Streams(0))
        found = torch.cat([p.log_probs[:, 0].argmax(1) for p in classifier.stream(task.pool, 0, Stream(0))])
        recall[rule] = float((found[answers == 3] == 3).double().mean())
    assert recall["auto"] > recall["none"]


def test_a_training_that_diverges_is_told() -> None:
    plain, _ = digits(60)
    with pytest.raises(NonFiniteError):
        member().fit(with_features(member(), plain), {"lr": 1e30, "weight_decay": 1.0}, None, Streams(0))


def test_plain_images_are_refused() -> None:
    plain, _ = digits(60)
    with pytest.raises(FathomError, match="frozen trains on features"):
        member().fit(plain, HPARAMS, None, Streams(0))


def test_the_grid_is_what_was_asked_for() -> None:
    plain, _ = digits(60)
    assert len(member().grid(plain)) == 9
    assert member("frozen(lr=0.1, weight_decay=0.5|0)").grid(plain) == [
        {"lr": 0.1, "weight_decay": 0.5},
        {"lr": 0.1, "weight_decay": 0},
    ]


def test_what_a_plan_reckons_with() -> None:
    paradigm = member("frozen(epochs=4, epoch_size=100)")
    assert (paradigm.training_images(30), paradigm.training_images(500), paradigm.validation_images(50)) == (
        400,
        2000,
        200,
    )
    assert paradigm.benchmark_copy(1000).training_images(5) == 1000
    plain = Unlabeled(Pixels(torch.zeros((3, 3, 8, 8), dtype=torch.uint8)), (0.3,) * 3, (0.3,) * 3, "digits")
    assert paradigm.pretraining_images(plain) == 0
    assert paradigm.prepare(plain, Stream(0), RecordStore(), NO_CHECKPOINT) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frozen(head=deep)", "head must be one of linear, mlp; got deep"),
        ("frozen(hidden=3)", "hidden must be left out but for head=mlp"),
        ("frozen(dtype=int8)", "dtype must be one of float16, float32"),
        ("frozen(size=32)", "size must be left out, as pixels resizes nothing"),
        ("frozen(weights=a.npz)", "weights must be left out, as pixels reads no file"),
        ("frozen(pretrain=short)", "pretrain must be left out but for backbone=simclr"),
        ("frozen(epochs=0)", "epochs must be at least 1"),
        ("frozen(batch_size=1)", "batch_size must be at least 2"),
        ("frozen(lr=0)", "lr must be positive"),
        ("frozen(weight_decay=-1)", "weight_decay must be numbers from 0"),
        ("frozen(momentum=1)", r"momentum must be a number in \[0, 1\)"),
        ("frozen(dropout=1)", "dropout must be"),
        ("frozen(imbalance=no)", "imbalance must be one of"),
        ("frozen(search=0)", "search must be at least 1"),
        ("frozen(backbone=encoder, weights=xyz)", "encoder"),
    ],
)
def test_mistakes_are_told(text: str, message: str) -> None:
    with pytest.raises(FathomError, match=message):
        build_paradigm(text).preparation  # noqa: B018


def test_the_penalty_does_not_grow_with_the_labels() -> None:
    """Twice the labels, each once, is the problem of scikit-learn with the same C, whose loss is a sum."""
    from sklearn.linear_model import LogisticRegression

    plain, _ = digits(240)
    paradigm, decay = member("frozen(epochs=100, batch_size=120, epoch_size=120)"), 0.1
    task = with_features(paradigm, plain)
    classifier = paradigm.fit(task, {"lr": 0.1, "weight_decay": decay}, None, Streams(0))
    x, y = task.images.take(torch.arange(240)).double().numpy(), task.labels.numpy()
    model = LogisticRegression(C=1 / (decay * 120), tol=1e-8, max_iter=2000).fit(x, y)
    exact = -np.log(model.predict_proba(x)[np.arange(240), y]).mean()
    assert classifier.history[-1]["loss"] == pytest.approx(exact, rel=0.02)
