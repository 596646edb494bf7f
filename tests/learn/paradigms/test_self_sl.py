"""The self-sl paradigm: an encoder without labels, fine-tuned; it helps, it repeats itself, it is restored."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tests.learn.tasks import Pixels, digits, noise

from fathom.core.records import FathomError
from fathom.core.streams import Stream, Streams
from fathom.learn import build_paradigm
from fathom.learn.features.encoders import encoder_folder, pack_encoder
from fathom.learn.objectives.simclr import PUBLISHED
from fathom.learn.paradigms.self_sl import SelfSL
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, Classifier, ImageSource, Paradigm, Task, Unlabeled
from fathom.registry.registry import index

HP = {"lr": 0.03, "weight_decay": 0.0005, "augmentation": "standard"}
QUICK = SelfSL(
    pretrain_epochs=1, pretrain_batch=64, pretrain_optimizer="sgd", pretrain_lr=0.05,
    epochs=2, epoch_size=64, batch_size=32, lr=0.03,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Shelves:
    path: Path
    cache: Path
    download: bool = False


NOWHERE = Shelves(Path("nowhere"), Path("nowhere"))


def unlabeled(task: Task, count: int | None = None) -> Unlabeled:
    """The labeled images and the pool, without labels."""
    x = torch.cat([part.take(torch.arange(len(part))) for part in (task.images, task.pool)])
    return Unlabeled(Pixels(x[:count]), task.mean, task.std, task.augment)


def accuracy(classifier: Classifier, images: ImageSource, labels: torch.Tensor) -> float:
    chunks = classifier.stream(images, 0, Stream(0, ("draws",)))
    predicted = torch.cat([p.log_probs[:, 0].argmax(1) for p in chunks])
    return float((predicted == labels).double().mean())


def prepared(paradigm: SelfSL, task: Task, count: int | None = None, seed: int = 0) -> dict[str, torch.Tensor]:
    stream = Stream(seed, ("pretrain", 0))
    return dict(paradigm.prepare(unlabeled(task, count), stream, NOWHERE, NO_CHECKPOINT))


def test_pre_training_is_worth_something():
    """The same recipe and labels, from the encoder of a few epochs and from fresh weights."""
    paradigm = build_paradigm("self-sl(recipe=short, pretrain_epochs=4, epochs=6)")
    assert isinstance(paradigm, SelfSL)
    task, pool_labels = digits(30, v=100, seed=1)
    scores = []
    for way in (paradigm, dataclasses.replace(paradigm, pretrain_epochs=0, pretrain_warmup=0)):
        classifier = way.fit(task, way.grid(task)[0], prepared(way, task), Streams(0))
        scores.append(accuracy(classifier, task.pool, pool_labels))
        assert classifier.val_score == max(row["val_score"] for row in classifier.history)
    assert scores[0] >= 0.83
    assert scores[0] > scores[1] + 0.02


def test_the_same_streams_give_the_same_bits():
    task, _ = digits(40, v=30)
    before = torch.get_rng_state()
    state, again = prepared(QUICK, task, 128), prepared(QUICK, task, 128)
    assert all(torch.equal(state[name], again[name]) for name in state)
    first, second = (QUICK.fit(task, HP, state, Streams(3, 1), dropout=0.5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.state().values(), second.state().values(), strict=True))
    other = prepared(QUICK, task, 128, seed=1)
    assert not torch.equal(state["0.weight"], other["0.weight"])


def test_fine_tuning_starts_from_the_encoder_and_moves_it():
    """With a learning rate of next to nothing the encoder stays, with a usual one it does not: it is not frozen."""
    task, _ = digits(40, v=30)
    state = prepared(QUICK, task, 128)
    for lr, moved in ((1e-12, False), (0.03, True)):
        trained = QUICK.fit(task, HP | {"lr": lr, "weight_decay": 0.0}, state, Streams(0)).state()
        weights = trained["encoder.0.weight"]
        assert torch.allclose(weights, state["0.weight"], atol=1e-6) != moved


def test_the_head_is_fresh_in_every_round():
    task, _ = digits(40, v=30)
    state = prepared(QUICK, task, 128)
    heads = [QUICK.fit(task, HP | {"lr": 1e-12}, state, Streams(0, i)).state()["head.weight"] for i in (0, 1)]
    assert not torch.allclose(*heads)


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_features_are_the_input_of_the_last_layer_and_embeddings_the_output_of_the_encoder(head: str):
    paradigm = dataclasses.replace(QUICK, head=head)
    task, _ = digits(40, v=30)
    classifier = paradigm.fit(task, HP, prepared(paradigm, task, 128), Streams(0))
    network = classifier.network.eval()
    (prediction,) = classifier.stream(Pixels(task.pool.take(torch.arange(50))), 0, Stream(0))
    with torch.no_grad():
        x = classifier.transform.test(task.pool.take(torch.arange(50)))
        embeddings = network.encoder(x)
        features = network.hidden(embeddings)
        expected = network.head(features).log_softmax(1)
    torch.testing.assert_close(prediction.embeddings, embeddings)
    torch.testing.assert_close(prediction.features, features)
    torch.testing.assert_close(prediction.log_probs[:, 0], expected)
    if head == "mlp":
        assert [type(m).__name__ for m in network.hidden] == ["Linear", "BatchNorm1d", "ReLU"]
        assert features.shape == embeddings.shape  # as wide as the encoder's output
        assert not torch.allclose(features, embeddings)
    else:
        assert torch.equal(features, embeddings)


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_a_classifier_is_restored(head: str):
    paradigm = dataclasses.replace(QUICK, head=head)
    task, _ = digits(40, v=30)
    classifier = paradigm.fit(task, HP, prepared(paradigm, task, 128), Streams(0), dropout=0.5)
    again = paradigm.restore(task, classifier.state(), dropout=0.5)
    mine, theirs = (next(iter(c.stream(task.pool, 4, Stream(0, ("draws",))))) for c in (classifier, again))
    assert torch.equal(mine.log_probs, theirs.log_probs)
    assert mine.log_probs.shape[1] == 4
    with pytest.raises(FathomError, match="stored weights do not fit"):
        dataclasses.replace(paradigm, head="linear" if head == "mlp" else "mlp").restore(task, classifier.state())


class Stops(Checkpointer):
    """Stops a training after its first epoch, and lets it go on."""

    def __init__(self) -> None:
        self.kept, self.epochs = None, 0

    def load(self):
        return self.kept

    def save(self, state, *, force=False):
        self.kept = state()
        self.epochs += 1
        if self.epochs == 1:
            raise InterruptedError


def test_a_stopped_fine_tuning_goes_on_to_the_same_bits():
    task, _ = digits(40, v=30)
    state = prepared(QUICK, task, 128)
    straight = QUICK.fit(task, HP, state, Streams(0))
    checkpointer = Stops()
    with pytest.raises(InterruptedError):
        QUICK.fit(task, HP, state, Streams(0), checkpointer=checkpointer)
    resumed = QUICK.fit(task, HP, state, Streams(0), checkpointer=checkpointer)
    assert resumed.history == straight.history
    assert all(torch.equal(a, b) for a, b in zip(straight.state().values(), resumed.state().values(), strict=True))


def test_a_kept_encoder_takes_the_place_of_pre_training(tmp_path: Path):
    task, _ = digits(40, v=30)
    state = prepared(QUICK, task, 128)
    library = Shelves(tmp_path, tmp_path)
    name, data = pack_encoder(state)
    encoder_folder(library).mkdir()
    (encoder_folder(library) / f"{name}.safetensors").write_bytes(data)
    named = dataclasses.replace(QUICK, encoder=name[:16])
    found = named.prepare(unlabeled(task, 4), Stream(7), library, NO_CHECKPOINT)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    assert name[:16] in named.preparation
    assert named.pretraining_images(unlabeled(task)) == 0
    wrong = dataclasses.replace(named, network="resnet18")
    with pytest.raises(FathomError, match="does not fit network=resnet18 on images of 8x8"):
        wrong.prepare(unlabeled(task, 4), Stream(7), library, NO_CHECKPOINT)
    with pytest.raises(FathomError, match="no encoder 000000000000"):
        dataclasses.replace(QUICK, encoder="0" * 12).prepare(unlabeled(task, 4), Stream(7), library, NO_CHECKPOINT)


def test_what_decides_the_encoder_and_nothing_else_is_in_its_name():
    plain = SelfSL().preparation
    for change in ({"head": "linear"}, {"lr": 0.5}, {"epochs": 3}, {"dropout": 0.2}, {"augmentation": "standard"}):
        assert SelfSL(**change).preparation == plain
    changes = (
        {"pretrain_epochs": 3}, {"pretrain_batch": 64}, {"pretrain_lr": 2.0}, {"pretrain_weight_decay": 0.1},
        {"pretrain_warmup": 3}, {"pretrain_optimizer": "sgd"}, {"pretrain_precision": "fp32"}, {"temperature": 0.2},
        {"jitter": 1.0}, {"blur": True}, {"network": "cnn"}, {"encoder": "0123456789ab"}, {"recipe": "short"},
    )  # fmt: skip
    assert len({SelfSL(**change).preparation for change in changes} | {plain}) == len(changes) + 1


def test_the_study_is_what_comes_without_arguments():
    paradigm = SelfSL()
    assert paradigm.recipe_name == "study"
    assert "pretrain_epochs=14" in SelfSL(recipe="short").recipe_name
    assert paradigm.preparation
    assert not paradigm.backbone
    assert all(paradigm.pretraining(family) == how for family, how in PUBLISHED.items())
    task = noise(20, 20, 20)
    grid = paradigm.grid(task)
    assert grid[0] == {"lr": 0.001, "weight_decay": 0.005, "augmentation": "randaugment"}
    assert len(grid) == 8
    assert (paradigm.epochs, paradigm.schedule, paradigm.head) == (80, "step", "mlp")
    assert paradigm.training_images(50) == 80 * 5500
    assert paradigm.training_images(6000) == 80 * 6000
    assert paradigm.validation_images(10) == 800
    sizes = {
        family: paradigm.batch_sizes(dataclasses.replace(task, augment=family), (224, 224))[0]
        for family in ("cifar", "isic", "imagenet")
    }
    assert sizes == {"cifar": 64, "isic": 64, "imagenet": 128}
    assert paradigm.pretraining_images(Unlabeled(task.pool, task.mean, task.std, task.augment)) == 2 * 1000 * 20


@pytest.mark.parametrize(
    "change",
    ["head=linear", "temperature=0.1", "pretrain_lr=2", "jitter=1", "blur=true", "schedule=cosine", "momentum=0"],
)
def test_a_changed_recipe_is_not_called_the_study_s(change: str):
    assert build_paradigm(f"self-sl({change})").recipe_name == f"changed ({change})".replace("true", "True")


def test_choices_that_the_study_leaves_open_do_not_change_the_recipe():
    assert build_paradigm("self-sl(lr=0.01, augmentation=standard, dropout=all, search=1)").recipe_name == "study"


def test_fewer_epochs_warm_up_shorter():
    assert SelfSL(pretrain_epochs=3).pretraining("cifar").warmup == 0
    assert SelfSL(pretrain_epochs=50).pretraining("cifar").warmup == 5
    assert SelfSL(pretrain_epochs=500).pretraining("cifar").warmup == 10
    assert SelfSL(pretrain_epochs=50, pretrain_warmup=9).pretraining("isic").warmup == 9


def test_a_probe_prepares_without_pre_training():
    task, _ = digits(40, v=30)
    probe = build_paradigm("self-sl(encoder=0123456789ab)").benchmark_copy(64)
    assert isinstance(probe, SelfSL)
    classifier = probe.fit(task, HP, prepared(probe, task), Streams(0))
    assert len(classifier.history) == 1
    assert probe.training_images(40) == 64


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("self-sl(pretrain_epochs=many)", "pretrain_epochs must be auto or a whole number; got many"),
        ("self-sl(pretrain_epochs=-1)", "pretrain_epochs must be auto or a whole number from 0"),
        ("self-sl(pretrain_epochs=5, pretrain_warmup=5)", "pretrain_warmup must be .*below 5 epochs; got 5"),
        ("self-sl(temperature=0)", "temperature must be auto or a positive number"),
        ("self-sl(jitter=9)", r"jitter must be auto or a number in \[0, 1.25\]; got 9"),
        ("self-sl(blur=maybe)", "blur must be auto or true or false; got maybe"),
        ("self-sl(pretrain_optimizer=adam)", "pretrain_optimizer must be one of sgd, lars"),
        ("self-sl(head=deep)", "head must be one of mlp, linear"),
        ("self-sl(encoder=mine)", "12 or more hexadecimal digits"),
        ("self-sl(schedule=flat)", "schedule must be one of"),
        ("self-sl(warmup=80)", "warmup must be at least 0 and below the 80 epochs"),
        ("self-sl(lr=0)", "lr must be positive"),
        ("self-sl(augmentation=cutmix)", "augmentation must be one of"),
        ("self-sl(dropout=1)", "dropout must be"),
    ],
)
def test_what_cannot_be_trained_is_refused(text: str, problem: str):
    with pytest.raises(FathomError, match=problem):
        build_paradigm(text)


def test_without_an_encoder_nothing_is_fine_tuned():
    task, _ = digits(40, v=30)
    for state in (None, {}):
        with pytest.raises(FathomError, match="call prepare first"):
            QUICK.fit(task, HP, state, Streams(0))
    with pytest.raises(FathomError, match="encoder does not fit the network"):
        QUICK.fit(task, HP, {"0.weight": torch.zeros(1)}, Streams(0))


def test_it_is_found_and_keeps_the_interface():
    assert "self-sl" in index()["paradigm"]
    assert isinstance(build_paradigm("self-sl(recipe=short)"), Paradigm)
