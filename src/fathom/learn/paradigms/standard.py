"""Standard training (ST): from scratch, on the labeled images alone."""

from dataclasses import dataclass, replace
from typing import Any

from fathom.core.records import FathomError
from fathom.core.streams import Stream, Streams
from fathom.learn.augment.families import STRENGTHS, Augmentation
from fathom.learn.network import Network, build_network
from fathom.learn.objectives.supervised import train
from fathom.learn.paradigms import recipe
from fathom.learn.paradigms.recipe import expect, expect_word, values
from fathom.learn.predict import TrainedClassifier, inference
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, HParams, State, Task
from fathom.learn.training.batching import LAST_BATCH, batch_sizes
from fathom.learn.training.fit import Optimization
from fathom.registry.registry import paradigm

LARGE = 96  # pixels from which a mini-batch of the study has 512 images, else 1,024

# What `recipe=short` changes, where a field still has the study's value.
SHORT: dict[str, Any] = {
    "epochs": 7,
    "epoch_size": 480,
    "batch_size": 32,
    "warmup": 1,
    "lr": (0.03, 0.01),
    "weight_decay": (0.0005,),
    "augmentation": ("standard", "randaugment"),
}


@paradigm("standard")
@dataclass(frozen=True)
class Standard(recipe.NoPretraining, recipe.NoBackbone):
    """Standard training: a classifier from scratch on the labeled set, the best validation epoch kept.

    Args:
        epochs: Epochs.
        epoch_size: Samples an epoch at least; fewer labels are repeated.
        batch_size: Samples a mini-batch; 0 for the study's: 1,024 below 96 pixels, 512 from there.
        warmup: Epochs of linear warm-up, before half a cosine to 0.
        lr: Learning rates to choose from (P4); one value pins it.
        weight_decay: Weight decays to choose from.
        augmentation: Strengths to choose from: `standard`, `randaugment`, `randaugment-mc`.
        momentum: Of SGD (Nesterov).
        network: `resnet18`, `cnn`, or `auto`: resnet18 from 32 pixels, else cnn.
        dropout: Before the head: `auto` (0.5 for query methods that need draws, as published), `all` (0.5 for every
            method), or a probability for every method.
        imbalance: `oversample`, `weighted` (cross-entropy), `none`, or `auto`: oversample unless classes are balanced.
        last_batch: What becomes of a last mini-batch too small for BatchNorm: `merge`, `drop`, `keep`.
        search: Starting sets that HPs are chosen on.
        retune: Rounds in which each run searches its HPs again, on what it has labeled by then; 0 for none.
        recipe: `study`, or `short`: 105 steps of 32 and a grid of four, for small images on a CPU. It replaces
            whatever has the study's value, also where that was written out (`recipe_name` says what is trained).

    Source: Lüth et al., 2023, Sec. 3 and code; weight decay and the last mini-batch are ours (see `fit`, `plan`).
    """

    epochs: int = 200
    epoch_size: int = 5500
    batch_size: int = 0
    warmup: int = 10
    lr: int | float | tuple[int | float, ...] = (0.1, 0.01)
    weight_decay: int | float | tuple[int | float, ...] = (0.005, 0.0005)
    augmentation: str | tuple[str, ...] = ("standard", "randaugment-mc")
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
        words = {
            "imbalance": recipe.IMBALANCE,
            "last_batch": LAST_BATCH,
            "recipe": ("study", "short"),
            "network": ("auto", "resnet18", "cnn"),
        }
        for name, allowed in words.items():
            expect_word("standard", name, getattr(self, name), allowed)
        for name in ("epochs", "epoch_size", "search"):
            _expect(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _expect(self.batch_size == 0 or self.batch_size >= 2, "batch_size", "0 or at least 2", self.batch_size)
        plan = self._resolved()
        _expect(0 <= plan.warmup < plan.epochs, "warmup", f"at least 0 and below the {plan.epochs} epochs", plan.warmup)
        _expect(0 <= self.momentum < 1, "momentum", "a number in [0, 1)", self.momentum)
        _expect(all(v > 0 for v in values(self.lr)), "lr", "positive learning rates", self.lr)
        _expect(all(v >= 0 for v in values(self.weight_decay)), "weight_decay", "numbers from 0", self.weight_decay)
        for strength in values(self.augmentation):
            _expect(strength in STRENGTHS, "augmentation", f"one of {', '.join(STRENGTHS)}", strength)
        recipe.expect_dropout("standard", self.dropout)
        recipe.expect_rounds("standard", self.retune)

    @property
    def recipe_name(self) -> str:
        """`study` for the published recipe, else what was shortened or changed."""
        named = ("epochs", "epoch_size", "batch_size", "warmup", "momentum", "network")
        return recipe.recipe_text(self.recipe, self._resolved(), named)

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
        """Train from scratch on the labeled images (see `learn.task.Paradigm`).

        On a CPU the result is the same to the bit for the same streams and number of threads.

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
            FathomError: Nothing is labeled, the validation set is empty, or memory does not suffice.
        """
        recipe.expect_labels(task)
        plan = self._resolved()
        precision = str(hparams.get("precision", "auto"))
        augmentation = _augmentation(task, str(hparams["augmentation"]))
        network = plan._build(task, augmentation, dropout, streams("init"))
        sizes = plan._batch_sizes(len(task.labels), augmentation.output_size(task.images.size))
        how = Optimization(
            float(hparams["lr"]),
            float(hparams["weight_decay"]),
            plan.epochs,
            plan.warmup,
            plan.momentum,
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
        try:
            network.load_state_dict(dict(state))
        except RuntimeError as error:
            raise FathomError(f"the stored weights do not fit the network of this run: {error}") from error
        network.precision = inference(precision)
        return TrainedClassifier(network, augmentation)

    def benchmark_copy(self, images: int) -> "Standard":
        """The same recipe cut down to one epoch of about `images` samples, for measuring speed."""
        return replace(self._resolved(), epochs=1, epoch_size=images, warmup=0)

    def training_images(self, m: int) -> int:
        """Images trained on in all epochs with m labels."""
        plan = self._resolved()
        return plan.epochs * max(m, plan.epoch_size)

    def validation_images(self, v: int) -> int:
        """Images predicted for validation in all epochs with v validation images."""
        return self._resolved().epochs * v

    def _resolved(self) -> "Standard":
        """The same with the fields of a short recipe written out."""
        return self if self.recipe == "study" else recipe.shortened(self, SHORT)

    def _build(self, task: Task, augmentation: Augmentation, dropout: float, stream: Stream) -> Network:
        size = augmentation.output_size(task.images.size)
        return build_network(self.network, size, task.num_classes, dropout, stream, task.images.device)

    def _batch_sizes(self, labeled: int, size: tuple[int, int]) -> list[int]:
        batch = self.batch_size or (1024 if min(size) < LARGE else 512)
        return batch_sizes(max(labeled, self.epoch_size), batch, self.last_batch)


def _augmentation(task: Task, strength: str) -> Augmentation:
    return Augmentation(task.augment, strength, task.mean, task.std, task.images.device)


def _expect(holds: bool, name: str, what: str, got: object) -> None:
    expect(holds, "standard", name, what, got)
