"""The labeled objective: what it shows, how often, and what a class weighs."""

import pytest
import torch
from tests.faults import fault
from tests.learn.loops import CPU, network
from tests.learn.tasks import noise
from torch.nn.functional import cross_entropy

from fathom.core.streams import Streams
from fathom.learn.augment.families import Augmentation
from fathom.learn.objectives.supervised import Supervised

LABELS = torch.tensor([0] * 40 + [1] * 8 + [3] * 2)  # of ten classes, most are absent


def objective(imbalance: str, sizes: list[int], dropout: float = 0.0, seed: int = 0) -> Supervised:
    task = noise(len(LABELS), 5, 5)
    object.__setattr__(task, "labels", LABELS)
    augmentation = Augmentation("digits", "standard", task.mean, task.std, CPU)
    net = network(dropout=dropout)
    net.eval()
    return Supervised(task, net, augmentation, sizes, imbalance, Streams(seed))


def test_an_epoch_has_its_sizes_and_is_the_same_each_time():
    chosen = objective("none", [16, 16, 9])
    first, again, other = list(chosen.batches(3)), list(chosen.batches(3)), list(chosen.batches(4))
    assert chosen.steps == 3
    assert [len(x) for x, _ in first] == [16, 16, 9]
    for a, b in zip(first, again, strict=True):
        assert all(torch.equal(t, u) for t, u in zip(a, b, strict=True))
    assert not torch.equal(first[0][0], other[0][0])


def test_with_dropout_each_image_has_a_mask():
    (x, labels, keep), *_ = objective("none", [20, 20], dropout=0.5).batches(0)
    assert keep.shape == (20, 128)
    assert keep.dtype == torch.bool
    assert len(keep.unique(dim=0)) == 20
    assert len(x) == len(labels) == 20


def test_oversampling_shows_present_classes_equally_often():
    shown = torch.cat([y for _, y in objective("oversample", [300] * 20).batches(0)])
    share = torch.bincount(shown, minlength=10) / len(shown)
    assert torch.equal(share.nonzero().flatten(), torch.tensor([0, 1, 3]))
    assert (share[[0, 1, 3]] - 1 / 3).abs().max() < 4.5 * (2 / 9 / 6000) ** 0.5  # standard deviations of a share


@pytest.mark.parametrize("imbalance", ["none", "weighted"])
def test_without_oversampling_every_sample_is_shown_as_often(imbalance: str):
    shown = torch.cat([y for _, y in objective(imbalance, [50] * 3).batches(0)])
    assert torch.bincount(shown).tolist() == [120, 24, 0, 6]


@fault("labels", "class missing in the labeled, training or test images", "weights and head keep all classes")
def test_the_weighted_loss_has_a_weight_for_every_class_and_equal_sums():
    chosen = objective("weighted", [50])
    weights = chosen.class_weights
    assert weights.shape == (10,)
    assert weights[[2, 4, 5, 6, 7, 8, 9]].eq(0).all()
    counts = torch.bincount(LABELS, minlength=10)
    torch.testing.assert_close((weights * counts)[[0, 1, 3]], torch.full((3,), 50 / 3))


def test_the_weighted_loss_is_the_weighted_mean_over_the_samples():
    chosen = objective("weighted", [50])
    ((x, labels),) = chosen.batches(0)
    each = cross_entropy(chosen.network(x), labels, reduction="none")
    weights = chosen.class_weights[labels]
    torch.testing.assert_close(chosen.loss(x, labels), (each * weights).sum() / weights.sum())
    torch.testing.assert_close(objective("none", [50]).loss(x, labels), each.mean())


def test_the_mean_of_a_class_counts_as_much_as_that_of_any_other():
    """In a mini-batch of all samples: the weighted loss is the mean over present classes of their mean losses."""
    chosen = objective("weighted", [50])
    ((x, labels),) = chosen.batches(0)
    each = cross_entropy(chosen.network(x), labels, reduction="none")
    by_class = torch.stack([each[labels == c].mean() for c in (0, 1, 3)])
    torch.testing.assert_close(chosen.loss(x, labels), by_class.mean())
