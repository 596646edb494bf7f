"""Labels made from official counts alone, for sketches (`data.sketch`); their order is not that of the files."""

from collections.abc import Sequence

import numpy as np

from fathom.data.splits import Ids


def mixed(counts: Sequence[int]) -> Ids:
    """Labels with the given count per class, spread so that every prefix has nearly the same shares."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    place = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
    drawn: Ids = labels[np.argsort(place, kind="stable")]
    return drawn


def evenly(n: int, num_classes: int) -> Ids:
    """n labels of balanced classes: 0, 1, ..., c - 1, 0, ..."""
    return np.arange(n, dtype=np.int64) % num_classes
