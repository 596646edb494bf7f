"""The loop: against a plain one, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from tests.learn.tasks import Pixels, noise
from torch.nn.functional import cross_entropy

from fathom.learn.augment import Augmentation
from fathom.learn.fit import Optimization, fit, parameter_groups, validation
from fathom.learn.metrics import validation_score
from fathom.learn.network import Network, build_network
from fathom.learn.plan import batch_sizes, batches, epoch_plan
from fathom.records import FathomError, NonFiniteError
from fathom.streams import Stream

CPU = torch.device("cpu")


def network(name: str = "cnn", side: int = 8) -> Network:
    return build_network(name, (side, side), 10, 0.0, Stream(0, ("init",)), CPU)


def data(count: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, 8, 8, generator=generator)
    return x, torch.randint(10, (count,), generator=generator)


def test_weight_decay_leaves_out_every_bias_and_every_normalization():
    net = network("resnet18", 32)
    decayed, spared = (group["params"] for group in parameter_groups(net, 0.01))
    names = {id(p): name for name, p in net.named_parameters()}
    assert {names[id(p)] for p in decayed} | {names[id(p)] for p in spared} == set(names.values())
    assert len(decayed) == 21  # 20 convolutions and the head
    assert all(p.ndim > 1 for p in decayed)
    assert len(spared) == 2 * 20 + 1  # weight and bias of each normalization, the head's bias
    assert "encoder.layer2.0.downsample.1.weight" in {names[id(p)] for p in spared}
    assert [g["weight_decay"] for g in parameter_groups(net, 0.01)] == [0.01, 0.0]


def test_the_loop_is_a_plain_loop_step_for_step():
    x, y = data()
    sizes = batch_sizes(48, 16, "merge")
    ours, plain = network(), network()

    def losses(epoch: int):
        for ids in batches(epoch_plan(48, 48, Stream(0, ("order", epoch)).torch()), sizes):
            yield cross_entropy(ours(x[ids]), y[ids])

    _, history = fit(ours, losses, 3, Optimization(0.1, 0.01, epochs=3, warmup=1), None)

    decay = [m.weight for m in plain.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    rest = [p for p in plain.parameters() if all(p is not d for d in decay)]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)

    def schedule(step: int) -> float:
        return step / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 6))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    plain.train()
    means = []
    for epoch in range(3):
        order, values = epoch_plan(48, 48, Stream(0, ("order", epoch)).torch()), []
        for start in range(0, 48, 16):
            ids = order[start : start + 16]
            optimizer.zero_grad()
            loss = cross_entropy(plain(x[ids]), y[ids])
            loss.backward()
            optimizer.step()
            scheduler.step()
            values.append(loss.item())
        means.append(np.mean(values))
    for (name, a), b in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)
    assert [row["loss"] for row in history] == pytest.approx(means, rel=1e-5)
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert history[0]["lr"] == pytest.approx(0.1 * 2 / 3)


def scripted(
    scores: list[float], losses: list[float] | None = None
) -> tuple[Network, tuple[float, list[dict[str, float]]], list]:
    """A training whose validation says what we want; and the head's weights after each epoch."""
    x, y = data()
    net, seen = network(), []

    def each(epoch: int):
        for ids in batches(torch.arange(48), [24, 24]):
            yield cross_entropy(net(x[ids]), y[ids])

    def validate():
        seen.append({name: t.clone() for name, t in net.state_dict().items()})
        i = len(seen) - 1
        return torch.tensor(scores[i]), torch.tensor((losses or [1.0] * len(scores))[i])

    return net, fit(net, each, 2, Optimization(0.1, 0.0, epochs=len(scores), warmup=0), validate), seen


@pytest.mark.parametrize(
    ("scores", "losses", "best"),
    [
        ([0.1, 0.5, 0.3], None, 1),
        ([0.2, 0.5, 0.5], None, 1),  # the first of equals
        ([0.1, 0.9, 0.3], [1.0, math.nan, 1.0], 2),  # an epoch with a NaN is never the best
        ([0.0, 0.0], None, 0),
    ],
)
def test_the_best_epoch_is_restored_with_its_buffers(scores: list[float], losses: list[float] | None, best: int):
    net, (score, history), seen = scripted(scores, losses)
    assert score == pytest.approx(scores[best])
    assert [row["val_score"] for row in history] == pytest.approx(scores)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, seen[best][name]), name
    last = seen[-1]["encoder.1.running_mean"]
    assert best == len(scores) - 1 or not torch.equal(net.state_dict()["encoder.1.running_mean"], last)


def test_no_valid_epoch_is_a_typed_failure():
    with pytest.raises(NonFiniteError, match="not finite after any epoch"):
        scripted([0.5, 0.5], [math.nan, math.inf])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named_with_step_and_epoch(value: float):
    x, y = data()
    net = network()

    def losses(epoch: int):
        for step in range(4):
            yield cross_entropy(net(x), y) * (value if (epoch, step) == (1, 2) else 1.0)

    with pytest.raises(NonFiniteError, match="in step 2 of epoch 1"):
        fit(net, losses, 4, Optimization(0.01, 0.0, epochs=3, warmup=0), None)


@pytest.mark.parametrize("name", ["encoder.1.running_var", "encoder.0.weight"])
def test_a_poisoned_buffer_or_weight_is_found_though_the_loss_is_finite(name: str):
    """As fp16 did to the published runs: BatchNorm's buffers take a NaN while the training loss looks healthy."""
    x, y = data()
    net = network()
    predicted = []

    def losses(epoch: int):
        yield cross_entropy(net(x), y)
        loss = cross_entropy(net(x), y)
        if epoch == 1:
            with torch.no_grad():
                net.state_dict(keep_vars=True)[name][0] = math.nan
            loss = loss.detach().requires_grad_()
        yield loss

    def validate():
        predicted.append(1)
        return torch.tensor(0.5), torch.tensor(1.0)

    with pytest.raises(NonFiniteError, match=rf"after epoch 1, though every loss was: .*{name}"):
        fit(net, losses, 2, Optimization(0.01, 0.0, epochs=3, warmup=0), validate)
    assert len(predicted) == 2  # the third epoch was never begun


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("you can't allocate memory")]
)
def test_memory_that_runs_out_in_training_becomes_advice(error: Exception):
    def losses(epoch: int):
        raise error
        yield

    with pytest.raises(FathomError, match="smaller batch_size"):
        fit(network(), losses, 1, Optimization(0.1, 0.0, epochs=1, warmup=0), None)


def test_other_errors_stay_what_they_are():
    def losses(epoch: int):
        raise RuntimeError("shape mismatch")
        yield

    with pytest.raises(RuntimeError, match=r"^shape mismatch$"):
        fit(network(), losses, 1, Optimization(0.1, 0.0, epochs=1, warmup=0), None)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_validation_is_one_pass_over_all_images(metric: str):
    task = noise(1, 700, 0)
    labels = torch.where(task.val_labels > 6, 2, task.val_labels)  # classes 7 to 9 are absent
    net = network().eval()
    augmentation = Augmentation("digits", "standard", task.mean, task.std, CPU)
    score, loss = validation(net, task.val_images, labels, augmentation, metric, None)()
    with torch.no_grad():
        logits = net(augmentation.test(task.val_images.take(torch.arange(700))))
    right = (logits.argmax(1) == labels).double()
    recalls = [float(right[labels == c].mean()) for c in range(7)]
    expected = float(right.mean()) if metric == "accuracy" else float(np.mean(recalls))
    assert float(score) == pytest.approx(expected)
    assert float(loss) == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-5)


def test_scores_equal_sklearn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    predicted = np.where(rng.random(300) < 0.6, labels, rng.integers(0, 4, 300))
    got = validation_score(torch.from_numpy(predicted), torch.from_numpy(labels), 6, "balanced_accuracy")
    assert float(got) == pytest.approx(balanced_accuracy_score(labels, predicted))
    with pytest.raises(FathomError, match="expected accuracy or balanced_accuracy"):
        validation_score(torch.from_numpy(predicted), torch.from_numpy(labels), 6, "f1")


def test_with_masks_validation_takes_the_mean_of_the_draws():
    task = noise(1, 60, 0)
    net = build_network("cnn", (8, 8), 10, 0.5, Stream(0, ("init",)), CPU)
    masks = net.masks(7, Stream(0, ("dropout",)))
    augmentation = Augmentation("digits", "standard", task.mean, task.std, CPU)
    _, loss = validation(net, task.val_images, task.val_labels, augmentation, "accuracy", masks)()
    with torch.no_grad():
        features = net.encode(augmentation.test(task.val_images.take(torch.arange(60))))
        probabilities = torch.stack([net.head(features * mask).softmax(1) for mask in masks]).mean(0)
    expected = -probabilities[torch.arange(60), task.val_labels].log().mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_images_of_a_validation_set_are_read_once():
    reads = []
    images = Pixels(noise(1, 60, 0).val_images.x, reads.append)
    augmentation = Augmentation("digits", "standard", (0.3,) * 3, (0.3,) * 3, CPU)
    validate = validation(network(), images, torch.zeros(60, dtype=torch.int64), augmentation, "accuracy", None)
    validate()
    validate()
    assert reads == [60]
