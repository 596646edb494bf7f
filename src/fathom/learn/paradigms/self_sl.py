"""Self-supervised learning (Self-SL): SimCLR on the train part without labels, then fine-tuning on what is labeled."""

from dataclasses import dataclass, replace
from typing import Any

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.augment.families import augmentation_of
from fathom.learn.features.encoders import check_encoder, check_name, find_encoder, load_encoder
from fathom.learn.network import Network, load_weights
from fathom.learn.objectives.simclr import FIELDS, PUBLISHED, Pretraining, pair_sizes, pretraining, train_simclr
from fathom.learn.paradigms.image_paradigm import SupervisedParadigm
from fathom.learn.task import Checkpointer, Library, State, Unlabeled
from fathom.learn.training.batching import LAST_BATCH, SCHEDULES
from fathom.registry.registry import paradigm
from fathom.registry.spec_string import SpecString

VERSION = 1  # raised whenever the same pre-training would give another encoder

# SGD and not LARS: on digits of 8 x 8 pixels 30 epochs of LARS gave a linear probe of 91 %, SGD 94 %.
# Changes of `recipe=short`, for fields that still have the study's value.
SHORT: dict[str, Any] = {
    "pretrain_epochs": 14,
    "pretrain_batch": 128,
    "pretrain_lr": 0.05,
    "pretrain_warmup": 1,
    "pretrain_optimizer": "sgd",
    "epochs": 16,
    "epoch_size": 320,
    "batch_size": 32,
    "schedule": "cosine",
    "lr": (0.03,),  # with less, classifiers with dropout underfit in so few steps
    "weight_decay": (0.0005,),
    "augmentation": ("standard", "randaugment"),
}


@paradigm("self-sl")
@dataclass(frozen=True)
class SelfSL(SupervisedParadigm):
    """Self-supervised pre-training (SimCLR), then fine-tuning of encoder and head; the best validation epoch is kept.

    `auto` is the study's value for the dataset's family of augmentations (`PUBLISHED`).

    Args:
        pretrain_epochs: Epochs of pre-training; or `auto`: 1,000, for `imagenet` 200. 0 keeps the encoder's initial
            weights, for comparison.
        pretrain_batch: Images per mini-batch; or `auto`: 512, for `isic` and `imagenet` 256.
        pretrain_lr: Learning rate; or `auto`: 1.0, for `isic` and `imagenet` 4.8.
        pretrain_weight_decay: Weight decay; or `auto`: 1e-4, for `isic` and `imagenet` 1e-6.
        pretrain_warmup: Epochs of linear warm-up; or `auto`: 10, or a tenth of the epochs where these are below 100.
        pretrain_optimizer: `lars` or `sgd`.
        pretrain_precision: `auto` (bfloat16 where the device is faster with it), `fp32`, `bf16`, `fp16`.
        temperature: Of NT-Xent; or `auto`: 0.5, for `isic` and `imagenet` 0.1.
        jitter: Strength of the color jitter; or `auto`: 0.5, for `isic` and `imagenet` 1.
        blur: True to blur half of the views; or `auto`: for `isic` and `imagenet`.
        encoder: Name of an encoder that takes the place of pre-training: the first 12 or more digits of its SHA-256.
        head: `mlp` (two layers with BatchNorm and ReLU between) or `linear`.
        epochs: Epochs of fine-tuning.
        epoch_size: Least samples per epoch; fewer labels are repeated.
        batch_size: Samples per mini-batch; 0 for the study's: 64, for `imagenet` from 96 pixels 128.
        schedule: `step` (a tenth after every quarter of the epochs) or `cosine`.
        warmup: Epochs of linear warm-up.
        lr: Learning rates to choose from (P4); one value pins it.
        weight_decay: Weight decays to choose from.
        augmentation: Strengths to choose from.
        momentum: Of SGD (Nesterov).
        network: `resnet18`, `cnn`, or `auto`: resnet18 from 32 pixels, else cnn.
        dropout: Between encoder and head: `auto` (0.5 for query methods that need draws, as published), `all` (0.5 for
            every method), or a probability for every method.
        imbalance: `oversample`, `weighted` (cross-entropy), `none`, or `auto`: oversample unless classes are balanced.
        last_batch: Rule for a last mini-batch too small for BatchNorm: `merge`, `drop`, `keep`.
        search: Number of starting sets that HPs are chosen on.
        retune: Rounds in which each run searches its HPs again, on what it has labeled by then; 0 for none.
        recipe: `study`, or `short`: 14 epochs of pre-training with SGD, 160 steps of fine-tuning, a grid of two, for
            small images on a CPU. It replaces whatever has the study's value, also where that was written out
            (`recipe_name` says what is trained).

    Source: Lüth et al., 2023, Sec. 3 and code; pre-training after Chen et al., 2020 (SimCLR). Ours: the precision
        (theirs fp16 on CIFAR, fp32 elsewhere; the loss is float32 here in any case), weight decay and the last
        mini-batch (`learn.training.batching`), and the order of the grid: what the study chose most often comes first.
    """

    pretrain_epochs: int | str = "auto"
    pretrain_batch: int | str = "auto"
    pretrain_lr: int | float | str = "auto"
    pretrain_weight_decay: int | float | str = "auto"
    pretrain_warmup: int | str = "auto"
    pretrain_optimizer: str = "lars"
    pretrain_precision: str = "auto"
    temperature: int | float | str = "auto"
    jitter: int | float | str = "auto"
    blur: bool | str = "auto"
    encoder: str = ""
    head: str = "mlp"
    epochs: int = 80
    epoch_size: int = 5500
    batch_size: int = 0
    schedule: str = "step"
    warmup: int = 0
    lr: int | float | tuple[int | float, ...] = (0.001, 0.01)
    weight_decay: int | float | tuple[int | float, ...] = (0.005, 0.0005)
    augmentation: str | tuple[str, ...] = ("randaugment", "standard")
    momentum: int | float = 0.9
    network: str = "auto"
    dropout: str | int | float = "auto"
    imbalance: str = "auto"
    last_batch: str = "merge"
    search: int = 3
    retune: int | tuple[int, ...] = (0,)
    recipe: str = "study"

    paradigm_name = "self-sl"
    short = SHORT
    reported = (
        *(name for name in FIELDS if name != "pretrain_precision"),
        *("encoder", "head", "epochs", "epoch_size", "batch_size", "schedule", "warmup", "momentum", "network"),
    )
    words = (("last_batch", LAST_BATCH), ("head", ("mlp", "linear")), ("schedule", tuple(SCHEDULES)))

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained with, before any training starts.

        Raises:
            FathomError: A value is out of its range.
        """
        super().__post_init__()
        for family in PUBLISHED:
            self.pretraining(family)
        self._expect(isinstance(self.encoder, str), "encoder", 'hexadecimal digits; put them in quotes: "..."')
        if self.encoder:
            check_name(self.encoder)

    @property
    def hidden(self) -> int:  # type: ignore[override]
        """Width of the head's hidden layer: that of the features in an `mlp`, none in a linear head."""
        return -1 if self.head == "mlp" else 0

    # -------------------------------------------------------------------------------------------- pre-training

    @property
    def preparation(self) -> str:
        """All that decides the encoder, as a spec string; head and fine-tuning have no part in it."""
        plan = self.resolved()
        if plan.encoder:
            return str(SpecString.make("encoder", {"sha256": plan.encoder, "network": plan.network}))
        chosen = {name: getattr(plan, name) for name in (*FIELDS, "network")}
        return str(SpecString.make("simclr", {"version": VERSION, **chosen}))

    def prepare(self, unlabeled: Unlabeled, stream: Stream, library: Library, checkpointer: Checkpointer) -> State:
        """Train an encoder with SimCLR, or load the one that is named; returns weights as in `Network.encoder`.

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
            FathomError: The named encoder is absent, damaged or of another architecture; or memory does not suffice.
        """
        plan = self.resolved()
        if not plan.encoder:
            return train_simclr(unlabeled, plan.network, plan.pretraining(unlabeled.augment), stream, checkpointer)
        size = augmentation_of(unlabeled).output_size(unlabeled.images.size)
        return check_encoder(load_encoder(library, plan.encoder), plan.network, size)

    def pretraining_images(self, unlabeled: Unlabeled) -> int:
        """Views trained on in pre-training; 0 if an encoder is named."""
        how, count = self.pretraining(unlabeled.augment), len(unlabeled.images)
        return 0 if self.encoder else 2 * how.epochs * sum(pair_sizes(count, how.batch_size))

    def with_retry(self, change: str, family: str) -> "SelfSL | None":
        """A copy with pre-training in full precision (`fp32`) or with a tenth of its learning rate (`lr/10`)."""
        plan = self.resolved()
        if plan.encoder:
            return None
        how = plan.pretraining(family)
        if change == "lr/10":
            return replace(plan, pretrain_lr=how.lr / 10)
        return replace(plan, pretrain_precision="fp32") if how.precision != "fp32" else None

    def facts(self, library: Library) -> dict[str, Any]:
        """Name of the encoder, if one is given.

        Raises:
            FathomError: It is not in the cache.
        """
        return {"encoder": find_encoder(library, self.encoder).stem} if self.encoder else {}

    def pretraining(self, family: str) -> Pretraining:
        """Recipe of the encoder for a family of augmentations."""
        plan = self.resolved()
        return pretraining(family, {name: getattr(plan, name) for name in FIELDS})

    # --------------------------------------------------------------------------------------------- fine-tuning

    def load_prepared(self, network: Network, state: State | None) -> None:
        """Load the pre-trained encoder; the head stays fresh.

        Raises:
            FathomError: There is no encoder, or it does not fit.
        """
        if not state:
            raise FathomError("self-sl fine-tunes an encoder: call prepare first and give what it returns as the state")
        load_weights(network.encoder, state, "the encoder does not fit the network of this run")

    def benchmark_copy(self, images: int, epochs: int = 1) -> "SelfSL":
        """A copy with `epochs` epochs of about `images` samples, as many of pre-training, for measuring speed."""
        short = super().benchmark_copy(images, epochs)
        return replace(short, encoder="", pretrain_epochs=epochs, pretrain_warmup="auto")

    def study_batch(self, family: str, large: bool) -> int:
        """Mini-batch of the study: 64 samples, and 128 of large images of ImageNet."""
        return 128 if family == "imagenet" and large else 64
