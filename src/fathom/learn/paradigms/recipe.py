"""Checks of fields and grids of HPs that the recipes of all paradigms share."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.task import Checkpointer, Library, State, Task, Unlabeled

IMBALANCE = ("auto", "oversample", "weighted", "none")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


class NoPretraining:
    """Mix-in for paradigms without pre-training."""

    @property
    def preparation(self) -> str:
        """Empty, since nothing is prepared."""
        return ""

    def prepare(self, unlabeled: Unlabeled, stream: Stream, library: Library, checkpointer: Checkpointer) -> State:
        """Prepare nothing."""
        return {}

    def pretraining_images(self, unlabeled: Unlabeled) -> int:
        """0, since nothing is prepared."""
        return 0

    def with_retry(self, change: str, family: str) -> None:
        """None, since there is nothing to change."""


class NoBackbone:
    """Mix-in for paradigms without a fixed backbone: images are used as they are."""

    @property
    def backbone(self) -> str:
        """Empty, since there is none."""
        return ""

    def facts(self, library: Library) -> dict[str, Any]:
        """Empty, since there is no backbone."""
        return {}

    def embed(self, unlabeled: Unlabeled, state: State | None, library: Library) -> Iterator[Tensor]:
        """Yield nothing."""
        yield from ()


def expect(holds: bool, paradigm: str, field: str, what: str, got: object) -> None:
    """Refuse a field that cannot be trained with.

    Raises:
        FathomError: `holds` is false.
    """
    if not holds:
        raise FathomError(f"{paradigm}: {field} must be {what}; got {got}")


def expect_word(paradigm: str, field: str, got: object, allowed: Sequence[str]) -> None:
    """Refuse a word that is not allowed.

    Raises:
        FathomError: It is not.
    """
    expect(got in allowed, paradigm, field, f"one of {', '.join(allowed)}", got)


def expect_optimizer(paradigm: str, lr: Any, weight_decay: Any, momentum: int | float) -> None:
    """Refuse learning rates, weight decays or a momentum that SGD cannot train with.

    Raises:
        FathomError: One of them is out of its range.
    """
    expect(all(v > 0 for v in values(lr)), paradigm, "lr", "positive learning rates", lr)
    expect(all(v >= 0 for v in values(weight_decay)), paradigm, "weight_decay", "numbers from 0", weight_decay)
    expect(0 <= momentum < 1, paradigm, "momentum", "a number in [0, 1)", momentum)


def expect_dropout(paradigm: str, dropout: str | int | float) -> None:
    """Refuse a dropout that is neither a rule nor a probability.

    Raises:
        FathomError: It is not `auto`, `all` or in [0, 1).
    """
    fits = dropout in ("auto", "all") if isinstance(dropout, str) else 0 <= float(dropout) < 1
    expect(fits, paradigm, "dropout", "auto, all or a probability in [0, 1)", dropout)


def expect_rounds(paradigm: str, retune: int | tuple[int, ...]) -> None:
    """Refuse rounds that are not whole numbers from 0, or named twice.

    Raises:
        FathomError: They are not.
    """
    rounds = values(retune)
    fits = all(isinstance(r, int) and not isinstance(r, bool) and r >= 0 for r in rounds)
    fits = fits and len(set(rounds)) == len(rounds)
    expect(fits, paradigm, "retune", "rounds from 1, each once, or 0 for none", retune)


def values(given: Any) -> tuple[Any, ...]:
    """Values to choose from; a single value pins an HP."""
    return given if isinstance(given, tuple) else (given,)


def combinations(**axes: Any) -> list[dict[str, Any]]:
    """All combinations of the values of some HPs, in the given order."""
    return [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*map(values, axes.values()))]


def imbalance_rule(rule: str, task: Task, auto: str = "oversample") -> str:
    """Resolve `auto`: oversample unless the dataset's classes are balanced, or what `auto` names instead."""
    return rule if rule != "auto" else "none" if task.balanced else auto


def expect_labels(task: Task) -> None:
    """Refuse a task without labeled images or validation images.

    Raises:
        FathomError: Nothing is labeled, or the validation set is empty.
    """
    if not len(task.labels) or not len(task.val_labels):
        raise FathomError(
            f"training needs labeled images and a validation set; got {len(task.labels)} and {len(task.val_labels)}"
        )
