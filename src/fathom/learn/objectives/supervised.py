"""Objective of training on labels: cross-entropy on mini-batches, with the rules for class imbalance."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from fathom.core.streams import Streams
from fathom.design.dropout import DRAWS
from fathom.learn.network import Network
from fathom.learn.objectives.mini_batches import augmented
from fathom.learn.predict import TrainedClassifier, autocast, inference
from fathom.learn.reader import make_reader
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, Task, Transform
from fathom.learn.training.batching import batches, class_weights, epoch_plan, oversampling_weights
from fathom.learn.training.fit import Objective, Optimization, fit, validation


class Supervised(Objective):
    """Cross-entropy on augmented mini-batches of the labeled images.

    Args:
        task: The round's task.
        network: Network to train.
        transform: Augmentation.
        sizes: Sizes of an epoch's mini-batches (`batching.batch_sizes`).
        imbalance: `oversample` (each present class is drawn equally often), `weighted` (cross-entropy, weights
            proportional to 1 / n_c, of length c whatever classes are present), `none`.
        streams: The round's streams: `order`, `augment`, `dropout`.
        precision: As in `fit.Optimization`.

    Source: Lüth et al., 2023 (code): oversampling in the final study, weighted cross-entropy in its first version and
        for FixMatch.
    """

    def __init__(
        self,
        task: Task,
        network: Network,
        transform: Transform,
        sizes: list[int],
        imbalance: str,
        streams: Streams,
        precision: str = "auto",
    ) -> None:
        self.network, self.transform, self.sizes, self.precision = network, transform, sizes, precision
        self.steps, self.device = len(sizes), task.images.device
        self.read, self.labels = make_reader(task.images), task.labels
        counted = task.labels.cpu()  # samples are drawn on the CPU, in one order for all devices
        self.draw = oversampling_weights(counted, task.num_classes) if imbalance == "oversample" else None
        weights = class_weights(counted, task.num_classes) * len(counted)
        self.class_weights = weights.float().to(self.device) if imbalance == "weighted" else None
        self.order, self.masks, self.draws = streams("order"), streams("dropout"), streams("augment")

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        """Images, labels, and the dropout mask if there is dropout."""
        order = epoch_plan(len(self.labels), sum(self.sizes), self.order.at(epoch).torch(), self.draw)
        dropout = self.masks.at(epoch).torch(self.device)
        views = augmented((self.transform,), self.read, order, self.sizes, self.draws.at(epoch))
        for ids, (x,) in zip(batches(order.to(self.device), self.sizes), views, strict=True):
            keep = self.network.keep_mask(len(ids), dropout)
            yield (x, self.labels[ids]) if keep is None else (x, self.labels[ids], keep)

    def loss(self, *batch: Tensor) -> Float[Tensor, ""]:
        """Mean cross-entropy of a mini-batch, in nats."""
        x, labels, *keep = batch
        with autocast(self.device, self.precision):
            logits = self.network(x, *keep)
        return cross_entropy(logits.float(), labels, self.class_weights)


def train(
    task: Task,
    network: Network,
    transform: Transform,
    objective: Objective,
    how: Optimization,
    streams: Streams,
    checkpointer: Checkpointer = NO_CHECKPOINT,
) -> TrainedClassifier:
    """Train a network on the labeled images, and validate it after every epoch; all paradigms share this.

    Args:
        task: The round's task.
        network: Network with its initial weights and dropout.
        transform: Transform whose test part is applied to the validation images.
        objective: Objective to minimize.
        how: Optimizer, schedule and precision.
        streams: The round's streams.
        checkpointer: Takes the state of the training, and gives it back to resume from.

    Raises:
        NonFiniteError: A loss, weight or buffer is not finite.
        FathomError: A step does not fit into the device's memory.
    """
    network.precision = inference(how.precision)
    masks = network.masks(DRAWS, streams("dropout").at("validation")) if network.dropout else None
    validate = validation(task.val_images, task.val_labels, transform, task.metric, task.num_classes, masks)
    notes: dict[str, str] = {}
    score, history = fit(network, objective, how, validate, checkpointer=checkpointer, notes=notes)
    return TrainedClassifier(network, transform, score, history, notes)
