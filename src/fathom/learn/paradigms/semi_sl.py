"""Semi-supervised learning (Semi-SL): FixMatch on the labeled set and the round's pool."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from fathom.core.augmentations import AUGMENTATIONS
from fathom.core.streams import Streams
from fathom.learn.augment.families import augmentation_of
from fathom.learn.objectives.fixmatch import ALIGNMENTS, FixMatch, PseudoLabels
from fathom.learn.objectives.supervised import train
from fathom.learn.paradigms import recipe
from fathom.learn.paradigms.image_paradigm import ImageParadigm
from fathom.learn.predict import TrainedClassifier
from fathom.learn.task import NO_CHECKPOINT, Checkpointer, HParams, State, Task
from fathom.registry.registry import paradigm

VIEWS = ("standard", "fixmatch-weak", "fixmatch-strong")  # of labeled images, weak, strong
CURVE_POINTS = 50  # points of the mask rate's curve in a round's record

# 200 steps: on digits with 50 to 150 labels they gain 1.5 to 4.3 points over standard training, 100 steps about one.
# Changes of `recipe=short`, for fields that still have the study's value.
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
class SemiSL(ImageParadigm, recipe.NoPretraining):
    """Semi-supervised training: FixMatch, with the pool of the round as unlabeled set; the last epoch is kept.

    Args:
        epochs: Epochs; the validation score is recorded after each.
        steps: Steps per epoch.
        batch_size: Labeled images per step.
        mu: Unlabeled images per labeled one in a step; each is seen in a weak and a strong view.
        threshold: Least confidence of a pseudo-label that is learned from, in [0, 1].
        temperature: Temperature of the pseudo-label; see `fixmatch.PseudoLabels`.
        lambda_u: Weight of the unlabeled loss.
        distribution_alignment: `off`, as in the published code's effect; `uniform`: predictions are aligned to classes
            of equal size, as the paper describes for imbalanced datasets; `labeled`: to those of the labeled set.
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
        search: Number of starting sets that HPs are chosen on.
        retune: Rounds in which each run searches its HPs again, on what it has labeled by then; 0 for none.
        recipe: `study`, or `short`: for small images on a CPU. It replaces whatever has the study's value, also where
            that was written out (`recipe_name` says what is trained).

    Source: Sohn et al., 2020 (FixMatch); Lüth et al., 2023, Sec. 3 and code. Its searches
        differ by dataset and always chose lr 0.03, with weight decay 0.0005 (CIFAR-10, CIFAR-100) or 0.001
        (CIFAR-10-LT): the grid is these two. Alignment is off by default, since that of the published code never
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

    paradigm_name = "semi-sl"
    short = SHORT
    reported = ("epochs", "steps", "batch_size", "mu", "threshold", "temperature", "lambda_u", "warmup", "ema",
                "distribution_alignment", "momentum", "network")  # fmt: skip
    words = (("distribution_alignment", ALIGNMENTS),)
    counts = ("steps", "batch_size", "mu")
    least_warmup = (-1, "-1 (as published), or at least 0")

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained with, before any training starts.

        Raises:
            FathomError: A value is out of its range.
        """
        super().__post_init__()
        self._expect(0 <= self.threshold <= 1, "threshold", "a probability in [0, 1]")
        self._expect(self.temperature > 0, "temperature", "positive")
        self._expect(self.lambda_u >= 0, "lambda_u", "a number from 0")
        self._expect(0 <= self.ema < 1, "ema", "a number in [0, 1)")

    def grid(self, task: Task) -> list[dict[str, Any]]:
        """All combinations of learning rate and weight decay, in the order they are given."""
        plan = self.resolved()
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
        plan = self.resolved()
        plain, weak, strong = (augmentation_of(task, strength) for strength in VIEWS)
        network = plan.build(task, plain, dropout, streams("init"))
        how = plan.optimization(hparams, warmup=plan._warmup(task.augment), ema=plan.ema, keep="last")
        guessing = PseudoLabels(
            float(plan.threshold), float(plan.temperature), float(plan.lambda_u), plan.distribution_alignment, plan.mu
        )
        # Lüth et al., 2023 (code): FixMatch kept the weighted loss when the other paradigms turned to oversampling.
        rule = recipe.imbalance_rule(plan.imbalance, task, auto="weighted")
        sizes = [plan.batch_size] * plan.steps
        objective = FixMatch(task, network, (plain, weak, strong), sizes, guessing, rule, streams, how.precision)
        trained = train(task, network, plain, objective, how, streams, checkpointer)
        found = _diagnostics(trained.history, objective.marginal, objective.target, guessing.threshold)
        trained.diagnostics = found | trained.diagnostics
        return trained

    def benchmark_copy(self, images: int, epochs: int = 1) -> "SemiSL":
        """A copy of the recipe with `epochs` epochs of about `images` views, for measuring speed."""
        plan = self.resolved()
        batch = min(plan.batch_size, max(1, images // plan._views(1)))
        steps = max(1, images // plan._views(batch))
        return plan.replaced(epochs=epochs, steps=steps, batch_size=batch, warmup=0)

    def training_images(self, m: int) -> int:
        """Views trained on in all epochs, whatever is labeled: labeled, weak and strong ones."""
        plan = self.resolved()
        return plan.epochs * plan.steps * plan._views(plan.batch_size)

    def _views(self, batch_size: int) -> int:
        """Views per step."""
        return batch_size * (1 + 2 * self.mu)

    def _warmup(self, family: str) -> int:
        """Epochs of warm-up; those of the study if there are enough epochs."""
        if self.warmup >= 0:
            return self.warmup
        return min(3, self.epochs - 1) if AUGMENTATIONS[family].large else 0


def _diagnostics(
    history: list[dict[str, float]], marginal: Float[Tensor, "c"], target: Float[Tensor, "c"] | None, threshold: float
) -> dict[str, Any]:
    """Diagnostics: curve of the mask rate, mean prediction of the last epoch, and the marginal it was aligned to."""
    every = -(-len(history) // CURVE_POINTS)
    rows = history[::-1][::every][::-1]  # the last epoch is always among them
    return {
        "threshold": threshold,
        "epochs": [int(row["epoch"]) for row in rows],
        "mask_rate": [row["mask_rate"] for row in rows],
        "marginals": marginal.tolist(),
        "target": None if target is None else target.tolist(),
    }
