"""What a training paradigm may see, and what it must give back."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fathom.core.streams import Stream, Streams

HParams = Mapping[str, Any]  # for example {"lr": 0.1, "weight_decay": 0.0005, "augmentation": "standard"}


State = Mapping[str, Tensor]  # named tensors on the CPU: what is kept as safetensors


@runtime_checkable
class ImageSource(Protocol):
    """Images of one size, reached by index: uint8 [b, 3, h, w].

    A paradigm with a backbone is given features in their place: floating-point [b, d], `size` (1, d).
    """

    def __len__(self) -> int: ...

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def device(self) -> torch.device: ...

    def take(self, ids: Int[Tensor, "b"]) -> Shaped[Tensor, "b ..."]: ...


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

    images: ImageSource
    labels: Int[Tensor, "m"]
    val_images: ImageSource
    val_labels: Int[Tensor, "v"]
    pool: ImageSource
    num_classes: int
    metric: str
    balanced: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    augment: str


@dataclass(frozen=True, eq=False)
class Unlabeled:
    """Images without labels: for `Paradigm.prepare` those of the train part of a seed's split alone.

    Args:
        images: The images.
        mean, std, augment: As in `Task`.
    """

    images: ImageSource
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    augment: str


@runtime_checkable
class Transform(Protocol):
    """What is done to what an `ImageSource` gives, before the network (`augment.Augmentation`)."""

    def train(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """As it is trained on."""
        ...

    def test(self, x: Tensor) -> Tensor:
        """As it is validated, tested and queried."""
        ...


@runtime_checkable
class Library(Protocol):
    """Where weights, encoders and precomputed features are found (`data.dataset.DataRoot`)."""

    @property
    def path(self) -> Path:
        """Folder that relative paths of a call-string are meant from."""
        ...

    @property
    def cache(self) -> Path:
        """Folder of the cache."""
        ...

    @property
    def download(self) -> bool:
        """Whether what is absent may be fetched."""
        ...


Embed = Callable[[ImageSource], Float[Tensor, "n d"]]


class Checkpointer:
    """Where long work writes how far it is. This one forgets; the harness gives one that does not.

    It tells the work nothing: what is measured on the way reaches neither encoder nor classifier.
    """

    def load(self) -> dict[str, Tensor] | None:
        """The state that was saved last, or None at the beginning."""
        return None

    def save(self, state: Callable[[], dict[str, Tensor]], *, force: bool = False) -> None:
        """Keep a state to go on from. Called at the end of every epoch; `state` is called only when it is time."""

    def tell(self, done: int, of: int, numbers: Mapping[str, float], embed: Embed | None = None) -> None:
        """Say that `done` of `of` epochs are done.

        Args:
            done: Epochs done.
            of: Epochs in all.
            numbers: What was measured in the last of them, for example its loss.
            embed: Features of images as they are now, for the harness to see by what they are worth.
        """


NO_CHECKPOINT = Checkpointer()


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a classifier says of n images.

    Args:
        log_probs: Log of the class probabilities in each of k dropout draws (k = 1 without draws), in nats.
        features: Input of the last linear layer, without dropout.
        embeddings: Output of the encoder, without dropout; the same as `features` where the head is one linear layer.
    """

    log_probs: Float[Tensor, "n k c"]
    features: Float[Tensor, "n d"]
    embeddings: Float[Tensor, "n e"]


@runtime_checkable
class Classifier(Protocol):
    """A trained classifier."""

    val_score: float  # the task's metric on the validation set at the epoch that was kept, in [0, 1]
    history: list[dict[str, float]]  # one row an epoch: epoch, lr, loss, val_score, val_loss
    diagnostics: dict[
        str, Any
    ]  # what a reader should see of the training beside its metrics, JSON-plain; often nothing

    def stream(self, images: ImageSource, draws: int, stream: Stream) -> Iterator[Prediction]:
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

    @property
    def preparation(self) -> str:
        """What decides the outcome of `prepare`, beside dataset and seed; empty where there is nothing to prepare.

        Paradigms, regimes and runs of one preparation share its outcome.
        """
        ...

    @property
    def backbone(self) -> str:
        """What decides the outcome of `embed`, beside images and state; empty where images are used as they are."""
        ...

    def grid(self, task: Task) -> list[dict[str, Any]]:
        """The HPs to choose from (P4), in order of preference on ties. One entry: nothing to choose."""
        ...

    def prepare(self, unlabeled: Unlabeled, stream: Stream, library: Library, checkpointer: Checkpointer) -> State:
        """What is learned once for a dataset and seed without labels, for example an encoder. Kept by the harness."""
        ...

    def with_retry(self, change: str, family: str) -> "Paradigm | None":
        """The same with a change of what `prepare` does, after it was not finite: another `preparation`.

        Args:
            change: `fp32` or `lr/10`.
            family: The dataset's augmentations, which `auto` values go by.

        Returns:
            None where there is nothing such a change could be made to, or it would change nothing.
        """
        ...

    def facts(self, library: Library) -> dict[str, Any]:
        """What is known of the backbone, JSON-plain: SHA-256 of its weights, revision, license. Empty without one.

        Features are kept by it, so that other weights under the same name are never mistaken for these.
        """
        ...

    def embed(self, unlabeled: Unlabeled, state: State | None, library: Library) -> Iterator[Float[Tensor, "b d"]]:
        """Features of all images in order, in chunks, once for a dataset; called only where `backbone` is set."""
        ...

    def fit(
        self,
        task: Task,
        hparams: HParams,
        state: State | None,
        streams: Streams,
        *,
        dropout: float = 0.0,
        checkpointer: Checkpointer = NO_CHECKPOINT,
    ) -> Classifier:
        """Train from scratch on the labeled images.

        Args:
            task: The round's task.
            hparams: One entry of `grid`.
            state: What `prepare` gave; None where there is nothing to prepare.
            streams: The round's streams; uses `init`, `order`, `augment`, `dropout`.
            dropout: Probability of dropout before the head, in [0, 1).
            journal: Where a long training saves its state, and goes on from.

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
        """
        ...

    def restore(self, task: Task, state: State, *, dropout: float = 0.0, precision: str = "auto") -> Classifier:
        """The classifier that `Classifier.state` was taken of.

        Args:
            task: The round's task.
            state: What `Classifier.state` gave.
            dropout: As in `fit`.
            precision: The one of its HPs, which it predicts in; the harness gives it only where they name one.
        """
        ...

    def pretraining_images(self, unlabeled: Unlabeled) -> int:
        """Images (each view counts) trained on in `prepare`: what a plan's time is reckoned from."""
        ...

    def training_images(self, m: int) -> int:
        """Images trained on in all epochs with m labels: what a plan's time is reckoned from."""
        ...

    def validation_images(self, v: int) -> int:
        """Images predicted for validation in all epochs with v validation images."""
        ...

    def benchmark_copy(self, images: int) -> "Paradigm":
        """A cut-down copy for measuring speed: one epoch on about `images` images in `fit`, and one in `prepare`."""
        ...
