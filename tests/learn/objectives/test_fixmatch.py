"""FixMatch: against formulas written out, and what becomes of the edges."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults import fault
from tests.learn.tasks import Pixels, digits, noise

from fathom.core.streams import Stream, Streams
from fathom.learn.augment.families import Augmentation
from fathom.learn.network import Network, build_network
from fathom.learn.objectives.fixmatch import (
    MEMORY,
    FixMatch,
    PseudoLabels,
    align,
    passes,
    target_marginal,
    unlabeled_loss,
)
from fathom.learn.task import Task

MISSING_CLASS = fault(
    "labels", "class missing in the labeled, training or test images", "weights and head keep all classes"
)

CPU = torch.device("cpu")
VIEWS = ("standard", "fixmatch-weak", "fixmatch-strong")


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def objective(task: Task, steps: int = 3, batch: int = 4, dropout: float = 0.0, **changes: object) -> FixMatch:
    imbalance = str(changes.pop("imbalance", "none"))
    network = build_network("cnn", (8, 8), task.num_classes, dropout, Stream(0, ("init",)), CPU)
    views = tuple(Augmentation("digits", s, task.mean, task.std, CPU) for s in VIEWS)
    guessing = PseudoLabels(**({"mu": 3} | changes))  # type: ignore[arg-type]
    return FixMatch(task, network, views, [batch] * steps, guessing, imbalance, Streams(0), "fp32")


class Told(Network):
    """A network that says what it is told."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__(torch.nn.Identity(), logits.shape[1], logits.shape[1])
        self.logits = logits

    def forward(self, x: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        return self.logits


def told(logits: torch.Tensor, labels: torch.Tensor, task: Task, batch: int, **changes: object) -> torch.Tensor:
    made = objective(task, batch=batch, **changes)
    made.network = Told(logits)
    return made.loss(torch.zeros(len(logits), 3, 8, 8), labels)


def random_logits(count: int, c: int, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(count, c, generator=torch.Generator().manual_seed(seed)) * scale


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    b=st.integers(1, 6),
    mu=st.integers(1, 4),
    c=st.integers(2, 7),
    threshold=st.sampled_from([0.0, 0.5, 0.8, 0.95, 1.0]),
    lambda_u=st.sampled_from([0.0, 1.0, 2.5]),
)
def test_the_loss_is_the_published_formula(seed: int, b: int, mu: int, c: int, threshold: float, lambda_u: float):
    """Equations 3 and 4: the unlabeled part is divided by mu * B, not by how many guesses are confident."""
    logits = random_logits(b * (1 + 2 * mu), c, seed).double()
    labels = torch.randint(c, (b,), generator=torch.Generator().manual_seed(seed))
    task = dataclasses.replace(noise(b, 1, 5), labels=labels, num_classes=c)
    got = told(logits, labels, task, b, mu=mu, threshold=threshold, lambda_u=lambda_u)
    p = softmax(logits.numpy())
    supervised = np.mean([-math.log(p[i, labels[i]]) for i in range(b)])
    unlabeled = 0.0
    for i in range(mu * b):
        weak, strong = p[b + i], p[b + mu * b + i]
        if weak.max() >= threshold:
            unlabeled -= math.log(strong[weak.argmax()])
    assert float(got) == pytest.approx(supervised + lambda_u * unlabeled / (mu * b), rel=1e-5)


@pytest.mark.parametrize(("temperature", "confidence"), [(1.0, 0.88079708), (0.5, 0.98201379), (2.0, 0.73105858)])
def test_the_temperature_divides_the_logits_that_confidence_is_read_from(temperature: float, confidence: float):
    """1 / (1 + exp(-2 / T)) for two classes that are 2 apart; what is learned from is the same likeliest class."""
    made = objective(noise(4, 1, 5), temperature=temperature)
    assert made.pseudo_label(torch.tensor([[1.0, 3.0]]))[0, 1].item() == pytest.approx(confidence, abs=1e-6)
    task = dataclasses.replace(noise(1, 1, 5), labels=torch.tensor([0]), num_classes=2)
    logits = torch.tensor([[5.0, 0.0], [1.0, 3.0], [0.0, 0.0]])  # labeled, weak, strong
    supervised, learned = math.log(1 + math.exp(-5)), math.log(2) if confidence >= 0.95 else 0.0
    loss = told(logits, task.labels, task, 1, mu=1, threshold=0.95, temperature=temperature)
    assert float(loss) == pytest.approx(supervised + learned, abs=1e-6)


def test_no_gradient_flows_through_the_guesses():
    logits = random_logits(4 + 2 * 12, 10).requires_grad_()
    told(logits, torch.arange(4), noise(4, 1, 5), 4, threshold=0.3, alignment="uniform").backward()
    assert logits.grad is not None
    assert (logits.grad[4:16] == 0).all()
    strong = logits.grad[16:].abs().sum(1) > 0
    guesses = logits.detach()[4:16].softmax(1)
    aligned = align(guesses, torch.full((10,), 0.1), guesses.mean(0))
    assert torch.equal(strong, aligned.max(1).values >= 0.3)
    assert strong.any()


def test_alignment_is_that_of_remixmatch_step_for_step():
    """Against a plain list of the last 128 batch means, over more steps than are remembered."""
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    for alignment, target in (("uniform", np.full(4, 1 / 4)), ("labeled", np.array([3, 1, 2, 0]) / 6)):
        made = objective(dataclasses.replace(noise(6, 1, 5), labels=labels, num_classes=4), alignment=alignment)
        memory: list[np.ndarray] = []
        for step in range(MEMORY + 12):
            logits = random_logits(12, 4, step).double()
            got = made.pseudo_label(logits.float()).double().numpy()
            p = softmax(logits.numpy())
            memory = [*memory, p.mean(0)][-MEMORY:]
            scaled = p * (target + 1e-6) / (np.mean(memory, 0) + 1e-6)
            want = scaled / scaled.sum(1, keepdims=True)
            np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-6)
        assert int(made.seen) == MEMORY + 12


def test_off_leaves_the_guesses_alone():
    made = objective(noise(4, 1, 5))
    logits = random_logits(12, 10)
    assert torch.equal(made.pseudo_label(logits), logits.softmax(1))
    assert made.target is None


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), c=st.integers(2, 8))
def test_aligned_guesses_are_distributions_that_keep_the_order_within_equal_classes(seed: int, c: int):
    probs = random_logits(40, c, seed).softmax(1)
    marginal = probs.mean(0)
    got = align(probs, torch.full((c,), 1 / c), marginal)
    torch.testing.assert_close(got.sum(1), torch.ones(40))
    torch.testing.assert_close(align(probs, marginal, marginal), probs)  # nothing to move
    assert ((got / probs).argmax(1) == marginal.argmin()).all()  # the rarest guess gains most


def test_alignment_moves_biased_guesses_to_the_target():
    """A network that prefers class 0, on images of three equally frequent classes."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(3000) % 3
    logits = torch.nn.functional.one_hot(truth, 3) * 2.0 + torch.randn(3000, 3, generator=generator)
    logits[:, 0] += 3
    task = dataclasses.replace(noise(6, 1, 5), labels=torch.tensor([0, 1, 1, 2, 2, 2]), num_classes=3)
    found, right = {}, {}
    for alignment in ("off", "uniform", "labeled"):
        guesses = objective(task, alignment=alignment).pseudo_label(logits)
        found[alignment] = guesses.mean(0)
        right[alignment] = float((guesses.argmax(1) == truth).double().mean())
    assert found["off"][0] > 0.6
    for alignment, target in (("uniform", [1 / 3, 1 / 3, 1 / 3]), ("labeled", [1 / 6, 2 / 6, 3 / 6])):
        far, near = (float((found[a] - torch.tensor(target)).abs().sum()) for a in ("off", alignment))
        assert near < far / 2, alignment
    assert right["uniform"] > right["off"] + 0.15


@MISSING_CLASS
def test_the_target_is_of_length_c_though_a_class_is_missing():
    labels = torch.tensor([0, 0, 3])
    assert target_marginal("off", labels, 5) is None
    assert target_marginal("uniform", labels, 5).tolist() == pytest.approx([0.2] * 5)
    assert target_marginal("labeled", labels, 5).tolist() == pytest.approx([2 / 3, 0, 0, 1 / 3, 0])


@MISSING_CLASS
def test_class_weights_are_of_length_c_though_a_class_is_missing():
    labels = torch.tensor([0, 0, 0, 2])
    task = dataclasses.replace(noise(4, 1, 5), labels=labels, num_classes=4, balanced=False)
    made = objective(task, imbalance="weighted")
    assert made.class_weights.tolist() == pytest.approx([4 / (2 * 3), 0, 4 / (2 * 1), 0])
    logits = random_logits(28, 4).double()
    got = told(logits, labels, task, 4, imbalance="weighted", threshold=1.0, lambda_u=0.0)
    p, w = softmax(logits.numpy()), np.array([2 / 3, 0, 2, 0])[labels]
    want = -(w * np.log(p[np.arange(4), labels])).sum() / w.sum()
    assert float(got) == pytest.approx(want, rel=1e-5)


def test_the_numbers_are_those_of_the_epoch():
    made = objective(noise(4, 1, 5), steps=3, threshold=0.5)
    marginals, rates = [], []
    for step in range(3):
        logits = random_logits(28, 10, step, scale=1.5)
        made.network = Told(logits)
        made.loss(torch.zeros(28, 3, 8, 8), torch.arange(4))
        p = softmax(logits[4:16].double().numpy())
        marginals.append(p.mean(0))
        rates.append((p.max(1) >= 0.5).mean())
    numbers = {name: float(value) for name, value in made.numbers().items()}
    mean = np.mean(marginals, 0)
    assert 0 < np.mean(rates) < 1
    assert numbers["mask_rate"] == pytest.approx(np.mean(rates))
    assert numbers["guess_entropy"] == pytest.approx(-(mean * np.log(mean)).sum(), rel=1e-5)
    np.testing.assert_allclose(made.marginal.numpy(), mean, rtol=1e-5)
    assert float(made.sums.abs().sum()) == 0  # the next epoch begins anew


@settings(max_examples=40, deadline=None, derandomize=True)
@given(count=st.integers(1, 30), length=st.integers(1, 100), seed=st.integers(0, 99))
def test_every_image_comes_once_before_any_comes_again(count: int, length: int, seed: int):
    order = passes(count, length, torch.Generator().manual_seed(seed))
    assert len(order) == length
    for part in order.split(count):
        assert len(part.unique()) == len(part)
    assert set(order.tolist()) <= set(range(count))


@pytest.mark.parametrize(("m", "pool"), [(40, 200), (1, 3), (3, 1), (5, 0)])
def test_a_step_has_its_size_however_few_images_there_are(m: int, pool: int):
    made = objective(noise(m, 1, pool), steps=4, batch=6)
    drawn = list(made.batches(0))
    assert len(drawn) == 4
    for x, labels in drawn:
        assert x.shape == (6 * 7, 3, 8, 8)
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert labels.shape == (6,)
        assert made.loss(x, labels).isfinite()
    again = list(made.batches(0))
    assert all(torch.equal(a, b) for one, two in zip(drawn, again, strict=True) for a, b in zip(one, two, strict=True))
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(drawn, made.batches(1), strict=True))


def test_the_three_views_are_of_the_right_images():
    """Labeled images are black, those of the pool gray; weak and strong are views of the same image."""
    task = noise(5, 1, 4)
    grays = torch.tensor([60, 110, 160, 210], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 8, 8)
    task = dataclasses.replace(task, images=Pixels(torch.zeros(5, 3, 8, 8, dtype=torch.uint8)), pool=Pixels(grays))
    made = objective(task, steps=2, batch=4)
    for x, _ in made.batches(0):
        level = ((x * 0.35 + 0.3) * 255).round().amax((1, 2, 3)).int()
        assert (level[:4] == 0).all()
        assert set(level[4:].tolist()) <= {60, 110, 160, 210}
        assert torch.equal(level[4:16], level[16:])
        assert all(len(set(part.tolist())) == 4 for part in level[4:16].split(4))  # each image once in a pass
        assert not torch.equal(x[4:16], x[16:])


def test_the_labels_are_those_of_the_labeled_views():
    task = noise(9, 1, 4)
    x = torch.arange(1, 10, dtype=torch.uint8).mul(20).view(9, 1, 1, 1).expand(9, 3, 8, 8)
    made = objective(dataclasses.replace(task, images=Pixels(x), labels=torch.arange(9)), steps=3, batch=6)
    for views, labels in made.batches(0):
        level = ((views[:6] * 0.35 + 0.3) * 255).round().amax((1, 2, 3)).int()
        assert torch.equal(level // 20 - 1, labels.int())


def test_all_labeled_means_that_the_labeled_images_are_the_unlabeled_ones():
    made = objective(noise(5, 1, 0))
    assert made.unlabeled == 5
    assert torch.equal(made.read_unlabeled(torch.arange(5)), made.read(torch.arange(5)))


def test_dropout_is_on_labeled_and_strong_views_alone():
    made = objective(noise(8, 1, 20), dropout=0.5)
    x, _, keep = next(iter(made.batches(0)))
    made.network.eval()  # BatchNorm apart, so that each image's logits depend on itself alone
    plain, dropped = made.network(x), made.network(x, keep)
    torch.testing.assert_close(dropped[4:16], plain[4:16], rtol=1e-5, atol=1e-6)
    assert ((dropped - plain).abs().amax(1) > 1e-3)[[*range(4), *range(16, 28)]].all()
    share = (keep[[*range(4), *range(16, 28)]] > 0).float().mean()
    assert 0.4 < float(share) < 0.6


def test_oversampling_draws_present_classes_equally_often():
    task, _ = digits(60, balanced=False)
    labels = (torch.arange(60) >= 54).long()
    made = objective(dataclasses.replace(task, labels=labels), steps=100, batch=10, imbalance="oversample")
    drawn = torch.cat([batch[1] for batch in made.batches(0)])
    assert 0.4 < float(drawn.double().mean()) < 0.6
    assert made.class_weights is None


def test_descent_makes_strong_views_agree_with_the_guesses():
    """Unlabeled images are learned from: without their part of the loss, strong views stay farther from the guesses."""
    task, _ = digits(8, v=1)
    left = {}
    for lambda_u in (1.0, 0.0):
        made = objective(task, batch=8, lambda_u=lambda_u, threshold=0.0)
        batch = next(iter(made.batches(0)))
        optimizer = torch.optim.SGD(made.network.parameters(), lr=0.05)
        for _ in range(15):
            optimizer.zero_grad()
            made.loss(*batch).backward()
            optimizer.step()
        _, weak, strong = made.network(batch[0]).detach().split([8, 24, 24])
        left[lambda_u] = float(unlabeled_loss(weak.softmax(1), strong, 0.0)[0])
    assert left[1.0] < 0.8 * left[0.0]


def test_the_mean_loss_of_no_confident_guess_is_nothing():
    loss, rate = unlabeled_loss(torch.full((5, 4), 0.25), random_logits(5, 4), 0.5)
    assert float(loss) == 0
    assert float(rate) == 0


def test_a_task_holds_no_label_of_the_pool():
    """What is not there cannot be learned from: the leak test of this paradigm."""
    held = {f.name for f in dataclasses.fields(Task)}
    assert {name for name in held if "label" in name} == {"labels", "val_labels"}
    task = noise(4, 1, 9)
    assert not hasattr(task.pool, "labels")
