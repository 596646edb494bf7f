"""Splits into test, validation and pool, and the labels of the start (paper Sec. 3).

Ids are indices of the dataset's train images. Every draw uses a given stream and an order that is fixed by content, so
nothing here depends on a file system, a locale, a transform or earlier draws.
"""

from typing import Any

import numpy as np

from fathom.core.records import FathomError, LabelRegime
from fathom.core.streams import Stream
from fathom.data.dataset import Dataset
from fathom.data.stratify import class_shares, hold_out_groups
from fathom.data.vault import LabelVault, ranks_within_class

Ids = np.ndarray[Any, np.dtype[np.int64]]

START_FLOOR = 5  # imbalanced data: labels per class in a starting set before the rest is drawn at random
VAL_FLOOR = 25  # imbalanced data: labels per class in a validation set before the rest is drawn at random
TEST_STREAM = Stream(0, ("test",))  # test splits are the same for all seeds of all runs


def train_val_split(dataset: Dataset, stream: Stream) -> tuple[Ids, Ids]:
    """Split the train images at random into the train part (the first pool) and the held-out validation part.

    With `dataset.stratify`, each class has its share of the held-out part, and at least one image on both sides if it
    has two; groups are never split, and a class all of whose images are in one group stays in the train part
    (`data.stratify`). Otherwise the draw is without regard to class: groups are taken in random order as long as they
    fit into `val_split`, and one more if that comes closer to it. Then, if the dataset is long-tailed, the train part
    alone is thinned.

    Args:
        dataset: The dataset; `val_split` images are held out.
        stream: `streams("split")` of the run's seed: the same for all query methods and paradigms.

    Returns:
        (train ids, validation ids), disjoint, each in the random order of the split.

    Raises:
        FathomError: One side is empty.

    Source: Lüth et al. 2023, Sec. 3 and study code (split by the run's seed, not stratified). Stratification and groups
        are ours: of a few hundred images a random draw leaves out whole classes; images of one lesion on both sides
        would make the validation score, and so the choice of HPs, optimistic. The thinning has its own stream; in the
        study's code it depended on the transform.
    """
    order = stream.numpy().permutation(len(dataset.labels)).astype(np.int64)
    held_out = _stratified(dataset, order, stream) if dataset.stratify else _unstratified(dataset, order, stream)
    train, val = order[~held_out], order[held_out]
    if not len(train) or not len(val):
        advice = "Use more and smaller groups" if dataset.groups is not None else "Add images: each class has only one"
        raise FathomError(
            f"dataset {dataset.name}: the split of seed {stream.seed} leaves {len(train)} train and {len(val)} "
            f"validation images; expected images on both sides. {advice}"
        )
    if dataset.long_tail is not None:
        train = _thin(train, dataset, dataset.long_tail, stream.at("long-tail"))
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
    return _draw(dataset.vault, train_ids, regime.start, floor, cap, stream)


def validation_set(dataset: Dataset, val_ids: Ids, regime: LabelRegime, stream: Stream) -> Ids:
    """Choose the labeled validation set among the held-out images.

    All of them if the regime asks for that many. Balanced held-out images (a balanced dataset, or a long tail, which
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
    return _draw(dataset.vault, val_ids, regime.val_size, floor, cap, stream if cap is None else None)


def fixed_test_split(labels: Ids, fraction: float, groups: Ids | None = None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Choose a fixed test split, stratified by class and equal for all seeds; True marks test images.

    Without groups: round(fraction x n_c) images of each class, but at least one is left for training. With groups:
    whole groups in random order, each if it brings the counts per class nearer to that.

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
        chosen[order[ranks_within_class(labels[order]) < wanted[labels[order]]]] = True
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
    for c in np.flatnonzero(np.bincount(labels[~chosen], minlength=len(wanted)) == 0):  # a class stays trainable
        of_class = [m for m in members if chosen[m].all() and (labels[m] == c).any()]
        chosen[min(of_class, key=len)] = False
    return chosen


def largest_start(dataset: Dataset, counts: Ids, size: int) -> int:
    """Size of the largest starting set up to `size` samples, given `counts` images per class; 0 if there is none."""
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


def _draw(vault: LabelVault, ids: Ids, size: int, floor: int, cap: int | None, stream: Stream | None) -> Ids:
    """Draw `floor` ids of each class, and others (at most `cap` per class) up to `size`; the first without a stream.

    The others are drawn from a second order. In the order of the first draw, the ids of a class that are left come
    after its first `floor` ones: those of rare classes, whose first ones come late, would be drawn too seldom.
    """
    order = ids if stream is None else stream.numpy().permutation(ids)
    in_floor = vault.first_per_class(order, floor)
    sure, others = order[in_floor], order[~in_floor & vault.first_per_class(order, len(ids) if cap is None else cap)]
    if stream is not None:
        others = stream.at("others").numpy().permutation(others)
    drawn: Ids = np.concatenate([sure, others[: max(0, size - len(sure))]])
    if len(drawn) != size:
        raise FathomError(
            f"expected {size} images, only {len(drawn)} can be drawn; check_regime gives the sizes that fit"
        )
    return drawn


def _largest(counts: Ids, size: int, shape: Any, *, strict: bool) -> int:
    for n in range(min(size, int(counts.sum())), 0, -1):
        floor, cap = shape(n)
        available = counts.sum() if cap is None else np.minimum(counts, cap).sum()
        if available >= n and (not strict or counts.min() >= floor):
            return n
    return 0


def _members(groups: Ids) -> list[Ids]:
    """The positions of each group, groups in order of their first member, so that their numbering does not matter."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    by_group = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    return [by_group[g] for g in np.argsort(first)]


Mask = np.ndarray[Any, np.dtype[np.bool_]]


def _stratified(dataset: Dataset, order: Ids, stream: Stream) -> Mask:
    """Mask of `order` of the images to hold out: the same share of each class."""
    shuffle = stream.at("classes").numpy()
    wanted = class_shares(dataset.vault.class_counts(dataset.num_classes), dataset.val_split, shuffle)
    if dataset.groups is None:
        return dataset.vault.first_per_class(order, wanted)
    _, first, groups = np.unique(dataset.groups, return_index=True, return_inverse=True)
    groups = np.argsort(np.argsort(first))[groups]  # numbered by first member, so that their own numbering is no matter
    counts = dataset.vault.group_counts(groups, dataset.num_classes)
    held_out: Mask = hold_out_groups(counts, wanted, stream.at("groups").numpy())[groups[order]]
    return held_out


def _unstratified(dataset: Dataset, order: Ids, stream: Stream) -> Mask:
    """Mask of `order` of the images to hold out, without regard to class."""
    if dataset.groups is None:
        return np.arange(len(order)) < dataset.val_split
    held_out: Mask = _hold_out_groups(dataset.groups, dataset.val_split, stream.at("groups"))[order]
    return held_out


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


def _thin(train: Ids, dataset: Dataset, rho: float, stream: Stream) -> Ids:
    """Keep the long-tail counts of each class at random (all of a class that has fewer), in the order of the split."""
    wanted = np.array(long_tail_counts(len(train), dataset.num_classes, rho))
    order = stream.numpy().permutation(len(train))
    kept = np.empty(len(train), bool)
    kept[order] = dataset.vault.first_per_class(train[order], wanted)
    return train[kept]
