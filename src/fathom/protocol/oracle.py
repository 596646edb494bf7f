"""The oracle: the only reader of the train labels during a run. It bills each label once.

Active learning is about the price of labels, so a run has one oracle, and its bill is the run's `paid`. Reports and
probes measure things that no annotator would be paid for (how many pseudo-labels are right, how good features are).
They ask the same oracle, and it counts their labels apart: `looked_at` is never part of `paid`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fathom.core.records import FathomError
from fathom.data.vault import Labels, LabelVault


class Oracle:
    """Answers with true classes, and keeps the bill.

    Args:
        vault: Labels of the dataset's train images.
    """

    def __init__(self, vault: LabelVault) -> None:
        self._vault = vault
        self._bought: set[int] = set()
        self._looked_at: set[int] = set()

    def label(self, ids: Iterable[int] | Labels) -> Labels:
        """Buy the classes of samples; a label bought before is not billed again.

        Args:
            ids: Dataset ids, 0 to n - 1.

        Returns:
            Their classes in the same order, int64.

        Raises:
            FathomError: An id is outside the dataset.
        """
        wanted = np.fromiter(ids, np.int64)
        classes = self._reveal(wanted)
        self._bought.update(wanted.tolist())
        return classes

    def look(self, ids: Labels) -> Labels:
        """Classes of samples for a report or probe, whose result reaches no classifier and no query method.

        Raises:
            FathomError: An id is outside the dataset.
        """
        classes = self._reveal(ids)
        self._looked_at.update(ids.tolist())
        return classes

    def agreement(self, ids: Labels, classes: Labels) -> float:
        """Share of samples that have these classes, in [0, 1], for reports and probes (see `look`)."""
        return float((self.look(ids) == classes).mean())

    @property
    def paid(self) -> int:
        """Labels bought so far."""
        return len(self._bought)

    @property
    def looked_at(self) -> int:
        """Labels that reports and probes have seen so far."""
        return len(self._looked_at)

    def _reveal(self, ids: Labels) -> Labels:
        outside = ids[(ids < 0) | (ids >= len(self._vault))]
        if outside.size:
            raise FathomError(
                f"the oracle was asked for sample {outside[0]}; expected dataset ids 0 to {len(self._vault) - 1}"
            )
        return self._vault.reveal(ids)


@dataclass
class Labeled:
    """The labels of a run: those of its labeled samples in the order they were bought, and of its validation set.

    Args:
        ids: Dataset ids of the labeled samples.
        labels: Their classes.
        val_labels: Classes of the validation set, in the order of `Split.val_ids`. They are bought with the starting
            set and never change.
    """

    ids: list[int]
    labels: list[int]
    val_labels: Labels

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Iterable[int], labels: Labels) -> None:
        """Append samples that the oracle has just labeled."""
        self.ids += ids
        self.labels += labels.tolist()

    def count(self, num_classes: int) -> list[int]:
        """Count the labeled samples of each class."""
        counts: list[int] = np.bincount(self.labels, minlength=num_classes).tolist()
        return counts
