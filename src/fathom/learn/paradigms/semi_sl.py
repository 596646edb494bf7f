"""Semi-supervised learning (Semi-SL): FixMatch on the labeled set and the round's pool."""

from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from fathom.core.augmentations import AUGMENTATIONS
from fathom.core.records import FathomError
from fathom.core.streams import Stream, Streams
from fathom.learn.augment.families import Augmentation
from fathom.learn.network import Network, build_network
from fathom.learn.objectives.fixmatch import ALIGNMENTS, FixMatch, PseudoLabels
from fathom.learn.paradigms import recipe
from fathom.learn.paradigms.recipe import expect, expect_word, values
from fathom.learn.predict import DRAWS, TrainedClassifier, inference
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, HParams, State, Task
from fathom.learn.training.fit import Optimization, fit, validation
from fathom.registry.registry import paradigm

VIEWS = ("standard", "fixmatch-weak", "fixmatch-strong")  # of labeled images, weak, strong
SHOWN = 50  # points of the mask rate's curve that a round keeps

# What `recipe=short` changes, where a field still has the study's value.
SHORT: dict[str, Any] = {
    "epochs": 10,
    "steps": 20,
    "batch_size": 32,
    "mu": 3,
    "threshold": 0.7,
    "warmup": 1,
    "lr": (0.06,),
    "weight_decay": (0.0005,),
}


@paradigm("semi-sl")
@dataclass(frozen=True)
class SemiSL(recipe.NoPretraining, recipe.NoBackbone):
    """Semi-supervised training: FixMatch, with the pool of the round as unlabeled set; the last epoch is kept.

    Args:
        epochs: Epochs, after each of which the validation score is taken down.
        steps: Steps an epoch.
        batch_size: Labeled images a step.
        mu: Unlabeled images a step for each labeled one; each is seen in a weak and a strong view.
        threshold: Least confidence of a pseudo-label that is learned from, in [0, 1].
        temperature: Of the guess; see `fixmatch.PseudoLabels`.
        lambda_u: Weight of the unlabeled loss.
        distribution_alignment: `off`, as the published numbers came about; `uniform`: guesses are aligned to classes
            of equal size, as the paper means it on imbalanced datasets; `labeled`: to those of the labeled set.
        warmup: Epochs of linear warm-up before half a cosine to 0; -1 for the study's: 3 for the families `isic` and
            `imagenet`, else none.
        lr: Learning rates to choose from (P4); one value pins it.
        weight_decay: Weight decays to choose from.
        momentum: Of SGD (Nesterov).
        ema: Decay of the averaged weights that are validated and kept; 0 for none, as published (FixMatch: 0.999).
        network: `resnet18`, `cnn`, or `auto`: resnet18 from 32 pixels, else cnn.
        dropout: Before the head: `auto` (0.5 for query methods that need draws), `all` (0.5 for every method), or a
            probability for every method.
        imbalance: Of the labeled part: `oversample`, `weighted` (cross-entropy), `none`, or `auto`: weighted unless
            classes are balanced.
        search: Starting sets that HPs are chosen on.
        retune: Rounds in which each run searches its HPs again, on what it has labeled by then; 0 for none.
        recipe: `study`, or `short`: for small images on a CPU. It replaces whatever has the study's value, also where
            that was written out (`recipe_name` says what is trained).

    Source: Sohn et al., 2020 (FixMatch); Lüth et al., 2023, Sec. 3 and code. Its searches
        differ by dataset and always chose lr 0.03, with weight decay 0.0005 (CIFAR-10, CIFAR-100) or 0.001
        (CIFAR-10-LT): the grid is these two. Alignment is off unless it is asked for, since the published code's never
        had an effect.
    """

    epochs: int = 200
    steps: int = 1000
    batch_size: int = 64
    mu: int = 7
    threshold: int | float = 0.95
    temperature: int | float = 1.0
    lambda_u: int | float = 1.0
    distribution_alignment: str = "off"
    warmup: int = -1
    lr: int | float | tuple[int | float, ...] = (0.03,)
    weight_decay: int | float | tuple[int | float, ...] = (0.0005, 0.001)
    momentum: int | float = 0.9
    ema: int | float = 0.0
    network: str = "auto"
    dropout: str | int | float = "auto"
    imbalance: str = "auto"
    search: int = 3
    retune: int | tuple[int, ...] = (0,)
    recipe: str = "study"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, before anything is.

        Raises:
            FathomError: A value is out of its range.
        """
        words = {
            "distribution_alignment": ALIGNMENTS,
            "imbalance": recipe.IMBALANCE,
            "recipe": ("study", "short"),
            "network": ("auto", "resnet18", "cnn"),
        }
        for name, allowed in words.items():
            expect_word("semi-sl", name, getattr(self, name), allowed)
        for name in ("epochs", "steps", "batch_size", "mu", "search"):
            _expect(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        plan = self._resolved()
        warmup = f"-1 (as published), or at least 0 and below the {plan.epochs} epochs"
        _expect(-1 <= plan.warmup < plan.epochs, "warmup", warmup, plan.warmup)
        _expect(0 <= self.threshold <= 1, "threshold", "a probability in [0, 1]", self.threshold)
        _expect(self.temperature > 0, "temperature", "positive", self.temperature)
        _expect(self.lambda_u >= 0, "lambda_u", "a number from 0", self.lambda_u)
        for name in ("momentum", "ema"):
            _expect(0 <= getattr(self, name) < 1, name, "a number in [0, 1)", getattr(self, name))
        _expect(all(v > 0 for v in values(self.lr)), "lr", "positive learning rates", self.lr)
        _expect(all(v >= 0 for v in values(self.weight_decay)), "weight_decay", "numbers from 0", self.weight_decay)
        recipe.expect_dropout("semi-sl", self.dropout)
        recipe.expect_rounds("semi-sl", self.retune)

    @property
    def recipe_name(self) -> str:
        """`study` for the published recipe, else what was shortened or changed."""
        named = ("epochs", "steps", "batch_size", "mu", "threshold", "temperature", "lambda_u", "warmup", "ema",
                 "distribution_alignment", "momentum", "network")  # fmt: skip
        return recipe.recipe_text(self.recipe, self._resolved(), named)

    def grid(self, task: Task) -> list[dict[str, Any]]:
        """All combinations of learning rate and weight decay, in the order they are given."""
        plan = self._resolved()
        return recipe.combinations(lr=plan.lr, weight_decay=plan.weight_decay)

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
        """Train from scratch on the labeled images and the pool (see `learn.task.Paradigm`).

        On a CPU the result is the same to the bit for the same streams and number of threads, killed or not.

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
            FathomError: Nothing is labeled, the validation set is empty, or memory does not suffice.
        """
        recipe.expect_labels(task)
        plan = self._resolved()
        precision = str(hparams.get("precision", "auto"))
        plain, weak, strong = (_augmentation(task, strength) for strength in VIEWS)
        network = plan._build(task, plain, dropout, streams("init"))
        network.precision = inference(precision)
        masks = network.masks(DRAWS, streams("dropout").at("validation")) if dropout else None
        validate = validation(task.val_images, task.val_labels, plain, task.metric, task.num_classes, masks)
        guessing = PseudoLabels(
            float(plan.threshold),
            float(plan.temperature),
            float(plan.lambda_u),
            plan.distribution_alignment,
            plan.mu,
        )
        rule = _imbalance_rule(plan.imbalance, task)
        views = (plain, weak, strong)
        sizes = [plan.batch_size] * plan.steps
        objective = FixMatch(task, network, views, sizes, guessing, rule, streams, precision)
        how = Optimization(
            float(hparams["lr"]),
            float(hparams["weight_decay"]),
            plan.epochs,
            plan._warmup(task.augment),
            plan.momentum,
            ema=plan.ema,
            keep="last",
            precision=precision,
        )
        notes: dict[str, str] = {}
        score, history = fit(network, objective, how, validate, checkpointer=checkpointer, notes=notes)
        shown = _shown(history, objective.marginal, objective.target, guessing.threshold)
        return TrainedClassifier(network, plain, score, history, shown | notes)

    def restore(self, task: Task, state: State, *, dropout: float = 0.0, precision: str = "auto") -> TrainedClassifier:
        """The classifier that `state` was taken of.

        Raises:
            FathomError: The state is not one of this paradigm's network on this task.
        """
        augmentation = _augmentation(task, VIEWS[0])
        network = self._resolved()._build(task, augmentation, dropout, Stream(0, ("restore",)))
        try:
            network.load_state_dict(dict(state))
        except RuntimeError as error:
            raise FathomError(f"the stored weights do not fit the network of this run: {error}") from error
        network.precision = inference(precision)
        return TrainedClassifier(network, augmentation)

    def benchmark_copy(self, images: int) -> "SemiSL":
        """The same recipe cut down to one epoch of about `images` views, for measuring speed."""
        plan = self._resolved()
        batch = min(plan.batch_size, max(1, images // plan._views(1)))
        return replace(plan, epochs=1, steps=max(1, images // plan._views(batch)), batch_size=batch, warmup=0)

    def training_images(self, m: int) -> int:
        """Views trained on in all epochs, whatever is labeled: labeled, weak and strong ones."""
        plan = self._resolved()
        return plan.epochs * plan.steps * plan._views(plan.batch_size)

    def validation_images(self, v: int) -> int:
        """Images predicted for validation in all epochs with v validation images."""
        return self._resolved().epochs * v

    def _resolved(self) -> "SemiSL":
        """The same with the fields of a short recipe written out."""
        return self if self.recipe == "study" else recipe.shortened(self, SHORT)

    def _views(self, batch_size: int) -> int:
        """Views of a step."""
        return batch_size * (1 + 2 * self.mu)

    def _warmup(self, family: str) -> int:
        """Epochs of warm-up; the study's where there are epochs enough."""
        if self.warmup >= 0:
            return self.warmup
        return min(3, self.epochs - 1) if AUGMENTATIONS[family].large else 0

    def _build(self, task: Task, augmentation: Augmentation, dropout: float, stream: Stream) -> Network:
        size = augmentation.output_size(task.images.size)
        return build_network(self.network, size, task.num_classes, dropout, stream, task.images.device)


def _imbalance_rule(rule: str, task: Task) -> str:
    """`auto` weights the cross-entropy, where the other paradigms oversample.

    Source: Lüth et al., 2023 (code): FixMatch kept the weighted loss when the others turned to oversampling.
    """
    return rule if rule != "auto" else "none" if task.balanced else "weighted"


def _shown(
    history: list[dict[str, float]], marginal: Float[Tensor, "c"], target: Float[Tensor, "c"] | None, threshold: float
) -> dict[str, Any]:
    """What a reader should see: the mask rate's curve, the last epoch's mean guess and what it was aligned to."""
    every = -(-len(history) // SHOWN)
    rows = history[::-1][::every][::-1]  # the last epoch is always among them
    return {
        "threshold": threshold,
        "epochs": [int(row["epoch"]) for row in rows],
        "mask_rate": [row["mask_rate"] for row in rows],
        "marginals": marginal.tolist(),
        "target": None if target is None else target.tolist(),
    }


def _augmentation(task: Task, strength: str) -> Augmentation:
    return Augmentation(task.augment, strength, task.mean, task.std, task.images.device)


def _expect(holds: bool, name: str, what: str, got: object) -> None:
    expect(holds, "semi-sl", name, what, got)
