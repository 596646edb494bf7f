"""FixMatch: learning from confident pseudo-labels of unlabeled images, with distribution alignment.

A pseudo-label is the prediction on a weakly augmented view. Where it is confident, it is the target of a strongly
augmented view. Distribution alignment keeps the pseudo-labels as a whole from drifting to some of the classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from fathom.core.streams import Streams
from fathom.learn.network import Network
from fathom.learn.objectives.mini_batches import augmented
from fathom.learn.objectives.supervised import Supervised
from fathom.learn.predict import autocast
from fathom.learn.reader import make_reader
from fathom.learn.task import Task, Transform
from fathom.learn.training.batching import epoch_plan

ALIGNMENTS = ("off", "uniform", "labeled")
MEMORY = 128  # mini-batches in the running mean of the predictions
SMALL = 1e-6  # keeps the ratio of two marginals finite, as published


@dataclass(frozen=True)
class PseudoLabels:
    """Rule of making and weighting pseudo-labels.

    Args:
        threshold: Least confidence of a pseudo-label that is learned from, in [0, 1].
        temperature: Divides the logits before the softmax. The pseudo-label is the likeliest class either way, so
            this changes only the confidence that is compared with the threshold.
        lambda_u: Weight of the unlabeled loss.
        alignment: `off`; `uniform`: towards classes of equal size; `labeled`: towards the classes of the labeled set.
        mu: Unlabeled images per labeled one in a step.
    """

    threshold: float = 0.95
    temperature: float = 1.0
    lambda_u: float = 1.0
    alignment: str = "off"
    mu: int = 7


def align(probs: Float[Tensor, "u c"], target: Float[Tensor, "c"], running: Float[Tensor, "c"]) -> Float[Tensor, "u c"]:
    """Align predictions: scale them by target / running marginal, and normalize.

    Source: Berthelot et al., 2020 (ReMixMatch), Sec. 3.1; the small constant as in its code.
    """
    scaled = probs * ((target + SMALL) / (running + SMALL))
    return scaled / scaled.sum(1, keepdim=True)


def unlabeled_loss(
    guesses: Float[Tensor, "u c"], strong: Float[Tensor, "u c"], threshold: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy (nats) of the strong views' logits with the confident pseudo-labels, and the share of those.

    The mean is over all u images, confident or not: the fewer pseudo-labels are confident, the less they count.

    Source: Sohn et al., 2020 (FixMatch), Eq. 4.
    """
    confidence, pseudo_labels = guesses.max(1)
    mask = (confidence >= threshold).to(strong.dtype)
    return (cross_entropy(strong, pseudo_labels, reduction="none") * mask).mean(), mask.mean()


def target_marginal(alignment: str, labels: Int[Tensor, "m"], num_classes: int) -> Float[Tensor, "c"] | None:
    """Marginal that predictions are aligned to; None for `off`.

    `uniform` is what the study describes for its imbalanced datasets, so that a rare class is predicted as often as a
    frequent one. `labeled` is ReMixMatch's; a query method that prefers some classes shifts it.
    """
    if alignment == "off":
        return None
    if alignment == "uniform":
        return torch.full((num_classes,), 1 / num_classes, device=labels.device)
    counts = torch.bincount(labels.cpu(), minlength=num_classes)
    return (counts / counts.sum()).float().to(labels.device)


class FixMatch(Supervised):
    """Cross-entropy on labeled images, and on pseudo-labels of unlabeled ones.

    All views of a step go through the network together, so that BatchNorm sees them together. If the pool is empty
    (all images are labeled), the labeled images take its place.

    Args:
        task: The round's task; its pool has no labels.
        network: Network to train.
        views: Transforms of labeled images, weak views and strong views.
        sizes: Labeled images of each step of an epoch, all equal, as for `supervised.Supervised`.
        guessing: Rule of making pseudo-labels.
        imbalance: As in `supervised.Supervised`, for the labeled part alone.
        streams: The round's streams: `order`, `augment`, `dropout`.
        precision: As in `fit.Optimization`.

    Source: Sohn et al., 2020 (FixMatch); the pool alone as unlabeled set: Lüth et al., 2023, and its code.
        Their code never updates the running mean, so its alignment has no effect; ours updates it. Also ours: dropout
        acts on labeled and strong views only, so that a pseudo-label is the best prediction there is.
    """

    def __init__(
        self,
        task: Task,
        network: Network,
        views: tuple[Transform, Transform, Transform],
        sizes: list[int],
        guessing: PseudoLabels,
        imbalance: str,
        streams: Streams,
        precision: str = "auto",
    ) -> None:
        super().__init__(task, network, views[0], sizes, imbalance, streams, precision)
        self.views, self.guessing, self.streams = views, guessing, streams
        pool = task.pool if len(task.pool) else task.images
        self.read_unlabeled, self.unlabeled = make_reader(pool), len(pool)
        self.counts = (sizes[0], guessing.mu * sizes[0])  # labeled and unlabeled images of a step
        self.target = target_marginal(guessing.alignment, task.labels, task.num_classes)
        c = task.num_classes
        self.recent = torch.zeros((MEMORY, c), device=self.device)
        self.seen = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.sums = torch.zeros(c + 1, device=self.device)
        self.marginal = torch.full((c,), float("nan"), device=self.device)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Labeled, weak and strong views in one tensor; the labels; the dropout mask if there is dropout."""
        b, u = self.counts
        order, augment = self.streams("order"), self.streams("augment")
        labeled = epoch_plan(len(self.labels), self.steps * b, order.at(epoch).torch(), self.draw)
        unlabeled = passes(self.unlabeled, self.steps * u, order.at("unlabeled", epoch).torch())
        dropout = self.streams("dropout").at(epoch).torch(self.device)
        plain = augmented(self.views[:1], self.read, labeled, self.sizes, augment.at(epoch))
        aside = augment.at("unlabeled", epoch)
        pairs = augmented(self.views[1:], self.read_unlabeled, unlabeled, [u] * self.steps, aside)
        for ids, first, pair in zip(torch.split(labeled.to(self.device), b), plain, pairs, strict=True):
            x = torch.cat((*first, *pair)).contiguous(memory_format=torch.channels_last)
            keep = self.network.keep_mask(b + 2 * u, dropout)
            if keep is None:
                yield x, self.labels[ids]
            else:
                kept = keep.float()
                kept[b : b + u] = 1 - self.network.dropout  # the network divides by this, so weak views are not changed
                yield x, self.labels[ids], kept

    def loss(self, *batch: Tensor) -> Float[Tensor, ""]:
        """Labeled plus `lambda_u` times unlabeled loss of a step, in nats."""
        x, labels, *keep = batch
        b, u = self.counts
        with autocast(self.device, self.precision):
            logits = self.network(x, *keep)
        labeled, weak, strong = torch.split(logits.float(), [b, u, u])
        guesses = self.pseudo_label(weak.detach())  # a target: no gradient flows through the weak views
        unlabeled, rate = unlabeled_loss(guesses, strong, self.guessing.threshold)
        self.sums += torch.cat((guesses.mean(0), rate.detach().view(1)))
        return cross_entropy(labeled, labels, self.class_weights) + self.guessing.lambda_u * unlabeled

    @torch.no_grad()
    def pseudo_label(self, logits: Float[Tensor, "u c"]) -> Float[Tensor, "u c"]:
        """Class probabilities of the weak views, aligned if the recipe says so.

        The running mean is over the predictions before alignment of the last 128 steps, this one included. Ours: over
        the steps so far, where the published code fills up with uniform predictions. So short trainings and first steps
        are aligned as well.
        """
        probs = (logits / self.guessing.temperature).softmax(1)
        if self.target is None:
            return probs
        # A ring of tensors on the device and `index_copy_`: a CUDA graph replays this with `seen` as it is then.
        self.recent.index_copy_(0, self.seen % MEMORY, probs.mean(0, keepdim=True))
        self.seen += 1
        return align(probs, self.target, self.recent.sum(0) / self.seen.clamp(max=MEMORY))

    def buffers(self) -> dict[str, Tensor]:
        """Memory of the running mean, and sums over the epoch."""
        return {"recent": self.recent, "seen": self.seen, "sums": self.sums}

    def numbers(self) -> dict[str, Tensor]:
        """Share of confident pseudo-labels in the epoch, and entropy (nats) of the mean prediction.

        The entropy is log c if all classes are predicted equally often, and 0 if always one.
        """
        *_, rate = means = self.sums / self.steps
        self.marginal = means[:-1].clone()
        self.sums.zero_()
        return {"mask_rate": rate, "guess_entropy": torch.special.entr(self.marginal).sum()}


def passes(count: int, length: int, generator: torch.Generator) -> Int[Tensor, "e"]:
    """Draw `length` indices: random orders of all `count` images one after another, the last one cut short."""
    keys = torch.rand((-(-length // count), count), generator=generator)
    return keys.argsort(1).flatten()[:length]
