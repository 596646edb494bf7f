"""Interfaces of training: what a paradigm may see, and what it must return."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fathom.core.streams import Stream, Streams

HParams = Mapping[str, Any]  # for example {"lr": 0.1, "weight_decay": 0.0005, "augmentation": "standard"}


State = Mapping[str, Tensor]  # named tensors on the CPU: what is kept as safetensors
Channels = tuple[float, float, float]  # a mean or a standard deviation of each channel


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
        balanced: True if the dataset's classes are of equal size; if not, training oversamples.
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
    mean: Channels
    std: Channels
    augment: str


@runtime_checkable
class RowFinder(Protocol):
    """Finds the rows of images in a table by their names, without revealing the names, which often hold the class."""

    @property
    def part(self) -> str:
        """`train` or `test`."""

    def __call__(self, ids: Iterable[object], *, both: bool) -> Any:
        """Row of each image among rows that are named `ids`; `both` for a table of train and test images.

        Raises:
            FathomError: Names are repeated, absent, or of no image.
        """


@dataclass(frozen=True, eq=False)
class Unlabeled:
    """Images without labels: for `Paradigm.prepare` those of the train part of a seed's split alone.

    Args:
        images: The images.
        mean, std, augment: As in `Task`.
        rows: For `Paradigm.embed` alone: finds the rows of these images in a file of features.
    """

    images: ImageSource
    mean: Channels
    std: Channels
    augment: str
    rows: RowFinder | None = None


@runtime_checkable
class Transform(Protocol):
    """Transform of what an `ImageSource` gives, before the network (`learn.augment`)."""

    def train(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Transform for training."""

    def test(self, x: Tensor) -> Tensor:
        """Transform for validation, test and queries."""


@runtime_checkable
class Library(Protocol):
    """Folders of weights, encoders and precomputed features (`data.dataset.DataRoot`)."""

    @property
    def path(self) -> Path:
        """Folder that relative paths in a spec string are relative to."""

    @property
    def cache(self) -> Path:
        """Folder of the cache."""

    @property
    def download(self) -> bool:
        """True if missing files may be downloaded."""


Embed = Callable[[ImageSource], Float[Tensor, "n d"]]


class Checkpointer:
    """Takes state and progress of long work. This one discards them; the protocol gives one that writes files.

    It returns nothing that is measured on the way, so no measurement can reach an encoder or classifier.
    """

    def load(self) -> dict[str, Tensor] | None:
        """State that was saved last, or None at the beginning."""
        return None

    def save(self, state: Callable[[], dict[str, Tensor]], *, force: bool = False) -> None:
        """Save a state to resume from, at the end of every epoch; `state` is called only if it is time to save."""

    def tell(self, done: int, of: int, numbers: Mapping[str, float], embed: Embed | None = None) -> None:
        """Report that `done` of `of` epochs are done.

        Args:
            done: Epochs done.
            of: Epochs in all.
            numbers: Measurements of the last epoch, for example its loss.
            embed: Computes features of images with the present weights, so that the caller can evaluate them.
        """


NO_CHECKPOINT = Checkpointer()


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predictions of a classifier for n images.

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
    history: list[dict[str, float]]  # one row per epoch: epoch, lr, loss, val_score, val_loss
    diagnostics: dict[str, Any]  # further facts of the training for a reader, JSON-plain; often empty

    def stream(self, images: ImageSource, draws: int, stream: Stream) -> Iterator[Prediction]:
        """Predictions in chunks, in order of `images`, on their device.

        Args:
            images: What to predict.
            draws: k, dropout draws with masks shared by all images; 0 for the plain softmax (k = 1).
            stream: Of the masks: the same stream gives the same masks.
        """

    def state(self) -> dict[str, Tensor]:
        """All weights and buffers, to be stored and given to `Paradigm.restore`."""


@runtime_checkable
class Paradigm(Protocol):
    """A way to train. Implementations are frozen dataclasses; their fields are their spec string parameters.

    `dropout` is "auto" (0.5 for query methods that need draws, as published), "all" (0.5 for every method) or a
    probability for every method.
    """

    search: int  # starting sets (seeds 0 to search - 1) that HPs are chosen on

    @property
    def recipe_name(self) -> str:
        """`study` for the published recipe, else what was shortened, for the report."""

    @property
    def preparation(self) -> str:
        """All that decides the outcome of `prepare`, besides dataset and seed; empty if nothing is prepared.

        Paradigms, regimes and runs of one preparation share its outcome.
        """

    @property
    def backbone(self) -> str:
        """All that decides the outcome of `embed`, besides images and state; empty if images are used as they are."""

    def grid(self, task: Task) -> list[dict[str, Any]]:
        """The HPs to choose from (P4), in order of preference on ties. One entry: nothing to choose."""

    def prepare(self, unlabeled: Unlabeled, stream: Stream, library: Library, checkpointer: Checkpointer) -> State:
        """Learn once for a dataset and seed, without labels; for example an encoder. The protocol stores it."""

    def with_retry(self, change: str, family: str) -> "Paradigm | None":
        """A copy with a change of `prepare`, after it was not finite: another `preparation`.

        Args:
            change: `fp32` or `lr/10`.
            family: The dataset's augmentations, which `auto` values go by.

        Returns:
            None if the change does not apply, or would change nothing.
        """

    def facts(self, library: Library) -> dict[str, Any]:
        """Facts of the backbone, JSON-plain: SHA-256 of its weights, revision, license. Empty without one.

        They are part of the features' key, so that other weights under the same name are never mistaken for these.
        """

    def embed(self, unlabeled: Unlabeled, state: State | None, library: Library) -> Iterator[Float[Tensor, "b d"]]:
        """Compute features of all images in order, in chunks, once per dataset; called only if `backbone` is set."""

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
            state: Result of `prepare`; None if nothing is prepared.
            streams: The round's streams; uses `init`, `order`, `augment`, `dropout`.
            dropout: Probability of dropout before the head, in [0, 1).
            checkpointer: Takes the state of a long training, and gives it back to resume from.

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
        """

    def restore(self, task: Task, state: State, *, dropout: float = 0.0, precision: str = "auto") -> Classifier:
        """Restore the classifier that `Classifier.state` was taken of.

        Args:
            task: The round's task.
            state: Result of `Classifier.state`.
            dropout: As in `fit`.
            precision: Precision of its HPs, which it predicts in; given only if they name one.
        """

    def pretraining_images(self, unlabeled: Unlabeled) -> int:
        """Images trained on in `prepare`, each view counted; plans estimate time from it."""

    def training_images(self, m: int) -> int:
        """Images trained on in all epochs with m labels; plans estimate time from it."""

    def validation_images(self, v: int) -> int:
        """Images predicted for validation in all epochs with v validation images."""

    def benchmark_copy(self, images: int, epochs: int = 1) -> "Paradigm":
        """A copy with `epochs` epochs on about `images` images each, in `fit` and `prepare`, for measuring speed."""
