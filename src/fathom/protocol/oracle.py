"""The oracle: the only one that tells labels during a run. It bills each label once."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fathom.core.records import FathomError

Labels = np.ndarray[Any, np.dtype[np.int64]]


class Oracle:
    """Answers with the true class, and keeps the bill.

    Args:
        labels: Class of every train image of the dataset.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._bought: set[int] = set()

    def label(self, ids: Iterable[int] | Labels) -> Labels:
        """The classes of the samples with these dataset ids; a label bought before is not billed again.

        Raises:
            FathomError: An id is outside the dataset.
        """
        wanted = np.fromiter(ids, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self._labels)):
            raise FathomError(
                f"the oracle was asked for sample {wanted.max()}; expected dataset ids 0 to {len(self._labels) - 1}"
            )
        self._bought.update(wanted.tolist())
        return self._labels[wanted]

    def agreement(self, ids: Labels, classes: Labels) -> float:
        """Share of these samples that have these classes, in [0, 1]: for reports alone, and billed to nobody."""
        return float((self._labels[ids] == classes).mean())

    @property
    def paid(self) -> int:
        """Labels bought so far."""
        return len(self._bought)


@dataclass
class Labeled:
    """The labeled samples of a run, in the order they were bought.

    Args:
        ids: Dataset ids.
        labels: What the oracle told of each.
    """

    ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Iterable[int], labels: Labels) -> None:
        """Take in samples that the oracle has just labeled."""
        self.ids += ids
        self.labels += labels.tolist()

    def count(self, num_classes: int) -> list[int]:
        """Samples of each class."""
        counts: list[int] = np.bincount(self.labels, minlength=num_classes).tolist()
        return counts
