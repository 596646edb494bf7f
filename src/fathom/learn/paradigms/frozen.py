"""Frozen features: a fixed backbone gives each image's features once, and only a head is trained."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from fathom.core.records import FathomError
from fathom.core.streams import Stream, Streams
from fathom.learn.features.backbone import RANDOM
from fathom.learn.network import Network, initialize, load_weights
from fathom.learn.objectives.supervised import Supervised, train
from fathom.learn.paradigms import recipe
from fathom.learn.paradigms.feature_source import FeatureSource
from fathom.learn.paradigms.recipe import expect, expect_word
from fathom.learn.predict import TrainedClassifier, inference
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, HParams, Library, State, Task, Unlabeled
from fathom.learn.training.batching import batch_sizes
from fathom.learn.training.fit import Optimization
from fathom.registry.registry import paradigm

Numbers = int | float | tuple[int | float, ...]


@paradigm("frozen")
def frozen(
    *,
    backbone: str = "pixels",
    weights: str = "",
    size: int = 0,
    dtype: str = "float16",
    pretrain: str = "study",
    order: str = "",
    head: str = "linear",
    hidden: int = 0,
    epochs: int = 10,
    epoch_size: int = 512,
    batch_size: int = 128,
    lr: Numbers = (0.03, 0.1, 0.01),
    weight_decay: Numbers = (0.3, 1.0, 0.1),
    momentum: int | float = 0.9,
    dropout: str | int | float = "auto",
    imbalance: str = "auto",
    search: int = 3,
    retune: int | tuple[int, ...] = (0,),
) -> "Frozen":
    """Frozen features: only a head is trained, on what a fixed backbone makes of the images.

    Args:
        backbone: `pixels` (the image itself), `features` (a file), `mobilenet_v2_uint8`, `torchvision:NAME`, the name
            of a model of timm (see `learn.features.backbones`); `simclr` (an encoder trained on the seed's own
            train images, without labels) or `encoder` (one that was kept).
        weights: File of weights or features; or the first digits of a kept encoder's SHA-256; or `random`.
        size: Side of the backbone's input in pixels; 0 for its own.
        dtype: What features are kept as, `float16` or `float32`; features that float16 would spoil are refused.
        pretrain: Recipe of `simclr`: `study` or `short`, as in `self-sl`.
        order: For `features`. Empty: rows of the file are matched with images by its ids; a file without ids is
            refused. `dataset`: declares that its rows are in the order of the dataset's images.
        head: `linear`, or `mlp`: two layers with BatchNorm and ReLU between.
        hidden: Width of the hidden layer of `mlp`; 0 for the features' width.
        epochs: Epochs.
        epoch_size: Least samples per epoch; fewer labels are repeated.
        batch_size: Samples per mini-batch.
        lr: Learning rates to choose from (P4); one value pins it.
        weight_decay: Weight decays to choose from, for up to `epoch_size` labels; for m more it is divided by
            m / `epoch_size`, so that the penalty is the same against the sum of the samples' losses, whatever m is.
        momentum: Of SGD (Nesterov).
        dropout: On the features: `auto` (0.5 for query methods that need draws), `all` (0.5 for every method), or a
            probability for every method.
        imbalance: `oversample`, `weighted` (cross-entropy), `none`, or `auto`: oversample unless classes are balanced.
        search: Number of starting sets that HPs are chosen on.
        retune: Rounds in which each run searches its HPs again, on what it has labeled by then; 0 for none.

    Source: ours; the study has no such paradigm. Features are standardized (`data.cache.features.standardized`), so
        that one grid serves all backbones; the head is that of Self-SL.
    """
    source = FeatureSource(backbone, weights, size, dtype, pretrain, order=order)
    plan = HeadRecipe(head, hidden, epochs, epoch_size, batch_size, lr, weight_decay, momentum, imbalance)
    return Frozen(source, plan, dropout, search, retune)


@dataclass(frozen=True)
class HeadRecipe:
    """Recipe of the head; the arguments are those of `frozen`."""

    head: str
    hidden: int
    epochs: int
    epoch_size: int
    batch_size: int
    lr: Numbers
    weight_decay: Numbers
    momentum: int | float
    imbalance: str

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained with.

        Raises:
            FathomError: A value is out of its range.
        """
        expect_word("frozen", "head", self.head, ("linear", "mlp"))
        expect_word("frozen", "imbalance", self.imbalance, recipe.IMBALANCE)
        for name, least in {"epochs": 1, "epoch_size": 1, "batch_size": 2, "hidden": 0}.items():
            expect(getattr(self, name) >= least, "frozen", name, f"at least {least}", getattr(self, name))
        expect(self.head == "mlp" or not self.hidden, "frozen", "hidden", "left out but for head=mlp", self.hidden)
        recipe.expect_optimizer("frozen", self.lr, self.weight_decay, self.momentum)


class IdentityTransform:
    """Transform of features: none. They are standardized already, and there is no augmentation of them."""

    def train(self, x: Shaped[Tensor, "b d"], generator: torch.Generator) -> Shaped[Tensor, "b d"]:
        """The features."""
        return x

    def test(self, x: Shaped[Tensor, "b d"]) -> Shaped[Tensor, "b d"]:
        """The features."""
        return x


@dataclass(frozen=True)
class Frozen:
    """A head on frozen features (`learn.task.Paradigm`; parameters: `frozen`).

    Args:
        source: Where features come from.
        plan: How the head is trained.
        dropout: As in `frozen`.
        search: Number of starting sets that HPs are chosen on.
        retune: As in `frozen`.
    """

    source: FeatureSource
    plan: HeadRecipe
    dropout: str | int | float
    search: int
    retune: int | tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained with.

        Raises:
            FathomError: A value is out of its range.
        """
        expect(self.search >= 1, "frozen", "search", "at least 1", self.search)
        recipe.expect_dropout("frozen", self.dropout)
        recipe.expect_rounds("frozen", self.retune)

    @property
    def recipe_name(self) -> str:
        """That it is ours, and on what; an untrained backbone is named as such."""
        untrained = ", untrained" if self.source.weights == RANDOM else ""
        return f"ours ({self.source.name}{untrained}, {self.plan.head} head)"

    # -------------------------------------------------------------------------------------------- features

    @property
    def preparation(self) -> str:
        """Spec string of the settings that decide the pre-trained encoder; empty if the paradigm pre-trains none."""
        return self.source.preparation

    @property
    def backbone(self) -> str:
        """All that decides the features, as a spec string."""
        return str(self.source)

    def prepare(self, unlabeled: Unlabeled, stream: Stream, library: Library, checkpointer: Checkpointer) -> State:
        """Pre-train the encoder, if it is one of ours (see `feature_source.FeatureSource`)."""
        return self.source.prepare(unlabeled, stream, library, checkpointer)

    def pretraining_images(self, unlabeled: Unlabeled) -> int:
        """Views that the pre-training of an encoder of ours sees."""
        return self.source.encoder.pretraining_images(unlabeled) if self.source.encoder else 0

    def with_retry(self, change: str, family: str) -> "Frozen | None":
        """A copy whose encoder is pre-trained with a change (see `self_sl.SelfSL.with_retry`)."""
        source = self.source.with_retry(change, family)
        return replace(self, source=source) if source else None

    def facts(self, library: Library) -> dict[str, Any]:
        """Facts of the backbone: name, SHA-256 of its weights, revision, license, input."""
        return self.source.facts(library)

    def embed(self, unlabeled: Unlabeled, state: State | None, library: Library) -> Iterator[Float[Tensor, "b d"]]:
        """Compute features of all images in order, in chunks, in the dtype they are stored in."""
        return self.source.embed(unlabeled, state, library)

    # -------------------------------------------------------------------------------------------- the head

    def grid(self, task: Task) -> list[dict[str, Any]]:
        """All combinations of learning rate and weight decay, in the order they are given."""
        return recipe.combinations(lr=self.plan.lr, weight_decay=self.plan.weight_decay)

    def fit(
        self,
        task: Task,
        hparams: HParams,
        state: State | None,
        streams: Streams,
        *,
        dropout: float = 0.0,
        checkpointer: Checkpointer = NO_CHECKPOINT,
    ) -> TrainedClassifier:
        """Train a head from scratch on the labeled images' features (see `learn.task.Paradigm`).

        Raises:
            NonFiniteError: A loss or weight is not finite.
            FathomError: Nothing is labeled, the validation set is empty, or the images are not features.
        """
        recipe.expect_labels(task)
        plan = self.plan
        precision = str(hparams.get("precision", "fp32"))  # a head is too small to be faster in bfloat16
        network = self._network(task, dropout, streams("init"))
        sizes = batch_sizes(max(len(task.labels), plan.epoch_size), plan.batch_size, "merge")
        # HPs are chosen on the starting budget and kept, and a prior does not grow with the data. The best decay for
        # CIFAR-10 was 0.3 with 500 labels, 0.1 with 5,000 and 0.03 with 18,000: constant against the sum of losses.
        # With one decay for all budgets, 45,000 labels (78.8 %) were worse than 18,000 with their own (82 %).
        share = plan.epoch_size / max(len(task.labels), plan.epoch_size)
        lr, weight_decay = float(hparams["lr"]), float(hparams["weight_decay"]) * share
        how = Optimization(lr, weight_decay, plan.epochs, momentum=plan.momentum, precision=precision)
        rule, transform = recipe.imbalance_rule(plan.imbalance, task), IdentityTransform()
        objective = Supervised(task, network, transform, sizes, rule, streams, precision)
        return train(task, network, transform, objective, how, streams, checkpointer)

    def restore(self, task: Task, state: State, *, dropout: float = 0.0, precision: str = "auto") -> TrainedClassifier:
        """Restore the classifier that `state` was taken of.

        Raises:
            FathomError: The state is not one of this head on these features.
        """
        network = self._network(task, dropout, Stream(0, ("restore",)))
        load_weights(network, state, "the stored weights do not fit the head of this run")
        network.precision = inference(precision)
        return TrainedClassifier(network, IdentityTransform())

    def benchmark_copy(self, images: int, epochs: int = 1) -> "Frozen":
        """A copy with `epochs` epochs of about `images` samples, for measuring speed."""
        return replace(
            self, source=replace(self.source, probing=images), plan=replace(self.plan, epochs=epochs, epoch_size=images)
        )

    def training_images(self, m: int) -> int:
        """Samples trained on in all epochs with m labels."""
        return self.plan.epochs * max(m, self.plan.epoch_size)

    def validation_images(self, v: int) -> int:
        """Samples predicted for validation in all epochs with v validation images."""
        return self.plan.epochs * v

    def _network(self, task: Task, dropout: float, stream: Stream) -> Network:
        height, dim = task.images.size
        sample = task.images.take(torch.zeros(1, dtype=torch.int64, device=task.images.device))
        if height != 1 or sample.dim() != 2:
            raise FathomError(
                f"frozen trains on features, float [b, d]; got images {list(sample.shape[1:])}. Give it "
                "what `embed` gives"
            )
        hidden = (self.plan.hidden or dim) if self.plan.head == "mlp" else 0
        with torch.device("meta"):  # so that no initializer draws from the global generator
            network = Network(nn.Identity(), dim, task.num_classes, dropout, hidden)
        network = network.to_empty(device="cpu")
        initialize(network, stream.torch())
        return network.to(task.images.device)
