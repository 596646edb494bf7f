"""What the recipes of all paradigms share: checks of their fields, and grids of HPs."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from torch import Tensor

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.learn.task import Checkpointer, Library, State, Task, Unlabeled

IMBALANCE = ("auto", "oversample", "weighted", "none")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
T = TypeVar("T")


class NoPretraining:
    """For paradigms that learn nothing without labels."""

    @property
    def preparation(self) -> str:
        """Empty: nothing is prepared."""
        return ""

    def prepare(self, unlabeled: Unlabeled, stream: Stream, library: Library, checkpointer: Checkpointer) -> State:
        """Nothing."""
        return {}

    def pretraining_images(self, unlabeled: Unlabeled) -> int:
        """No image."""
        return 0

    def with_retry(self, change: str, family: str) -> None:
        """Nothing to change."""
        return


class NoBackbone:
    """For paradigms without a fixed backbone: images are used as they are."""

    @property
    def backbone(self) -> str:
        """Empty: there is none."""
        return ""

    def facts(self, library: Library) -> dict[str, Any]:
        """Nothing."""
        return {}

    def embed(self, unlabeled: Unlabeled, state: State | None, library: Library) -> Iterator[Tensor]:
        """Nothing."""
        yield from ()


def expect(holds: bool, paradigm: str, field: str, what: str, got: object) -> None:
    """Refuse a field that cannot be trained with.

    Raises:
        FathomError: `holds` is false.
    """
    if not holds:
        raise FathomError(f"{paradigm}: {field} must be {what}; got {got}")


def expect_word(paradigm: str, field: str, got: object, allowed: Sequence[str]) -> None:
    """Refuse a word that is not one of those allowed.

    Raises:
        FathomError: It is not.
    """
    expect(got in allowed, paradigm, field, f"one of {', '.join(allowed)}", got)


def expect_dropout(paradigm: str, dropout: str | int | float) -> None:
    """Refuse what is neither a rule nor a probability.

    Raises:
        FathomError: It is not `auto`, `all` or in [0, 1).
    """
    fits = dropout in ("auto", "all") if isinstance(dropout, str) else 0 <= float(dropout) < 1
    expect(fits, paradigm, "dropout", "auto, all or a probability in [0, 1)", dropout)


def expect_rounds(paradigm: str, retune: int | tuple[int, ...]) -> None:
    """Refuse rounds that are no whole numbers from 0, or named twice.

    Raises:
        FathomError: They are not.
    """
    rounds = values(retune)
    fits = all(isinstance(r, int) and not isinstance(r, bool) and r >= 0 for r in rounds)
    fits = fits and len(set(rounds)) == len(rounds)
    expect(fits, paradigm, "retune", "rounds from 1, each once, or 0 for none", retune)


def values(given: Any) -> tuple[Any, ...]:
    """The values to choose from: one given value pins an HP."""
    return given if isinstance(given, tuple) else (given,)


def combinations(**axes: Any) -> list[dict[str, Any]]:
    """All combinations of the values of some HPs, in the order they are given."""
    return [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*map(values, axes.values()))]


def imbalance_rule(rule: str, task: Task) -> str:
    """`oversample`, `weighted` or `none`; `auto` oversamples unless the dataset's classes are balanced."""
    return rule if rule != "auto" else "none" if task.balanced else "oversample"


def shortened(recipe: T, short: dict[str, Any]) -> T:
    """The same recipe with the fields of its short form, wherever a field still has the study's value.

    A field that is given with the study's value cannot be told from one that is left out: a call-string says only what
    is not as usual, so that one variation has one name. `recipe_text` says what is trained.
    """
    defaults = {f.name: f.default for f in fields(recipe)}  # type: ignore[arg-type]
    changed = {name: value for name, value in short.items() if getattr(recipe, name) == defaults[name]}
    return replace(recipe, **changed, recipe="study")  # type: ignore[type-var]


def recipe_text(recipe: str, plan: object, named: Sequence[str]) -> str:
    """`study` where a plan has the study's values in all `named` fields, else what differs, for the report."""
    study = type(plan)()
    changed = [f"{name}={getattr(plan, name)}" for name in named if getattr(plan, name) != getattr(study, name)]
    return f"{recipe if recipe != 'study' else 'changed'} ({', '.join(changed)})" if changed else "study"


def expect_labels(task: Task) -> None:
    """Refuse a task that nothing can be trained or validated on.

    Raises:
        FathomError: Nothing is labeled, or the validation set is empty.
    """
    if not len(task.labels) or not len(task.val_labels):
        raise FathomError(
            f"training needs labeled images and a validation set; got {len(task.labels)} and {len(task.val_labels)}"
        )
