"""The paradigm: it learns from the pool, repeats itself, resumes where it was killed, and bears the edges."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from tests.learn.tasks import Pixels, digits, noise

from fathom.core.records import FathomError
from fathom.core.streams import Stream, Streams
from fathom.learn import build_paradigm
from fathom.learn.augment.families import Augmentation
from fathom.learn.objectives.fixmatch import FixMatch
from fathom.learn.paradigms import semi_sl
from fathom.learn.paradigms.semi_sl import CURVE_POINTS, SemiSL, _diagnostics
from fathom.learn.task import Checkpointer, Classifier, Paradigm
from fathom.registry.registry import index

HP = {"lr": 0.03, "weight_decay": 0.0005}
QUICK = SemiSL(epochs=3, steps=3, batch_size=8, mu=2, threshold=0.3, distribution_alignment="uniform", ema=0.5)


def log_probs(classifier: Classifier, images: Pixels, draws: int = 0) -> torch.Tensor:
    return torch.cat([p.log_probs for p in classifier.stream(images, draws, Stream(0, ("draws",)))])


class Killed(Exception):
    pass


class Diary(Checkpointer):
    """Keeps the last state in memory, and kills the training when so many epochs are saved."""

    def __init__(self, state: dict[str, torch.Tensor] | None = None, kill_after: int = 0) -> None:
        self.state, self.kill_after, self.saved = state, kill_after, 0

    def load(self) -> dict[str, torch.Tensor] | None:
        return self.state

    def save(self, state: Callable[[], dict[str, torch.Tensor]], *, force: bool = False) -> None:
        self.state = state()
        self.saved += 1
        if self.saved == self.kill_after:
            raise Killed


def assert_same(one: Classifier, other: Classifier) -> None:
    for (name, a), b in zip(one.state().items(), other.state().values(), strict=True):
        assert torch.equal(a, b), name
    assert one.history == other.history
    assert one.val_score == other.val_score
    assert one.diagnostics == other.diagnostics


def test_it_learns_digits_with_the_short_recipe():
    paradigm = build_paradigm("semi-sl(recipe=short)")
    task, pool_labels = digits(50)
    classifier = paradigm.fit(task, paradigm.grid(task)[0], None, Streams(0))
    predicted = log_probs(classifier, task.pool)[:, 0].argmax(1)
    assert (predicted == pool_labels).double().mean() >= 0.83


def test_the_last_epoch_is_kept():
    task, _ = digits(40, v=60)
    classifier = QUICK.fit(task, HP, None, Streams(0))
    assert [row["epoch"] for row in classifier.history] == [0, 1, 2]
    assert classifier.val_score == classifier.history[-1]["val_score"]
    predicted = log_probs(classifier, task.val_images)[:, 0].argmax(1)
    assert float((predicted == task.val_labels).double().mean()) == pytest.approx(classifier.val_score)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_same_streams_give_the_same_bits(dropout: float):
    task, _ = digits(40, v=50)
    before = torch.get_rng_state()
    first, again = (QUICK.fit(task, HP, None, Streams(3, 1), dropout=dropout) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(first, again)
    other = QUICK.fit(task, HP, None, Streams(4, 1), dropout=dropout)
    assert not torch.equal(first.state()["head.weight"], other.state()["head.weight"])


@pytest.mark.parametrize("after", [1, 2])
def test_a_training_that_was_killed_goes_on_to_the_same_bits(after: int):
    """Weights, averaged weights, momentum and the memory of the alignment are all needed for that."""
    task, _ = digits(40, v=50)
    whole, killed = Diary(), Diary(kill_after=after)
    straight = QUICK.fit(task, HP, None, Streams(0), dropout=0.5, checkpointer=whole)
    with pytest.raises(Killed):
        QUICK.fit(task, HP, None, Streams(0), dropout=0.5, checkpointer=killed)
    assert killed.state is not None
    assert int(killed.state["objective.seen"]) == 3 * after
    assert killed.state["objective.recent"].sum() == pytest.approx(3 * after)
    resumed = Diary(killed.state)
    assert_same(QUICK.fit(task, HP, None, Streams(0), dropout=0.5, checkpointer=resumed), straight)
    assert resumed.saved == 2 - after  # only the epochs that were missing
    assert resumed.state is not None
    assert whole.state is not None
    assert resumed.state.keys() == whole.state.keys()
    for name, tensor in whole.state.items():
        assert torch.equal(resumed.state[name], tensor), name


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_state_and_restore_give_the_same_classifier(dropout: float):
    task, _ = digits(40, v=50)
    classifier = QUICK.fit(task, HP, None, Streams(0), dropout=dropout)
    draws = 5 if dropout else 0
    restored = QUICK.restore(task, classifier.state(), dropout=dropout)
    assert torch.equal(log_probs(restored, task.pool, draws), log_probs(classifier, task.pool, draws))
    with pytest.raises(FathomError, match="do not fit the network"):
        QUICK.restore(dataclasses.replace(task, num_classes=3), classifier.state())


def test_the_views_are_those_of_fixmatch(monkeypatch: pytest.MonkeyPatch):
    asked = []
    plain = Augmentation.apply

    def apply(self: Augmentation, x: torch.Tensor, draws: object) -> torch.Tensor:
        asked.append((self.strength, len(x)))
        return plain(self, x, draws)

    monkeypatch.setattr(Augmentation, "apply", apply)
    task, _ = digits(40, v=50)
    dataclasses.replace(QUICK, epochs=1, steps=2).fit(task, HP, None, Streams(0))
    assert asked == 2 * [("standard", 8), ("fixmatch-weak", 16), ("fixmatch-strong", 16)]


@pytest.mark.parametrize("alignment", ["off", "uniform", "labeled"])
def test_what_a_reader_sees(alignment: str):
    task, _ = digits(40, v=50)
    task = dataclasses.replace(task, labels=task.labels.clamp(max=8))
    classifier = dataclasses.replace(QUICK, distribution_alignment=alignment).fit(task, HP, None, Streams(0))
    found = classifier.diagnostics
    assert found["threshold"] == 0.3
    assert found["epochs"] == [0, 1, 2]
    assert len(found["mask_rate"]) == 3
    assert all(0 <= rate <= 1 for rate in found["mask_rate"])
    assert sum(found["marginals"]) == pytest.approx(1, abs=1e-5)
    assert len(found["marginals"]) == 10
    if alignment == "off":
        assert found["target"] is None
    else:
        assert sum(found["target"]) == pytest.approx(1, abs=1e-5)
        assert found["target"][9] == pytest.approx(0.1 if alignment == "uniform" else 0)
    assert found["mask_rate"] == [row["mask_rate"] for row in classifier.history]
    assert all(0 <= row["guess_entropy"] <= math.log(10) + 1e-4 for row in classifier.history)


@pytest.mark.parametrize("epochs", [1, 49, 50, 51, 200, 1001])
def test_a_long_curve_is_thinned_and_ends_with_the_last_epoch(epochs: int):
    history = [{"epoch": float(i), "mask_rate": i / epochs} for i in range(epochs)]
    found = _diagnostics(history, torch.full((2,), 0.5), None, 0.95)
    assert min(epochs, CURVE_POINTS // 2) <= len(found["epochs"]) <= CURVE_POINTS
    assert found["epochs"][-1] == epochs - 1
    assert found["mask_rate"] == [i / epochs for i in found["epochs"]]
    assert len({b - a for a, b in zip(found["epochs"], found["epochs"][1:], strict=False)}) <= 1


@pytest.mark.parametrize("imbalance", ["auto", "oversample", "weighted", "none"])
@pytest.mark.parametrize("case", ["one label each", "one class", "a class is missing", "one label", "no pool"])
def test_small_and_lopsided_sets_are_trained_on(imbalance: str, case: str):
    labels = {
        "one label each": torch.arange(10),
        "one class": torch.full((12,), 4),
        "a class is missing": torch.arange(27) % 9,
        "one label": torch.tensor([2]),
        "no pool": torch.arange(20) % 7,
    }[case]
    task = noise(len(labels), 40, 0 if case == "no pool" else 5, balanced=False, metric="balanced_accuracy")
    task = dataclasses.replace(task, labels=labels)
    quick = dataclasses.replace(QUICK, epochs=1, imbalance=imbalance, distribution_alignment="labeled")
    classifier = quick.fit(task, HP, None, Streams(0))
    assert log_probs(classifier, task.val_images).isfinite().all()
    assert 0 <= classifier.val_score <= 1


def test_classes_are_weighted_unless_they_are_balanced(monkeypatch: pytest.MonkeyPatch):
    made = []

    class Watched(FixMatch):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)
            made.append((self.class_weights is not None, self.draw is not None))

    monkeypatch.setattr(semi_sl, "FixMatch", Watched)
    quick = dataclasses.replace(QUICK, epochs=1, steps=1)
    for balanced, imbalance in ((True, "auto"), (False, "auto"), (False, "oversample"), (True, "weighted")):
        task = noise(4, 4, 4, balanced=balanced)
        dataclasses.replace(quick, imbalance=imbalance).fit(task, HP, None, Streams(0))
    assert made == [(False, False), (True, False), (False, True), (True, False)]


def test_nothing_labeled_is_explained():
    with pytest.raises(FathomError, match="got 0 and 10"):
        QUICK.fit(noise(0, 10, 10), HP, None, Streams(0))


def test_the_study_is_the_default_and_what_is_changed_says_so():
    assert isinstance(build_paradigm("semi-sl"), Paradigm)
    assert build_paradigm("semi-sl").recipe_name == "study"
    assert build_paradigm("semi-sl(dropout=0.5, lr=0.03, search=1)").recipe_name == "study"
    assert (
        build_paradigm("semi-sl(distribution_alignment=uniform)").recipe_name
        == "changed (distribution_alignment=uniform)"
    )
    assert build_paradigm("semi-sl(momentum=0.5)").recipe_name == "changed (momentum=0.5)"
    assert build_paradigm("semi-sl(recipe=short)").recipe_name.startswith("short (epochs=")
    assert (
        f"threshold={semi_sl.SHORT['threshold']}" in build_paradigm("semi-sl(recipe=short, threshold=.95)").recipe_name
    )
    assert (
        build_paradigm("semi-sl").training_images(50) == build_paradigm("semi-sl").training_images(5000) == 192_000_000
    )  # the study's count
    assert build_paradigm("semi-sl").validation_images(250) == 50_000
    assert build_paradigm("semi-sl").preparation == build_paradigm("semi-sl").backbone == ""


def test_the_grid_is_what_the_study_chose_from():
    task = noise(1, 1, 1)
    assert SemiSL().grid(task) == [{"lr": 0.03, "weight_decay": w} for w in (0.0005, 0.001)]
    assert build_paradigm("semi-sl(lr=0.3|0.03, weight_decay=5e-4)").grid(task) == [
        {"lr": lr, "weight_decay": 0.0005} for lr in (0.3, 0.03)
    ]
    assert len(build_paradigm("semi-sl(recipe=short)").grid(task)) == 1


def test_large_images_are_warmed_up_as_published():
    assert [SemiSL()._warmup(family) for family in ("cifar", "digits", "isic", "imagenet")] == [0, 0, 3, 3]
    assert SemiSL(warmup=5)._warmup("cifar") == 5
    assert SemiSL(warmup=0)._warmup("isic") == 0
    assert SemiSL(epochs=2)._warmup("isic") == 1  # as many as there are epochs for


@pytest.mark.parametrize("text", ["semi-sl", "semi-sl(recipe=short)"])
@pytest.mark.parametrize("images", [20, 512, 2000])
def test_a_probe_trains_on_about_so_many_views(text: str, images: int):
    task, _ = digits(30, v=20)
    probe = build_paradigm(text).benchmark_copy(images)
    assert images / 2 <= probe.training_images(30) <= images
    if images < 1000:
        assert len(probe.fit(task, HP, None, Streams(0)).history) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("semi-sl(tau=1)", "no parameter 'tau'"),
        ("semi-sl(distribution_alignment=on)", "distribution_alignment must be one of off, uniform, labeled; got on"),
        ("semi-sl(network=vgg)", "network must be one of auto, resnet18, cnn; got vgg"),
        ("semi-sl(imbalance=fix)", "imbalance must be one of"),
        ("semi-sl(recipe=long)", "recipe must be one of study, short"),
        ("semi-sl(epochs=0)", "epochs must be at least 1"),
        ("semi-sl(steps=0)", "steps must be at least 1"),
        ("semi-sl(mu=0)", "mu must be at least 1"),
        ("semi-sl(epochs=5, warmup=5)", "warmup must be -1 .* below the 5 epochs; got 5"),
        ("semi-sl(threshold=1.5)", r"threshold must be a probability in \[0, 1\]; got 1.5"),
        ("semi-sl(temperature=0)", "temperature must be positive"),
        ("semi-sl(lambda_u=-1)", "lambda_u must be a number from 0"),
        ("semi-sl(ema=1.0)", r"ema must be a number in \[0, 1\)"),
        ("semi-sl(lr=0)", "lr must be positive"),
        ("semi-sl(dropout=most)", "dropout must be auto, all or"),
    ],
)
def test_mistakes_are_explained(text: str, message: str):
    with pytest.raises(FathomError, match=message):
        build_paradigm(text)


def test_every_parameter_is_known_without_importing():
    assert index()["paradigm"]["semi-sl"].parameters == {f.name: f.default for f in dataclasses.fields(SemiSL)}
