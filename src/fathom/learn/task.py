"""What a training paradigm may see, and what it must give back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from fathom.streams import Stream, Streams

HParams = Mapping[str, Any]  # for example {"lr": 0.1, "weight_decay": 0.0005, "augmentation": "standard"}


@runtime_checkable
class Images(Protocol):
    """Images of one size, reached by index."""

    def __len__(self) -> int: ...

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def device(self) -> torch.device: ...

    def take(self, ids: Int[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]: ...


@dataclass(frozen=True, eq=False)
class Task:
    """All that a paradigm may see of a round: the labeled images, the validation set, the pool without its labels.

    Args:
        images: The m labeled images.
        labels: Their classes, int64 [m], on the images' device.
        val_images: The v validation images.
        val_labels: int64 [v].
        pool: The n unlabeled images.
        num_classes: c.
        metric: `accuracy` or `balanced_accuracy`: what the best epoch is chosen by.
        balanced: Whether the dataset's classes are of equal size; where not, training oversamples.
        mean, std: Channel statistics for normalization, in [0, 1].
        augment: Family of augmentations (`data.dataset.Dataset.augment`).
    """

    images: Images
    labels: Int[Tensor, "m"]
    val_images: Images
    val_labels: Int[Tensor, "v"]
    pool: Images
    num_classes: int
    metric: str
    balanced: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    augment: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a classifier says of n images.

    Args:
        log_probs: Log of the class probabilities in each of k dropout draws (k = 1 without draws), in nats.
        features: Input of the last linear layer, without dropout.
    """

    log_probs: Float[Tensor, "n k c"]
    features: Float[Tensor, "n d"]


@runtime_checkable
class Classifier(Protocol):
    """A trained classifier."""

    val_score: float  # the task's metric on the validation set at the epoch that was kept, in [0, 1]
    history: list[dict[str, float]]  # one row an epoch: epoch, lr, loss, val_score, val_loss

    def stream(self, images: Images, draws: int, stream: Stream) -> Iterator[Prediction]:
        """Predictions in chunks, in order of `images`, on their device.

        Args:
            images: What to predict.
            draws: k, dropout draws with masks shared by all images; 0 for the plain softmax (k = 1).
            stream: Of the masks: the same stream gives the same masks.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """All weights and buffers, to be stored and given to `Paradigm.restore`."""
        ...


@runtime_checkable
class Paradigm(Protocol):
    """A way to train. Implementations are frozen dataclasses; their fields are their call-string parameters.

    `dropout` is "auto" (0.5 for query methods that need draws, as published), "all" (0.5 for every method) or a
    probability for every method.
    """

    search: int  # starting sets (seeds 0 to search - 1) that HPs are chosen on

    @property
    def recipe_name(self) -> str:
        """`study` for the published recipe, else what was shortened, for the report."""
        ...

    def grid(self, task: Task) -> list[dict[str, Any]]:
        """The HPs to choose from (P4), in order of preference on ties. One entry: nothing to choose."""
        ...

    def prepare(self, task: Task, stream: Stream) -> Any:
        """What is computed once for a dataset and seed without labels (an encoder, features), or None."""
        ...

    def fit(self, task: Task, hparams: HParams, state: Any, streams: Streams, *, dropout: float = 0.0) -> Classifier:
        """Train from scratch on the labeled images.

        Args:
            task: The round's task.
            hparams: One entry of `grid`.
            state: What `prepare` gave.
            streams: The round's streams; uses `init`, `order`, `augment`, `dropout`.
            dropout: Probability of dropout before the last linear layer, in [0, 1).

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
        """
        ...

    def restore(self, task: Task, state: Mapping[str, Tensor], *, dropout: float = 0.0) -> Classifier:
        """The classifier that `Classifier.state` was taken of."""
        ...

    def images(self, m: int) -> int:
        """Images trained on in all epochs with m labels: what a plan's time is reckoned from."""
        ...

    def validated(self, v: int) -> int:
        """Images predicted for validation in all epochs with v validation images."""
        ...

    def probe(self, images: int) -> "Paradigm":
        """A cut-down copy whose `fit` trains on about `images` images in one epoch: for measuring speed only."""
        ...
