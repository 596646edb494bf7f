"""Self-supervised learning (Self-SL): SimCLR on the train part without labels, then fine-tuning on what is labeled."""

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from fathom.core.records import FathomError
from fathom.core.streams import Stream, Streams
from fathom.learn.augment.families import STRENGTHS, Augmentation
from fathom.learn.features.encoders import check_encoder, check_name, find_encoder, load_encoder
from fathom.learn.network import Network, build_network
from fathom.learn.objectives.simclr import FIELDS, PUBLISHED, Pretraining, pair_sizes, pretraining, train_simclr
from fathom.learn.objectives.supervised import train
from fathom.learn.paradigms import recipe
from fathom.learn.paradigms.recipe import expect, expect_word, values
from fathom.learn.paradigms.standard import LARGE
from fathom.learn.predict import TrainedClassifier, inference
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, HParams, Library, State, Task, Unlabeled
from fathom.learn.training.batching import LAST_BATCH, SCHEDULES, batch_sizes
from fathom.learn.training.fit import Optimization
from fathom.registry.registry import paradigm
from fathom.registry.spec_string import SpecString

VERSION = 1  # raised whenever the same pre-training would give another encoder

# What `recipe=short` changes, where a field still has the study's value.
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
class SelfSL(recipe.NoBackbone):
    """Self-supervised pre-training (SimCLR), then fine-tuning of encoder and head; the best validation epoch is kept.

    `auto` is the study's value for the dataset's family of augmentations (`PUBLISHED`).

    Args:
        pretrain_epochs: Epochs of pre-training; or `auto`: 1,000, for `imagenet` 200. 0 leaves the encoder's fresh
            weights as they are, for comparison.
        pretrain_batch: Images a mini-batch; or `auto`: 512, for `isic` and `imagenet` 256.
        pretrain_lr: Learning rate; or `auto`: 1.0, for `isic` and `imagenet` 4.8.
        pretrain_weight_decay: Weight decay; or `auto`: 1e-4, for `isic` and `imagenet` 1e-6.
        pretrain_warmup: Epochs of linear warm-up; or `auto`: 10, or a tenth of the epochs where these are below 100.
        pretrain_optimizer: `lars` or `sgd`.
        pretrain_precision: `auto` (bfloat16 where the device is faster with it), `fp32`, `bf16`, `fp16`.
        temperature: Of NT-Xent; or `auto`: 0.5, for `isic` and `imagenet` 0.1.
        jitter: Strength of the color jitter; or `auto`: 0.5, for `isic` and `imagenet` 1.
        blur: Whether half of the views are blurred; or `auto`: for `isic` and `imagenet`.
        encoder: Name of an encoder that takes the place of pre-training: the first 12 or more digits of its SHA-256.
        head: `mlp` (two layers with BatchNorm and ReLU between) or `linear`.
        epochs: Epochs of fine-tuning.
        epoch_size: Samples an epoch at least; fewer labels are repeated.
        batch_size: Samples a mini-batch; 0 for the study's: 64, for `imagenet` from 96 pixels 128.
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
        last_batch: What becomes of a last mini-batch too small for BatchNorm: `merge`, `drop`, `keep`.
        search: Starting sets that HPs are chosen on.
        retune: Rounds in which each run searches its HPs again, on what it has labeled by then; 0 for none.
        recipe: `study`, or `short`: 14 epochs of pre-training with SGD, 160 steps of fine-tuning, a grid of two, for
            small images on a CPU. It replaces whatever has the study's value, also where that was written out
            (`recipe_name` says what is trained).

    Source: Lüth et al., 2023, Sec. 3 and code; pre-training after Chen et al., 2020 (SimCLR). Ours: the precision
        (theirs fp16 on CIFAR, fp32 elsewhere; the loss is float32 here in any case), weight decay and the last
        mini-batch (see `fit`, `plan`), and the order of the grid: what the study chose most often comes first.
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

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is.

        Raises:
            FathomError: A value is out of its range.
        """
        plan = self._resolved()
        words = {
            "head": ("mlp", "linear"),
            "schedule": tuple(SCHEDULES),
            "network": ("auto", "resnet18", "cnn"),
            "imbalance": recipe.IMBALANCE,
            "last_batch": LAST_BATCH,
            "recipe": ("study", "short"),
        }
        for name, allowed in words.items():
            expect_word("self-sl", name, getattr(self, name), allowed)
        for family in PUBLISHED:
            plan.pretraining(family)
        _expect(isinstance(self.encoder, str), "encoder", 'hexadecimal digits; put them in quotes: "..."', self.encoder)
        if self.encoder:
            check_name(self.encoder)
        for name in ("epochs", "epoch_size", "search"):
            _expect(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _expect(self.batch_size == 0 or self.batch_size >= 2, "batch_size", "0 or at least 2", self.batch_size)
        _expect(0 <= plan.warmup < plan.epochs, "warmup", f"at least 0 and below the {plan.epochs} epochs", plan.warmup)
        _expect(0 <= self.momentum < 1, "momentum", "a number in [0, 1)", self.momentum)
        _expect(all(v > 0 for v in values(self.lr)), "lr", "positive learning rates", self.lr)
        _expect(all(v >= 0 for v in values(self.weight_decay)), "weight_decay", "numbers from 0", self.weight_decay)
        for strength in values(self.augmentation):
            _expect(strength in STRENGTHS, "augmentation", f"one of {', '.join(STRENGTHS)}", strength)
        recipe.expect_dropout("self-sl", self.dropout)
        recipe.expect_rounds("self-sl", self.retune)

    @property
    def recipe_name(self) -> str:
        """`study` for the published recipe, else what was changed."""
        pretrained = [name for name in FIELDS if name != "pretrain_precision"]
        tuned = ("head", "epochs", "epoch_size", "batch_size", "schedule", "warmup", "momentum", "network")
        return recipe.recipe_text(self.recipe, self._resolved(), (*pretrained, "encoder", *tuned))

    # -------------------------------------------------------------------------------------------- pre-training

    @property
    def preparation(self) -> str:
        """What decides the encoder, as a call-string: head and fine-tuning have no part in it."""
        plan = self._resolved()
        if plan.encoder:
            return str(SpecString.make("encoder", {"sha256": plan.encoder, "network": plan.network}))
        chosen = {name: getattr(plan, name) for name in (*FIELDS, "network")}
        return str(SpecString.make("simclr", {"version": VERSION, **chosen}))

    def prepare(self, unlabeled: Unlabeled, stream: Stream, library: Library, checkpointer: Checkpointer) -> State:
        """Train an encoder with SimCLR, or fetch the one that is named: its weights, as in `Network.encoder`.

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
            FathomError: The named encoder is absent, damaged or of another architecture; or memory does not suffice.
        """
        plan = self._resolved()
        if not plan.encoder:
            return train_simclr(unlabeled, plan.network, plan.pretraining(unlabeled.augment), stream, checkpointer)
        size = _augmentation(unlabeled, "standard").output_size(unlabeled.images.size)
        return check_encoder(load_encoder(library, plan.encoder), plan.network, size)

    def pretraining_images(self, unlabeled: Unlabeled) -> int:
        """Views trained on in pre-training; none where an encoder is named."""
        how, count = self.pretraining(unlabeled.augment), len(unlabeled.images)
        return 0 if self.encoder else 2 * how.epochs * sum(pair_sizes(count, how.batch_size))

    def with_retry(self, change: str, family: str) -> "SelfSL | None":
        """The same with pre-training in full precision (`fp32`) or with a tenth of its learning rate (`lr/10`)."""
        plan = self._resolved()
        if plan.encoder:
            return None
        how = plan.pretraining(family)
        if change == "lr/10":
            return replace(plan, pretrain_lr=how.lr / 10)
        return replace(plan, pretrain_precision="fp32") if how.precision != "fp32" else None

    def facts(self, library: Library) -> dict[str, Any]:
        """The encoder that is named, where one is.

        Raises:
            FathomError: It is not kept here.
        """
        return {"encoder": find_encoder(library, self.encoder).stem} if self.encoder else {}

    def pretraining(self, family: str) -> Pretraining:
        """How an encoder is trained on images of a family of augmentations."""
        plan = self._resolved()
        return pretraining(family, {name: getattr(plan, name) for name in FIELDS})

    # --------------------------------------------------------------------------------------------- fine-tuning

    def grid(self, task: Task) -> list[dict[str, Any]]:
        """All combinations of learning rate, weight decay and augmentation, in the order they are given."""
        plan = self._resolved()
        return recipe.combinations(lr=plan.lr, weight_decay=plan.weight_decay, augmentation=plan.augmentation)

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
        """Fine-tune the encoder with a fresh head on the labeled images (see `learn.task.Paradigm`).

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
            FathomError: There is no encoder or it does not fit, nothing is labeled, the validation set is empty, or
                memory does not suffice.
        """
        recipe.expect_labels(task)
        plan = self._resolved()
        precision = str(hparams.get("precision", "auto"))
        augmentation = _augmentation(task, str(hparams["augmentation"]))
        network = plan._build(task, augmentation, dropout, streams("init"))
        if not state:
            raise FathomError("self-sl fine-tunes an encoder: call prepare first and give what it returns as the state")
        _load(network.encoder, state, "the encoder does not fit the network of this run")
        sizes = plan._batch_sizes(task, augmentation.output_size(task.images.size))
        how = Optimization(
            float(hparams["lr"]),
            float(hparams["weight_decay"]),
            plan.epochs,
            plan.warmup,
            plan.momentum,
            plan.schedule,
            precision=precision,
        )
        return train(task, network, augmentation, sizes, plan.imbalance, how, streams, checkpointer)

    def restore(self, task: Task, state: State, *, dropout: float = 0.0, precision: str = "auto") -> TrainedClassifier:
        """The classifier that `state` was taken of.

        Raises:
            FathomError: The state is not one of this paradigm's network on this task.
        """
        augmentation = _augmentation(task, "standard")
        network = self._resolved()._build(task, augmentation, dropout, Stream(0, ("restore",)))
        _load(network, state, "the stored weights do not fit the network of this run")
        network.precision = inference(precision)
        return TrainedClassifier(network, augmentation)

    def benchmark_copy(self, images: int) -> "SelfSL":
        """The same cut down to one epoch of about `images` samples, and one of pre-training, for measuring speed."""
        plan = self._resolved()
        return replace(
            plan, epochs=1, epoch_size=images, warmup=0, encoder="", pretrain_epochs=1, pretrain_warmup="auto"
        )

    def training_images(self, m: int) -> int:
        """Images fine-tuned on in all epochs with m labels."""
        plan = self._resolved()
        return plan.epochs * max(m, plan.epoch_size)

    def validation_images(self, v: int) -> int:
        """Images predicted for validation in all epochs with v validation images."""
        return self._resolved().epochs * v

    def _resolved(self) -> "SelfSL":
        """The same with the fields of a short recipe written out."""
        return self if self.recipe == "study" else recipe.shortened(self, SHORT)

    def _build(self, task: Task, augmentation: Augmentation, dropout: float, stream: Stream) -> Network:
        size, hidden = augmentation.output_size(task.images.size), -1 if self.head == "mlp" else 0
        return build_network(self.network, size, task.num_classes, dropout, stream, task.images.device, hidden)

    def _batch_sizes(self, task: Task, size: tuple[int, int]) -> list[int]:
        batch = self.batch_size or (128 if task.augment == "imagenet" and min(size) >= LARGE else 64)
        return batch_sizes(max(len(task.labels), self.epoch_size), batch, self.last_batch)


def _load(module: nn.Module, state: State, problem: str) -> None:
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise FathomError(f"{problem}: {error}") from error


def _augmentation(task: Task | Unlabeled, strength: str) -> Augmentation:
    return Augmentation(task.augment, strength, task.mean, task.std, task.images.device)


def _expect(holds: bool, name: str, what: str, got: object) -> None:
    expect(holds, "self-sl", name, what, got)
