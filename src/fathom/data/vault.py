"""The sealed labels of a dataset's train images.

Active learning pays for labels, so code that reads a label without the oracle makes a result wrong without any error.
That is why a dataset holds no label array: each reader has a method of its own, named after what it needs. The leak
test (`tests/protocol/test_leaks.py`) lists the modules that may call them.
"""

from typing import Any

import numpy as np

Labels = np.ndarray[Any, np.dtype[np.int64]]


class LabelVault:
    """Classes of a dataset's train images, int64 [n].

    Args:
        labels: Class of each train image. The vault keeps a read-only copy.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels = np.array(labels)
        self._labels.setflags(write=False)

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        return f"LabelVault({len(self)} labels)"

    def reveal(self, ids: Labels) -> Labels:
        """Classes of the samples with these ids, for `protocol.oracle.Oracle` alone, which bills them."""
        return self._labels[ids]

    def class_counts(self, num_classes: int, ids: Labels | None = None) -> Labels:
        """Samples per class, of all samples or of `ids`; int64 [c].

        The dataset's checks, its record in the store and the check of a regime need them. A count names no sample.
        """
        return np.bincount(self._labels if ids is None else self._labels[ids], minlength=num_classes)

    def group_counts(self, groups: Labels, num_classes: int) -> tuple[Labels, Labels, Labels]:
        """(group, class, samples) of each class of each group, sorted; `groups` has a number from 0 for each sample.

        Whole groups are held out so that the shares of the classes are kept.
        """
        pairs, counts = np.unique(groups * num_classes + self._labels, return_counts=True)
        return pairs // num_classes, pairs % num_classes, counts

    def first_per_class(self, ids: Labels, counts: Labels | int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Mask of the ids that are among the first `counts[c]` of their class c, in the order of `ids`.

        Starting set, validation set and long tail are stratified by class (paper Sec. 3), before a run begins.
        """
        labels = self._labels[ids]
        return ranks_within_class(labels) < (counts if isinstance(counts, int) else counts[labels])

    def for_data_check(self) -> Labels:
        """Classes of all samples, for what looks for mistakes in a dataset or builds it, outside of any run.

        These are `Dataset`, `data.check`, the test kit, and the revision of one's own images.
        """
        return self._labels


def ranks_within_class(labels: Labels) -> Labels:
    """Number of earlier positions of the same class, for each position; int64 [n]."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - starts
    return ranks
