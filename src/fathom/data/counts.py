"""Labels from official counts alone, in an order nobody took from the files: for sketches (`data.sketch`)."""

from collections.abc import Sequence

import numpy as np

from fathom.data.splits import Ids


def mixed(counts: Sequence[int]) -> Ids:
    """Labels with the given number of images of each class, spread so that the first m have nearly the same shares."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    place = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
    drawn: Ids = labels[np.argsort(place, kind="stable")]
    return drawn


def evenly(n: int, num_classes: int) -> Ids:
    """n labels of balanced classes, in turn."""
    return np.arange(n, dtype=np.int64) % num_classes
