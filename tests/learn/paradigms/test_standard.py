"""The paradigm: it learns, it repeats itself, it is restored, it bears the edges."""

import dataclasses

import pytest
import torch
from tests.faults import fault
from tests.learn.tasks import Pixels, digits, noise
from tests.learn.tasks import task as pictured

from fathom.core.records import FathomError
from fathom.core.streams import Stream, Streams
from fathom.learn import build_paradigm, predict
from fathom.learn.paradigms.standard import Standard
from fathom.learn.task import Classifier, Paradigm
from fathom.registry.registry import index

HP = {"lr": 0.1, "weight_decay": 0.0005, "augmentation": "standard"}
QUICK = Standard(epochs=2, epoch_size=64, batch_size=32, warmup=0)


def log_probs(classifier: Classifier, images, draws: int = 0, seed: int = 0) -> torch.Tensor:
    return torch.cat([p.log_probs for p in classifier.stream(images, draws, Stream(seed, ("draws",)))])


def test_it_learns_digits_with_the_short_recipe():
    paradigm = build_paradigm("standard(recipe=short)")
    task, pool_labels = digits(200)
    classifier = paradigm.fit(task, paradigm.grid(task)[0], None, Streams(0))
    predicted = log_probs(classifier, task.pool)[:, 0].argmax(1)
    assert (predicted == pool_labels).double().mean() >= 0.8
    assert classifier.val_score == max(row["val_score"] for row in classifier.history)
    assert [row["epoch"] for row in classifier.history] == list(range(7))


def test_more_labels_are_worth_something():
    paradigm = Standard(recipe="short", lr=0.1, epoch_size=320)
    scores = []
    for m in (10, 300):
        task, pool_labels = digits(m)
        classifier = paradigm.fit(task, HP, None, Streams(0))
        scores.append(float((log_probs(classifier, task.pool)[:, 0].argmax(1) == pool_labels).double().mean()))
    assert scores[1] > scores[0] + 0.1


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_same_streams_give_the_same_bits(dropout: float):
    task, _ = digits(60, v=50)
    before = torch.get_rng_state()
    first, again = (QUICK.fit(task, HP, None, Streams(3, 1), dropout=dropout) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for (name, a), b in zip(first.state().items(), again.state().values(), strict=True):
        assert torch.equal(a, b), name
    assert first.history == again.history
    other = QUICK.fit(task, HP, None, Streams(4, 1), dropout=dropout)
    assert not torch.equal(first.state()["head.weight"], other.state()["head.weight"])


def test_each_stream_matters_for_itself():
    """Two query methods of a round share weights, order and augmentation; dropout alone differs with its stream."""

    class Swapped(Streams):
        def __call__(self, purpose: str) -> Stream:
            return Stream(99, ("other",)) if purpose == self.swap else super().__call__(purpose)

    task, _ = digits(60, v=50)
    reference = QUICK.fit(task, HP, None, Streams(0), dropout=0.5).state()["head.weight"]
    for purpose in ("init", "order", "augment", "dropout"):
        streams = Swapped(0)
        object.__setattr__(streams, "swap", purpose)
        assert not torch.equal(QUICK.fit(task, HP, None, streams, dropout=0.5).state()["head.weight"], reference), (
            purpose
        )


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_state_and_restore_give_the_same_classifier(dropout: float):
    task, _ = digits(60, v=50)
    classifier = QUICK.fit(task, HP, None, Streams(0), dropout=dropout)
    state = classifier.state()
    assert all(t.device.type == "cpu" and t.is_contiguous() for t in state.values())
    kept = {name: t.clone() for name, t in state.items()}
    restored = QUICK.restore(task, kept, dropout=dropout)
    draws = 5 if dropout else 0
    assert torch.equal(log_probs(restored, task.pool, draws), log_probs(classifier, task.pool, draws))
    classifier.network.head.weight.data.zero_()
    assert torch.equal(state["head.weight"], kept["head.weight"])  # a copy, not a view
    with pytest.raises(FathomError, match="do not fit the network"):
        QUICK.restore(dataclasses.replace(task, num_classes=3), kept)


def test_predictions_come_in_order_and_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch):
    task, _ = digits(60, v=50)
    classifier = QUICK.fit(task, HP, None, Streams(0), dropout=0.5)
    parts = {}
    for chunk in (7, 100, 5000):
        monkeypatch.setattr(predict, "chunk_size", lambda device, size, chunk=chunk: chunk)
        found = list(classifier.stream(task.pool, 3, Stream(0, ("draws",))))
        assert len(found) == -(-len(task.pool) // chunk)
        parts[chunk] = torch.cat([p.log_probs for p in found]), torch.cat([p.features for p in found])
    for chunk in (7, 100):
        for a, b in zip(parts[chunk], parts[5000], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    probabilities, features = parts[5000]
    assert probabilities.shape == (len(task.pool), 3, 10)
    assert features.shape == (len(task.pool), 128)
    torch.testing.assert_close(probabilities.exp().sum(2), torch.ones(len(task.pool), 3))


def test_predicting_leaves_the_callers_gradients_alone():
    task, _ = digits(60, v=50)
    classifier = QUICK.fit(task, HP, None, Streams(0))
    stream = classifier.stream(task.pool, 0, Stream(0, ("draws",)))
    prediction = next(stream)
    assert torch.is_grad_enabled()
    assert not prediction.features.requires_grad


def test_memory_that_runs_out_in_prediction_halves_the_chunk():
    task, _ = digits(60, v=50)
    classifier = QUICK.fit(task, HP, None, Streams(0))
    sizes = []

    def scarce(count: int) -> None:
        sizes.append(count)
        if count > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")

    got = log_probs(classifier, Pixels(task.pool.x, scarce))
    torch.testing.assert_close(got, log_probs(classifier, task.pool), rtol=1e-5, atol=1e-5)
    assert sizes[:4] == [512, 256, 128, 64]
    assert all(size <= 64 for size in sizes[3:])

    def nothing(count: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(FathomError, match="one image does not fit"):
        log_probs(classifier, Pixels(task.pool.x, nothing))


def test_draws_without_dropout_are_all_the_plain_softmax():
    task, _ = digits(60, v=50)
    classifier = QUICK.fit(task, HP, None, Streams(0))
    plain, drawn = log_probs(classifier, task.pool), log_probs(classifier, task.pool, 4)
    assert plain.shape[1] == 1
    torch.testing.assert_close(drawn, plain.expand(-1, 4, -1), rtol=1e-5, atol=1e-5)


@fault("labels", "labeled set of one class or of a few samples", "trains")
@pytest.mark.parametrize("imbalance", ["auto", "oversample", "weighted", "none"])
@pytest.mark.parametrize("case", ["one label each", "one class", "a class is missing", "one label"])
def test_small_and_lopsided_sets_are_trained_on(imbalance: str, case: str):
    labels = {
        "one label each": torch.arange(10),
        "one class": torch.full((12,), 4),
        "a class is missing": torch.arange(27) % 9,
        "one label": torch.tensor([2]),
    }[case]
    task = noise(len(labels), 40, 30, balanced=False, metric="balanced_accuracy")
    task = dataclasses.replace(task, labels=labels)
    classifier = dataclasses.replace(QUICK, imbalance=imbalance).fit(task, HP, None, Streams(0))
    assert log_probs(classifier, task.pool).isfinite().all()
    assert 0 <= classifier.val_score <= 1


def test_oversampling_shows_each_class_equally_often():
    """19 of 20 labels are of class 0: plain training forgets class 1, oversampling does not."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(600, generator=generator) < 0.05).long()
    x = torch.randint(0, 120, (600, 3, 8, 8), generator=generator)
    x = (x + labels.view(-1, 1, 1, 1) * 25).to(torch.uint8)
    task = pictured(x, labels, 400, 200, metric="balanced_accuracy", balanced=False, num_classes=2)
    shares = {}
    for imbalance in ("auto", "none"):
        classifier = Standard(epochs=1, epoch_size=400, batch_size=40, warmup=0, imbalance=imbalance).fit(
            task, HP | {"lr": 0.01}, None, Streams(0)
        )
        shares[imbalance] = float(log_probs(classifier, Pixels(x[400:]))[:, 0].exp().mean(0)[1])
    assert shares["auto"] > 2 * shares["none"]


def test_nothing_labeled_is_explained():
    task = noise(0, 10, 10)
    with pytest.raises(FathomError, match="got 0 and 10"):
        QUICK.fit(task, HP, None, Streams(0))


def test_the_grid_is_the_cross_product_and_a_scalar_pins():
    task = noise(1, 1, 1)
    grid = Standard().grid(task)
    assert len(grid) == 8
    assert grid[0] == {"lr": 0.1, "weight_decay": 0.005, "augmentation": "standard"}
    assert grid[1] == {"lr": 0.1, "weight_decay": 0.005, "augmentation": "randaugment-mc"}
    assert grid[-1] == {"lr": 0.01, "weight_decay": 0.0005, "augmentation": "randaugment-mc"}
    cached_retries = build_paradigm("standard(lr=0.1, weight_decay=5e-3|5e-4, augmentation=randaugment)").grid(task)
    assert cached_retries == [{"lr": 0.1, "weight_decay": w, "augmentation": "randaugment"} for w in (0.005, 0.0005)]


def test_the_study_is_the_default_and_what_is_shorter_says_so():
    assert isinstance(build_paradigm("standard"), Paradigm)
    assert build_paradigm("standard").recipe_name == "study"
    assert build_paradigm("standard(dropout=0.5, lr=0.1)").recipe_name == "study"
    assert build_paradigm("standard(recipe=short)").recipe_name.startswith("short (epochs=7, epoch_size=480")
    assert build_paradigm("standard(epochs=20)").recipe_name == "changed (epochs=20)"
    assert build_paradigm("standard(recipe=short, epochs=9)").training_images(100) == 9 * 480
    assert build_paradigm("standard").training_images(50) == 1_100_000
    assert build_paradigm("standard").training_images(6000) == 1_200_000
    assert build_paradigm("standard").validation_images(250) == 50_000


@pytest.mark.parametrize("text", ["standard", "standard(recipe=short)"])
def test_a_probe_trains_on_about_so_many_images(text: str):
    task, _ = digits(30, v=20)
    probe = build_paradigm(text).benchmark_copy(128)
    assert probe.training_images(30) == 128
    assert len(probe.fit(task, HP, None, Streams(0)).history) == 1


def test_dropout_is_read_as_written():
    assert build_paradigm("standard").dropout == "auto"
    assert build_paradigm("standard(dropout=all)").dropout == "all"
    assert build_paradigm("standard(dropout=0.2)").dropout == 0.2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("standart", "Did you mean 'standard'"),
        ("standard(learning_rate=1)", "no parameter 'learning_rate'"),
        ("standard(network=vgg)", "network must be one of auto, resnet18, cnn; got vgg"),
        ("standard(augmentation=strong)", "augmentation must be one of"),
        ("standard(last_batch=wrap)", "last_batch must be one of merge, drop, keep"),
        ("standard(imbalance=fix)", "imbalance must be one of"),
        ("standard(epochs=0)", "epochs must be at least 1"),
        ("standard(epochs=5)", "warmup must be at least 0 and below the 5 epochs; got 10"),
        ("standard(batch_size=1)", "batch_size must be 0 or at least 2"),
        ("standard(lr=-0.1)", "lr must be positive"),
        ("standard(dropout=1.0)", r"dropout must be .* in \[0, 1\); got 1.0"),
        ("standard(dropout=most)", "dropout must be auto, all or"),
        ("standard(recipe=long)", "recipe must be one of study, short"),
    ],
)
def test_mistakes_are_explained(text: str, message: str):
    with pytest.raises(FathomError, match=message):
        build_paradigm(text)


def test_every_parameter_is_known_without_importing():
    parameters = index()["paradigm"]["standard"].parameters
    assert parameters == {f.name: f.default for f in dataclasses.fields(Standard)}
