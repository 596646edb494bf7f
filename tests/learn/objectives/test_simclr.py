"""SimCLR: the loss against its formula, mini-batches, a training that resumes."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learn.tasks import Pixels, digits

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.objectives.simclr import PUBLISHED, Pretraining, SimCLR, nt_xent, projecting_network, train_simclr
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, Unlabeled

QUICK = Pretraining(3, 32, 0.1, 1e-4, 1, "lars", temperature=0.5, jitter=0.25, blur=False)


def unlabeled(count: int, seed: int = 0) -> Unlabeled:
    task, _ = digits(10, seed=seed)
    return Unlabeled(Pixels(task.pool.take(torch.arange(count))), task.mean, task.std, task.augment)


def by_hand(z: np.ndarray[Any, Any], temperature: float) -> float:
    """Chen et al., 2020, Eq. 1, view by view."""
    z = z / np.sqrt((z**2).sum(1, keepdims=True))
    count = len(z)
    total = 0.0
    for i in range(count):
        others = [k for k in range(count) if k != i]
        similarities = {k: math.exp(float(z[i] @ z[k]) / temperature) for k in others}
        total -= math.log(similarities[(i + count // 2) % count] / sum(similarities.values()))
    return total / count


class Keeping(Checkpointer):
    """Keeps the last state; stops the work after so many epochs."""

    def __init__(self, stop: int = 10**9) -> None:
        self.kept: dict[str, torch.Tensor] | None = None
        self.stop, self.told = stop, []

    def load(self) -> dict[str, torch.Tensor] | None:
        return self.kept

    def save(self, state: Callable[[], dict[str, torch.Tensor]], *, force: bool = False) -> None:
        self.kept = state()
        if len(self.told) >= self.stop:
            raise InterruptedError

    def tell(self, done: int, of: int, numbers: Any, embed: Any = None) -> None:
        self.told.append((done, of, dict(numbers), embed))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 9), st.integers(1, 6), st.sampled_from([0.07, 0.1, 0.5, 2.0]), st.integers(0, 999))
def test_nt_xent_is_its_formula(pairs: int, width: int, temperature: float, seed: int):
    z = np.random.default_rng(seed).normal(size=(2 * pairs, width))
    assert float(nt_xent(torch.from_numpy(z), temperature)) == pytest.approx(by_hand(z, temperature), rel=1e-9)
    single = float(nt_xent(torch.from_numpy(z).float(), temperature))
    assert single == pytest.approx(by_hand(z, temperature), rel=2e-4, abs=1e-5)


def test_nt_xent_is_that_of_another_implementation():
    """Where pytorch-metric-learning is installed."""
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    z = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    theirs = losses.NTXentLoss(temperature=0.2)(z, torch.arange(6).repeat(2))
    torch.testing.assert_close(nt_xent(z, 0.2), theirs)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 999))
def test_neither_order_nor_side_nor_length_matters(seed: int):
    rng = np.random.default_rng(seed)
    first, second = torch.from_numpy(rng.normal(size=(2, 5, 4)))
    plain = float(nt_xent(torch.cat([first, second]), 0.3))
    order = torch.from_numpy(rng.permutation(5))
    assert float(nt_xent(torch.cat([second, first]), 0.3)) == pytest.approx(plain)
    assert float(nt_xent(torch.cat([first[order], second[order]]), 0.3)) == pytest.approx(plain)
    lengths = torch.from_numpy(rng.uniform(0.1, 9, size=(5, 1)))
    assert float(nt_xent(torch.cat([first * lengths, second]), 0.3)) == pytest.approx(plain)


def test_gradients_are_those_of_finite_differences():
    z = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: nt_xent(x, 0.2), (z,))


def test_half_precision_projections_are_compared_in_single():
    z = torch.randn(8, 16, generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    loss = nt_xent(z, 0.1)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(by_hand(z.double().numpy(), 0.1), rel=1e-5)


@pytest.mark.parametrize("views", [0, 1, 2, 3, 7])
def test_what_cannot_be_compared_is_refused(views: int):
    with pytest.raises(FathomError, match=f"two or more pairs of views; got {views}"):
        nt_xent(torch.randn(views, 4), 0.5)


@pytest.mark.parametrize(("count", "sizes"), [(100, [32, 32, 32]), (64, [32, 32]), (31, [31]), (2, [2])])
def test_an_incomplete_mini_batch_is_dropped_unless_it_is_all(count: int, sizes: list[int]):
    data = unlabeled(count)
    network = projecting_network("cnn", data, Stream(0, ("init",)))
    objective = SimCLR(data, network, QUICK, Stream(0, ("pretrain",)))
    assert objective.steps == len(sizes)
    assert [len(views) for (views,) in objective.batches(0)] == [2 * size for size in sizes]


def test_one_image_is_not_enough():
    with pytest.raises(FathomError, match="needs two or more; got 1"):
        train_simclr(unlabeled(1), "cnn", QUICK, Stream(0), NO_CHECKPOINT)


def test_every_image_is_seen_once_an_epoch_in_an_order_of_the_epoch():
    data = unlabeled(64)
    seen: list[int] = []
    network = projecting_network("cnn", data, Stream(0, ("init",)))
    objective = SimCLR(data, network, QUICK, Stream(0, ("pretrain",)))
    pieces = objective.read.pieces
    objective.read.pieces = lambda ids: pieces(seen.extend(each.tolist()) or each for each in ids)
    for epoch in (0, 1):
        assert len(list(objective.batches(epoch))) == 2
    assert sorted(seen[:64]) == sorted(seen[64:]) == list(range(64))
    assert seen[:64] != seen[64:]


def test_both_views_share_one_batch_norm():
    data = unlabeled(32)
    network = projecting_network("cnn", data, Stream(0, ("init",)))
    objective = SimCLR(data, network, QUICK, Stream(0, ("pretrain",)))
    counters = [b for name, b in network.named_buffers() if name.endswith("num_batches_tracked")]
    objective.loss(*next(objective.batches(0)))
    assert {int(counter) for counter in counters} == {1}


def test_the_projection_head_is_that_of_simclr():
    network = projecting_network("cnn", unlabeled(4), Stream(0, ("init",)))
    assert [type(m).__name__ for m in network.hidden] == ["Linear", "BatchNorm1d", "ReLU"]
    assert network.head.weight.shape == (128, network.dim)
    pretrain_state = network.state_dict()
    assert not pretrain_state["head.bias"].any()
    assert not network.head.bias.requires_grad


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
def test_a_stopped_pre_training_goes_on_to_the_same_bits(optimizer: str):
    data, how, stream = unlabeled(80), replace(QUICK, optimizer=optimizer), Stream(5, ("pretrain", 0))
    straight = train_simclr(data, "cnn", how, stream, NO_CHECKPOINT)
    checkpointer = Keeping(stop=2)
    with pytest.raises(InterruptedError):
        train_simclr(data, "cnn", how, stream, checkpointer)
    assert [done for done, *_ in checkpointer.told] == [1, 2]
    checkpointer.stop = 10**9
    resumed = train_simclr(data, "cnn", how, stream, checkpointer)
    assert [done for done, *_ in checkpointer.told] == [1, 2, 3]
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    fresh = projecting_network("cnn", data, stream.at("init")).encoder.state_dict()
    assert not torch.equal(straight["0.weight"], fresh["0.weight"])


def test_the_journal_is_told_the_loss_and_may_look_at_the_encoder():
    data, checkpointer = unlabeled(160), Keeping()
    before = torch.get_rng_state()
    state = train_simclr(
        data, "cnn", replace(QUICK, epochs=5, optimizer="sgd"), Stream(0, ("pretrain", 0)), checkpointer
    )
    assert torch.equal(torch.get_rng_state(), before)
    losses = [numbers["loss"] for _, _, numbers, _ in checkpointer.told]
    assert losses[-1] < losses[0] - 0.2
    assert losses[0] < math.log(63) + 1
    embed = checkpointer.told[-1][3]
    embeddings = embed(data.images)
    assert embeddings.shape == (160, 128)
    network = projecting_network("cnn", data, Stream(9, ("init",)))
    network.encoder.load_state_dict(dict(state))
    x = data.images.take(torch.arange(160)).float() / 255
    x = (x - torch.tensor(data.mean).view(1, 3, 1, 1)) / torch.tensor(data.std).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(network.eval().encode(x), embeddings, atol=1e-4, rtol=1e-4)


def test_bfloat16_learns_about_the_same():
    losses = []
    for precision in ("fp32", "bf16"):
        checkpointer = Keeping()
        train_simclr(
            unlabeled(64), "cnn", replace(QUICK, precision=precision), Stream(0, ("pretrain", 0)), checkpointer
        )
        losses.append(checkpointer.told[-1][2]["loss"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_no_epochs_leave_the_fresh_weights():
    data, stream = unlabeled(4), Stream(0, ("pretrain", 0))
    state = train_simclr(data, "cnn", replace(QUICK, epochs=0, warmup=0), stream, NO_CHECKPOINT)
    fresh = projecting_network("cnn", data, stream.at("init")).encoder.state_dict()
    assert all(torch.equal(state[name], fresh[name]) for name in fresh)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("epochs", -1, "pretrain_epochs"),
        ("batch_size", 1, "pretrain_batch"),
        ("lr", 0.0, "pretrain_lr"),
        ("weight_decay", -0.1, "pretrain_weight_decay"),
        ("warmup", 3, "pretrain_warmup"),
        ("optimizer", "adam", "pretrain_optimizer"),
        ("precision", "fp8", "pretrain_precision"),
        ("temperature", 0.0, "temperature"),
        ("jitter", 2.0, "jitter"),
    ],
)
def test_values_out_of_range_are_named_and_refused(field: str, value: object, named: str):
    with pytest.raises(FathomError, match=f"self-sl: {named} must be .*; got {value}"):
        replace(QUICK, **{field: value})


def test_the_study_is_written_down():
    assert PUBLISHED.keys() == {"cifar", "digits", "isic", "imagenet"}
    assert PUBLISHED["cifar"] == Pretraining(1000, 512, 1.0, 1e-4, 10, "lars", 0.5, 0.5, False)
    assert PUBLISHED["isic"] == Pretraining(1000, 256, 4.8, 1e-6, 10, "lars", 0.1, 1.0, True)
    assert PUBLISHED["imagenet"] == Pretraining(200, 256, 4.8, 1e-6, 10, "lars", 0.1, 1.0, True)
