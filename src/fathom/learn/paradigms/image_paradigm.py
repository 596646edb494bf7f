"""Base of the paradigms that train a network on images. A new one is its fields, its grid and its `fit`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from fathom.core.streams import Stream, Streams
from fathom.learn.augment.families import STRENGTHS, Augmentation, augmentation_of
from fathom.learn.network import Network, build_network, load_weights
from fathom.learn.objectives.supervised import Supervised, train
from fathom.learn.paradigms import recipe
from fathom.learn.paradigms.recipe import values
from fathom.learn.predict import TrainedClassifier, inference
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, HParams, State, Task
from fathom.learn.training.batching import LAST_BATCH, batch_sizes
from fathom.learn.training.fit import Optimization

P = TypeVar("P", bound="ImageParadigm")  # typing.Self is refused by the shape checks of the tests (beartype)
LARGE = 96  # pixels from which the study's mini-batches are those of large images


class ImageParadigm(recipe.NoBackbone):
    """A network trained on images. Subclasses are frozen dataclasses that declare the fields below and add their own.

    The registry reads parameters from a class without importing it, so fields stand in each subclass, not here. Class
    attributes carry no annotation, since a dataclass would take them for fields.
    """

    epochs: int
    warmup: int
    lr: int | float | tuple[int | float, ...]
    weight_decay: int | float | tuple[int | float, ...]
    momentum: int | float
    network: str
    dropout: str | int | float
    imbalance: str
    search: int
    retune: int | tuple[int, ...]
    recipe: str

    paradigm_name = ""  # as registered
    short: Mapping[str, Any] = {}  # what `recipe=short` changes, where a field still has the study's value
    reported: Sequence[str] = ()  # fields that `recipe_name` names where they differ from the study's
    words: Sequence[tuple[str, Sequence[str]]] = ()  # further fields, each with its allowed words
    counts: Sequence[str] = ()  # further fields that must be at least 1
    least_warmup = (0, "at least 0")  # least value of `warmup`, and how a message says it
    hidden = 0  # width of the head's hidden layer; 0 for a linear head, -1 for the width of the features

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained with, before any training starts.

        Raises:
            FathomError: A value is out of its range.
        """
        words = {"imbalance": recipe.IMBALANCE, "recipe": ("study", "short"), "network": ("auto", "resnet18", "cnn")}
        for name, allowed in (*words.items(), *self.words):
            recipe.expect_word(self.paradigm_name, name, getattr(self, name), allowed)
        for name in ("epochs", "search", *self.counts):
            self._expect(getattr(self, name) >= 1, name, "at least 1")
        plan, (least, said) = self.resolved(), self.least_warmup
        plan._expect(least <= plan.warmup < plan.epochs, "warmup", f"{said} and below the {plan.epochs} epochs")
        recipe.expect_optimizer(self.paradigm_name, self.lr, self.weight_decay, self.momentum)
        recipe.expect_dropout(self.paradigm_name, self.dropout)
        recipe.expect_rounds(self.paradigm_name, self.retune)

    @property
    def recipe_name(self) -> str:
        """`study` for the published recipe, else the fields that differ from it."""
        plan, study = self.resolved(), type(self)()
        changed = [f"{n}={getattr(plan, n)}" for n in self.reported if getattr(plan, n) != getattr(study, n)]
        return f"{'short' if self.recipe == 'short' else 'changed'} ({', '.join(changed)})" if changed else "study"

    def resolved(self: P) -> P:
        """A copy with the fields of a short recipe written out, wherever a field still has the study's value.

        A field that is given with the study's value looks like one that is left out: a spec string holds only
        what differs from the default, so that one variation has one name. `recipe_name` names what is trained.
        """
        if self.recipe == "study":
            return self
        defaults = {f.name: f.default for f in fields(self)}  # type: ignore[arg-type]
        changed = {name: value for name, value in self.short.items() if getattr(self, name) == defaults[name]}
        return self.replaced(**changed, recipe="study")

    def replaced(self: P, **changes: Any) -> P:
        """A copy with other values of some fields."""
        return replace(self, **changes)  # type: ignore[type-var]

    def restore(self, task: Task, state: State, *, dropout: float = 0.0, precision: str = "auto") -> TrainedClassifier:
        """Restore the classifier that `state` was taken of (see `learn.task.Paradigm`).

        Raises:
            FathomError: The state is not one of this paradigm's network on this task.
        """
        augmentation = augmentation_of(task)
        network = self.resolved().build(task, augmentation, dropout, Stream(0, ("restore",)))
        load_weights(network, state, "the stored weights do not fit the network of this run")
        network.precision = inference(precision)
        return TrainedClassifier(network, augmentation)

    def validation_images(self, v: int) -> int:
        """Images predicted for validation in all epochs with v validation images."""
        return self.resolved().epochs * v

    def build(self, task: Task, augmentation: Augmentation, dropout: float, stream: Stream) -> Network:
        """Build the network for a task's images, with initial weights from a stream."""
        size, device = augmentation.output_size(task.images.size), task.images.device
        return build_network(self.network, size, task.num_classes, dropout, stream, device, self.hidden)

    def optimization(self, hparams: HParams, **more: Any) -> Optimization:
        """Learning rate and weight decay of some HPs, with the recipe's epochs, warm-up and momentum."""
        how = {"epochs": self.epochs, "warmup": self.warmup, "momentum": self.momentum, "precision": precision(hparams)}
        return Optimization(float(hparams["lr"]), float(hparams["weight_decay"]), **(how | more))

    def _expect(self, holds: bool, name: str, what: str) -> None:
        recipe.expect(holds, self.paradigm_name, name, what, getattr(self, name))


class SupervisedParadigm(ImageParadigm):
    """An image paradigm that trains on labeled images alone, in epochs of at least `epoch_size` samples."""

    epoch_size: int
    batch_size: int
    augmentation: str | tuple[str, ...]
    last_batch: str

    words: Sequence[tuple[str, Sequence[str]]] = (("last_batch", LAST_BATCH),)
    counts: Sequence[str] = ("epoch_size",)
    schedule = "cosine"

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained with (see `ImageParadigm`).

        Raises:
            FathomError: A value is out of its range.
        """
        super().__post_init__()
        self._expect(self.batch_size == 0 or self.batch_size >= 2, "batch_size", "0 or at least 2")
        for strength in values(self.augmentation):
            recipe.expect_word(self.paradigm_name, "augmentation", strength, tuple(STRENGTHS))

    def grid(self, task: Task) -> list[dict[str, Any]]:
        """All combinations of learning rate, weight decay and augmentation, in the order they are given."""
        plan = self.resolved()
        return recipe.combinations(lr=plan.lr, weight_decay=plan.weight_decay, augmentation=plan.augmentation)

    def benchmark_copy(self: P, images: int, epochs: int = 1) -> P:
        """A copy with `epochs` epochs of about `images` samples, for measuring speed."""
        return self.resolved().replaced(epochs=epochs, epoch_size=images, warmup=0)

    def training_images(self, m: int) -> int:
        """Images trained on in all epochs with m labels."""
        plan = self.resolved()
        return plan.epochs * max(m, plan.epoch_size)

    def study_batch(self, family: str, large: bool) -> int:
        """Mini-batch of the study, in samples, for a family of augmentations and small or large images."""
        raise NotImplementedError

    def batch_sizes(self, task: Task, size: tuple[int, int]) -> list[int]:
        """Sizes of an epoch's mini-batches of images of (height, width)."""
        batch = self.batch_size or self.study_batch(task.augment, min(size) >= LARGE)
        return batch_sizes(max(len(task.labels), self.epoch_size), batch, self.last_batch)

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
        """Train on the labeled images (see `learn.task.Paradigm`).

        On a CPU, equal streams and numbers of threads give equal bits.

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
            FathomError: Nothing is labeled, the validation set is empty, the state does not fit, or memory does not
                suffice.
        """
        recipe.expect_labels(task)
        plan, augmentation = self.resolved(), augmentation_of(task, str(hparams["augmentation"]))
        network = plan.build(task, augmentation, dropout, streams("init"))
        plan.load_prepared(network, state)
        sizes = plan.batch_sizes(task, augmentation.output_size(task.images.size))
        how = plan.optimization(hparams, schedule=plan.schedule)
        rule = recipe.imbalance_rule(plan.imbalance, task)
        objective = Supervised(task, network, augmentation, sizes, rule, streams, how.precision)
        return train(task, network, augmentation, objective, how, streams, checkpointer)

    def load_prepared(self, network: Network, state: State | None) -> None:
        """Load what `prepare` gave into a network with initial weights; nothing without pre-training."""


def precision(hparams: HParams) -> str:
    """Precision of a training: `auto`, unless a retry has put another one into the HPs."""
    return str(hparams.get("precision", "auto"))
