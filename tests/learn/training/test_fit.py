"""The loop: against a plain one, what it keeps, and that it resumes."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from tests.faults import fault
from tests.learn.loops import CPU, Killed, Labeled, Memory, Remembering, data, network
from tests.learn.tasks import Pixels, digits, noise
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from fathom.core.records import FathomError, NonFiniteError
from fathom.core.streams import Stream, Streams
from fathom.learn.augment.families import Augmentation
from fathom.learn.network import Network, build_network
from fathom.learn.objectives.supervised import Supervised
from fathom.learn.training.batching import epoch_plan
from fathom.learn.training.fit import OPTIMIZERS, Objective, Optimization, fit, validation
from fathom.learn.training.step import parameter_groups
from fathom.learn.training.validation import validation_score


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


# ------------------------------------------------------------------------------------------------ against a plain loop


def plain_groups(plain: Network) -> list[dict[str, object]]:
    decay = [m.weight for m in plain.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    rest = [p for p in plain.parameters() if all(p is not d for d in decay)]
    return [{"params": decay, "weight_decay": 0.01}, {"params": rest}]


def half_cosine(step: int) -> float:
    return step / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 9))


def quarters(step: int) -> float:
    return step / 3 if step < 3 else 0.1 ** (step // 3)


@pytest.mark.parametrize(("schedule", "factor"), [("cosine", half_cosine), ("step", quarters)])
def test_the_loop_is_a_plain_loop_step_for_step(schedule: str, factor):
    """With torch's own SGD, scheduler and moving average: weights, buffers, average, losses, rates."""
    x, y = data()
    ours, plain = network(), network()
    how = Optimization(0.1, 0.01, epochs=4, warmup=1, schedule=schedule, ema=0.9)
    _, history = fit(ours, Labeled(ours), how)

    optimizer = torch.optim.SGD(plain_groups(plain), lr=0.1, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    average = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=False)
    average.update_parameters(plain)  # its first update copies: ours begins with the initial weights as well
    plain.train()
    means = []
    for epoch in range(4):
        order, values = epoch_plan(48, 48, Stream(0, ("order", epoch)).torch()), []
        for start in range(0, 48, 16):
            ids = order[start : start + 16]
            optimizer.zero_grad()
            loss = cross_entropy(plain(x[ids]), y[ids])
            loss.backward()
            optimizer.step()
            scheduler.step()
            average.update_parameters(plain)
            values.append(loss.item())
        means.append(np.mean(values))
    for (name, a), b in zip(ours.named_parameters(), average.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)
    for (name, a), b in zip(ours.named_buffers(), plain.buffers(), strict=True):  # buffers are copied
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)
    assert [row["loss"] for row in history] == pytest.approx(means, rel=1e-5)
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    assert [row["lr"] for row in history] == pytest.approx([0.1 * factor(step) for step in (2, 5, 8, 11)])


def test_without_average_the_last_weights_are_those_of_the_plain_loop_to_the_bit():
    """Momentum that begins at zero changes no bit of what torch's SGD does, which begins with the first gradient."""
    ours, plain = network(), network()
    fit(ours, Labeled(ours), Optimization(0.1, 0.01, epochs=2, schedule="step"))
    optimizer = torch.optim.SGD(parameter_groups(plain, 0.01), lr=0.1, momentum=0.9, nesterov=True, fused=True)
    objective, step = Labeled(plain), 0
    for epoch in range(2):
        for batch in objective.batches(epoch):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * 0.1 ** (4 * step // 6)
            optimizer.zero_grad()
            objective.loss(*batch).backward()
            optimizer.step()
            step += 1
    for (name, a), b in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


class Waits(TorchDispatchMode):
    """Counts how often the host asks for a number of a tensor, in whatever way."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += any(word in str(func) for word in ("_local_scalar_dense", "nonzero", "aten.equal"))
        self.count += "aten.index" in str(func) and any(t is not None and t.dtype == torch.bool for t in args[1])
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self.tolist = torch.Tensor.tolist

        def counted(tensor):
            self.count += 1
            return self.tolist(tensor)

        torch.Tensor.tolist = counted
        return super().__enter__()

    def __exit__(self, *error):
        torch.Tensor.tolist = self.tolist
        return super().__exit__(*error)


def test_waiting_is_seen():
    with Waits() as waits:
        torch.ones(3).tolist()
        torch.ones(1).item()
        if torch.ones(1):
            torch.ones(3)[torch.ones(3) > 0]
    assert waits.count == 4


@pytest.mark.parametrize("imbalance", ["none", "oversample", "weighted"])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_within_an_epoch_the_host_never_asks_for_a_number(imbalance: str, optimizer: str):
    """So it asks as often in an epoch of 2 steps as in one of 11."""
    counts = []
    task, _ = digits(60, v=30)
    for steps in (2, 11):
        net = network(dropout=0.5)
        augmentation = Augmentation("digits", "standard", task.mean, task.std, CPU)
        objective = Supervised(task, net, augmentation, [8] * steps, imbalance, Streams(0))
        validate = validation(task.val_images, task.val_labels, augmentation, "accuracy", 10, None)
        with Waits() as waits:
            fit(net, objective, Optimization(0.01, 0.001, epochs=1, optimizer=optimizer, ema=0.9), validate)
        counts.append(waits.count)
    assert counts[0] > 0  # the end of the epoch is fetched
    assert counts[0] == counts[1]


# ----------------------------------------------------------------------------------------------------- what is kept


def scripted(
    scores: list[float], losses: list[float] | None = None, **how: object
) -> tuple[Network, tuple[float, list[dict[str, float]]], list]:
    """A training whose validation says what we want; and what was validated after each epoch."""
    net, seen = network(), []

    def validate(shown: torch.nn.Module):
        seen.append({name: t.clone() for name, t in shown.state_dict().items()})
        i = len(seen) - 1
        return torch.tensor(scores[i]), torch.tensor((losses or [1.0] * len(scores))[i])

    return net, fit(net, Labeled(net), Optimization(0.1, 0.0, epochs=len(scores), **how), validate), seen


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize(
    ("scores", "losses", "best"),
    [
        ([0.1, 0.5, 0.3], None, 1),
        ([0.2, 0.5, 0.5], None, 1),  # the first of equals
        ([0.1, 0.9, 0.3], [1.0, math.nan, 1.0], 2),  # an epoch with a NaN is never the best
        ([0.0, 0.0], None, 0),
    ],
)
def test_the_best_epoch_is_restored_with_its_buffers(
    scores: list[float], losses: list[float] | None, best: int, ema: float
):
    net, (score, history), seen = scripted(scores, losses, ema=ema)
    assert score == pytest.approx(scores[best])
    assert [row["val_score"] for row in history] == pytest.approx(scores)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, seen[best][name]), name
    last = seen[-1]["encoder.1.running_mean"]
    assert best == len(scores) - 1 or not torch.equal(net.state_dict()["encoder.1.running_mean"], last)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_last_epoch_is_kept_where_that_is_asked_for(ema: float):
    net, (score, history), seen = scripted([0.1, 0.5, 0.3], keep="last", ema=ema)
    assert score == pytest.approx(0.3)
    assert [row["val_score"] for row in history] == pytest.approx([0.1, 0.5, 0.3])
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, seen[2][name]), name


def test_without_validation_the_last_epoch_is_kept_and_no_score_is_made_up():
    net = network()
    score, history = fit(net, Labeled(net), Optimization(0.1, 0.0, epochs=2))
    assert math.isnan(score)
    assert all("val_score" not in row for row in history)


def test_no_valid_epoch_is_a_typed_failure():
    with pytest.raises(NonFiniteError, match="not finite after any epoch"):
        scripted([0.5, 0.5], [math.nan, math.inf])


def test_numbers_of_the_objective_are_in_the_history_and_told():
    net, checkpointer = network(), Memory()
    seen = []
    _, history = fit(
        net,
        Remembering(net),
        Optimization(0.1, 0.0, epochs=3),
        checkpointer=checkpointer,
        embed=lambda shown: lambda images: seen.append(shown),
    )
    assert [(done, of) for done, of, _ in checkpointer.told] == [(1, 3), (2, 3), (3, 3)]
    assert all(
        numbers["mean_loss"] == row["mean_loss"] > 0
        for (*_, numbers), row in zip(checkpointer.told, history, strict=True)
    )
    assert "lr" not in checkpointer.told[0][2]


# --------------------------------------------------------------------------------------------------- going on again

COURSES = {
    "best": {},
    "last": {"keep": "last"},
    "average": {"ema": 0.8},
    "average, last": {"ema": 0.8, "keep": "last"},
    "lars": {"optimizer": "lars"},
    "without momentum": {"momentum": 0.0},
    "fp16": {"precision": "fp16"},
}


def validate_on(x: torch.Tensor, y: torch.Tensor):
    def validate(net: torch.nn.Module):
        net.eval()
        with torch.no_grad():
            logits = net(x)
        return (logits.argmax(1) == y).double().mean(), cross_entropy(logits, y)

    return validate


def trained(checkpointer: Memory, how: dict[str, object], epochs: int = 4):
    net = network(hidden=16)
    optimization = Optimization(0.05, 0.001, epochs=epochs, warmup=1, **how)
    return net, fit(net, Remembering(net), optimization, validate_on(*data()), checkpointer=checkpointer)


@pytest.mark.parametrize("course", list(COURSES))
@pytest.mark.parametrize("dies", [1, 2, 3])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(course: str, dies: int):
    how = COURSES[course]
    straight, (score, history) = trained(Memory(), how)
    checkpointer = Memory(dies)
    with pytest.raises(Killed):
        trained(checkpointer, how)
    assert len(checkpointer.told) == dies
    resumed, (score_again, history_again) = trained(checkpointer, how)
    assert len(checkpointer.told) == 4  # no epoch twice
    assert (score_again, history_again) == (score, history)
    for (name, a), b in zip(resumed.state_dict().items(), straight.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_saved_state_is_tensors_on_the_cpu_alone():
    checkpointer = Memory()
    trained(checkpointer, {"ema": 0.9})
    assert all(t.device == CPU for t in checkpointer.kept.values())
    assert {name.split(".")[0] for name in checkpointer.kept} == {
        "network", "best", "average", "objective", "momentum", "words"
    }  # fmt: skip
    words = json.loads(checkpointer.kept["words"].numpy().tobytes())
    assert len(words["history"]) == 3


def test_a_state_of_another_training_is_explained():
    checkpointer = Memory()
    trained(checkpointer, {})
    with pytest.raises(FathomError, match="does not fit this training"):
        trained(checkpointer, {"ema": 0.9})
    checkpointer.kept = {name: t for name, t in checkpointer.kept.items() if not name.startswith("network.head")}
    with pytest.raises(FathomError, match="Delete it"):
        trained(checkpointer, {})


# ---------------------------------------------------------------------------------------------------------- memory


class Failing(Objective):
    """Its first mini-batch fails."""

    steps = 1

    def __init__(self, error: Exception) -> None:
        self.error = error

    def batches(self, epoch: int):
        raise self.error
        yield


@fault("machine", "out of memory in training", "advice; the mini-batch is never changed silently")
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("you can't allocate memory"), MemoryError()]
)
def test_memory_that_runs_out_in_training_becomes_advice(error: Exception):
    with pytest.raises(FathomError, match=r"smaller mini-batches .its batch_size; before labels, its pretrain_batch"):
        fit(network(), Failing(error), Optimization(0.1, 0.0, epochs=1))


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("too few")])
def test_other_errors_stay_what_they_are(error: Exception):
    with pytest.raises(type(error), match=f"^{error}$"):
        fit(network(), Failing(error), Optimization(0.1, 0.0, epochs=1))


def test_a_mini_batch_of_one_that_cannot_be_normalized_becomes_advice():
    """A head of two layers normalizes over the samples alone."""
    net = network(hidden=16)
    with pytest.raises(FathomError, match=r"a mini-batch of one sample .* last_batch=merge"):
        fit(net, Labeled(net, batch=47, last="keep"), Optimization(0.1, 0.0, epochs=1))
    fit(net, Labeled(net, batch=47, last="merge"), Optimization(0.1, 0.0, epochs=1))


# ------------------------------------------------------------------------------------------------------ validation


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_validation_is_one_pass_over_all_images(metric: str):
    task = noise(1, 700, 0)
    labels = torch.where(task.val_labels > 6, 2, task.val_labels)  # classes 7 to 9 are absent
    net = network().eval()
    augmentation = Augmentation("digits", "standard", task.mean, task.std, CPU)
    score, loss = validation(task.val_images, labels, augmentation, metric, 10, None)(net)
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
    _, loss = validation(task.val_images, task.val_labels, augmentation, "accuracy", 10, masks)(net)
    with torch.no_grad():
        features = net.eval().encode(augmentation.test(task.val_images.take(torch.arange(60))))
        probabilities = torch.stack([net.head(features * mask).softmax(1) for mask in masks]).mean(0)
    expected = -probabilities[torch.arange(60), task.val_labels].log().mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_images_of_a_validation_set_are_read_once():
    reads = []
    images = Pixels(noise(1, 60, 0).val_images.x, reads.append)
    augmentation = Augmentation("digits", "standard", (0.3,) * 3, (0.3,) * 3, CPU)
    validate = validation(images, torch.zeros(60, dtype=torch.int64), augmentation, "accuracy", 10, None)
    net = network()
    validate(net)
    validate(net)
    assert reads == [60]
