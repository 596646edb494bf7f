"""Which images are for testing, for validation and for the pool, and which are labeled first (paper Sec. 3).

Ids are indices of the dataset's train images. Every draw comes from a stream that is given, over an order that is fixed
by content, so nothing here depends on a file system, a locale, a transform or what was drawn before.
"""

from typing import Any

import numpy as np

from fathom.core.records import FathomError, LabelRegime
from fathom.core.streams import Stream
from fathom.data.dataset import Dataset

Ids = np.ndarray[Any, np.dtype[np.int64]]

START_FLOOR = 5  # imbalanced data: labels of each class that a starting set holds before the rest is drawn at random
VAL_FLOOR = 25  # the same for the validation set
TEST_STREAM = Stream(0, ("test",))  # test splits are the same for all seeds of all runs


def train_val_split(dataset: Dataset, stream: Stream) -> tuple[Ids, Ids]:
    """Split the train images at random into the train part (the first pool) and the held-out validation part.

    Groups are never parted: they are taken in random order as long as they fit into `val_split`, and one more goes over
    it where that comes closer. Then, where the dataset is long-tailed, the train part alone is thinned.

    Args:
        dataset: The dataset; `val_split` images are held out.
        stream: `streams("split")` of the run's seed: the same for all query methods and paradigms.

    Returns:
        (train ids, validation ids), disjoint, each in the random order of the split.

    Raises:
        FathomError: The groups leave one side empty.

    Source: Lüth et al. 2023, Sec. 3 and study code (split by the run's seed). Groups are ours: images of one lesion on
        two sides would make the validation score, and so the choice of HPs, too good. The thinning has a stream of its
        own; in the study's code it depended on the transform.
    """
    n = len(dataset.labels)
    order = stream.numpy().permutation(n).astype(np.int64)
    if dataset.groups is None:
        train, val = order[dataset.val_split :], order[: dataset.val_split]
    else:
        held_out = _hold_out_groups(dataset.groups, dataset.val_split, stream.at("groups"))
        train, val = order[~held_out[order]], order[held_out[order]]
    if not len(train) or not len(val):
        raise FathomError(
            f"dataset {dataset.name}: its groups leave {len(train)} train and {len(val)} validation images; expected "
            "both sides to have some. Give more and smaller groups"
        )
    if dataset.long_tail is not None:
        train = _thin(train, dataset.labels, dataset.num_classes, dataset.long_tail, stream.at("long-tail"))
    return train, val


def long_tail_counts(train_size: int, num_classes: int, rho: float) -> list[int]:
    """Images of each class in an exponential long tail: int(n_max rho^(-c / (C - 1))), with n_max = train_size / C.

    Source: Cui et al. 2019 (CVPR), Sec. 5.1, as in the study's code (CIFAR-10-LT: 4500, 2913, ..., 90 at rho = 50).
    """
    return [int(train_size / num_classes * rho ** (-c / (num_classes - 1))) for c in range(num_classes)]


def starting_set(dataset: Dataset, train_ids: Ids, regime: LabelRegime, stream: Stream) -> Ids:
    """Draw the labels of round 0.

    Balanced data: n/C of each class (one more of some classes where C does not divide n). Imbalanced data: 5 of each
    class (n/C where that is fewer), the rest uniformly at random.

    Args:
        dataset: The dataset.
        train_ids: The train part of its split.
        regime: Its `start` is n.
        stream: `streams("start")` of the run's seed.

    Source: Lüth et al. 2023, Sec. 3, and study code (5 of each class).
    """
    floor, cap = _start_shape(dataset, regime.start)
    return _draw(dataset.labels, train_ids, regime.start, floor, cap, stream)


def validation_set(dataset: Dataset, val_ids: Ids, regime: LabelRegime, stream: Stream) -> Ids:
    """Choose the labeled validation set among the held-out images.

    All of them where the regime asks for as many. Balanced held-out images (a balanced dataset, or a long tail, which
    only thins the train part): the first n/C of each class in the order of the split. Imbalanced: 25 of each class
    (n/C where that is fewer, all where fewer are held out), the rest uniformly at random.

    Args:
        dataset: The dataset.
        val_ids: The held-out part of its split.
        regime: Its `val_size` is n.
        stream: `streams("validation")` of the run's seed.

    Source: Lüth et al. 2023, Sec. 3, and study code (25 of each class).
    """
    if regime.val_size == len(val_ids):
        return val_ids.copy()
    floor, cap = _val_shape(dataset, regime.val_size)
    return _draw(dataset.labels, val_ids, regime.val_size, floor, cap, stream if cap is None else None)


def fixed_test_split(labels: Ids, fraction: float, groups: Ids | None = None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Choose a fixed test split, stratified by class, the same for every seed; True marks test images.

    Without groups, round(fraction x n_c) images of each class, but at least one is left for training. With groups,
    whole groups in random order, each where it brings the classes' counts nearer to that.

    Args:
        labels: Classes, 0 to c - 1.
        fraction: Share of the images for testing, in (0, 1).
        groups: Group of each image.
    """
    wanted = np.round(fraction * np.bincount(labels))
    wanted = np.minimum(wanted, np.bincount(labels) - 1)
    chosen = np.zeros(len(labels), bool)
    generator = TEST_STREAM.numpy()
    if groups is None:
        order = generator.permutation(len(labels))
        chosen[order[_ranks(labels[order]) < wanted[labels[order]]]] = True
        return chosen
    have = np.zeros_like(wanted)
    members = _members(groups)
    for g in generator.permutation(len(members)):
        classes, counts = np.unique(labels[members[g]], return_counts=True)
        missing = wanted[classes] - have[classes]
        weight = 1 / np.maximum(wanted[classes], 1)  # a rare class counts as much as a common one
        if (weight * (missing - counts) ** 2).sum() < (weight * missing**2).sum():
            chosen[members[g]] = True
            have[classes] += counts
    return chosen


def largest_start(dataset: Dataset, counts: Ids, size: int) -> int:
    """The largest starting set of at most `size` that can be drawn from `counts` images of each class; 0 if none."""
    return _largest(counts, size, lambda n: _start_shape(dataset, n), strict=True)


def largest_validation(dataset: Dataset, counts: Ids, size: int) -> int:
    """The largest validation set of at most `size` that can be drawn from `counts` held-out images of each class."""
    if size >= counts.sum():
        return int(counts.sum())
    return _largest(
        counts, size, lambda n: _val_shape(dataset, n), strict=dataset.balanced or dataset.long_tail is not None
    )


# ------------------------------------------------------------------------------------------------------- helpers


def _start_shape(dataset: Dataset, size: int) -> tuple[int, int | None]:
    """(floor, cap): labels that every class gets, and that no class exceeds."""
    share, rest = divmod(size, dataset.num_classes)
    return (share, share + (rest > 0)) if dataset.balanced else (min(START_FLOOR, share), None)


def _val_shape(dataset: Dataset, size: int) -> tuple[int, int | None]:
    share, rest = divmod(size, dataset.num_classes)
    if dataset.balanced or dataset.long_tail is not None:
        return share, share + (rest > 0)
    return min(VAL_FLOOR, share), None


def _draw(labels: Ids, ids: Ids, size: int, floor: int, cap: int | None, stream: Stream | None) -> Ids:
    """`floor` ids of each class, and others (to `cap` of a class) up to `size`: at random, or the first without stream.

    The others are drawn from an order of their own. In one order for both, those of a class that come after its first
    few come late: rare classes, which wait longest for their first few, would be drawn too seldom.
    """
    order = ids if stream is None else stream.numpy().permutation(ids)
    ranks = _ranks(labels[order])
    sure = order[ranks < floor]
    others = order[(ranks >= floor) & (ranks < (len(ids) if cap is None else cap))]
    if stream is not None:
        others = stream.at("others").numpy().permutation(others)
    drawn: Ids = np.concatenate([sure, others[: max(0, size - len(sure))]])
    if len(drawn) != size:
        raise FathomError(f"{size} images were asked for, {len(drawn)} can be drawn; check_regime says what fits")
    return drawn


def _largest(counts: Ids, size: int, shape: Any, *, strict: bool) -> int:
    for n in range(min(size, int(counts.sum())), 0, -1):
        floor, cap = shape(n)
        available = counts.sum() if cap is None else np.minimum(counts, cap).sum()
        if available >= n and (not strict or counts.min() >= floor):
            return n
    return 0


def _ranks(labels: Ids) -> Ids:
    """For each position, how many of the same class come before it."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - starts
    return ranks


def _members(groups: Ids) -> list[Ids]:
    """The positions of each group, groups in order of their first member: the numbering does not matter."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    by_group = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    return [by_group[g] for g in np.argsort(first)]


def _hold_out_groups(groups: Ids, size: int, stream: Stream) -> np.ndarray[Any, np.dtype[np.bool_]]:
    members = _members(groups)
    held_out = np.zeros(len(groups), bool)
    left, passed = size, []
    for g in stream.numpy().permutation(len(members)):
        if len(members[g]) <= left:
            held_out[members[g]] = True
            left -= len(members[g])
        else:
            passed.append(members[g])
    smallest = min(passed, key=len, default=None)
    if smallest is not None and len(smallest) - left < left:
        held_out[smallest] = True
    return held_out


def _thin(train: Ids, labels: Ids, num_classes: int, rho: float, stream: Stream) -> Ids:
    """Keep the long-tail counts of each class at random (all of a class that has fewer), in the order of the split."""
    wanted = np.array(long_tail_counts(len(train), num_classes, rho))
    order = stream.numpy().permutation(len(train))
    ranks = np.empty(len(train), np.int64)
    ranks[order] = _ranks(labels[train[order]])
    return train[ranks < wanted[labels[train]]]
