"""Standard training (ST): from scratch, on the labeled images alone."""

from dataclasses import dataclass
from typing import Any

from fathom.learn.paradigms.image_paradigm import SupervisedParadigm
from fathom.learn.paradigms.recipe import NoPretraining
from fathom.registry.registry import paradigm

# 105 steps of 32 and not 60 of 64: with 60 the classifier with dropout underfits, and BALD seemed to lose accuracy with
# every label it bought (digits, 225 labels: 0.86 against 0.96). A learning rate of 0.1 is left out for that reason.
# Changes of `recipe=short`, for fields that still have the study's value.
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
class Standard(SupervisedParadigm, NoPretraining):
    """Standard training: a classifier from scratch on the labeled set, the best validation epoch kept.

    Args:
        epochs: Epochs.
        epoch_size: Least samples per epoch; fewer labels are repeated.
        batch_size: Samples per mini-batch; 0 for the study's: 1,024 below 96 pixels, 512 from there.
        warmup: Epochs of linear warm-up, before half a cosine to 0.
        lr: Learning rates to choose from (P4); one value pins it.
        weight_decay: Weight decays to choose from.
        augmentation: Strengths to choose from: `standard`, `randaugment`, `randaugment-mc`.
        momentum: Of SGD (Nesterov).
        network: `resnet18`, `cnn`, or `auto`: resnet18 from 32 pixels, else cnn.
        dropout: Before the head: `auto` (0.5 for query methods that need draws, as published), `all` (0.5 for every
            method), or a probability for every method.
        imbalance: `oversample`, `weighted` (cross-entropy), `none`, or `auto`: oversample unless classes are balanced.
        last_batch: Rule for a last mini-batch too small for BatchNorm: `merge`, `drop`, `keep`.
        search: Number of starting sets that HPs are chosen on.
        retune: Rounds in which each run searches its HPs again, on what it has labeled by then; 0 for none.
        recipe: `study`, or `short`: 105 steps of 32 and a grid of four, for small images on a CPU. It replaces
            whatever has the study's value, also where that was written out (`recipe_name` says what is trained).

    Source: Lüth et al., 2023, Sec. 3 and code; weight decay and the last mini-batch are ours (see
        `training.batching`).
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

    paradigm_name = "standard"
    short = SHORT
    reported = ("epochs", "epoch_size", "batch_size", "warmup", "momentum", "network")

    def study_batch(self, family: str, large: bool) -> int:
        """Mini-batch of the study: 1,024 samples, and 512 of large images."""
        return 512 if large else 1024
