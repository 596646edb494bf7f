"""Stratified drawing: how many images of each class to hold out, and which groups, by their counts alone."""

import math
from typing import Any

import numpy as np

Counts = np.ndarray[Any, np.dtype[np.int64]]
SWEEPS = 10  # over all groups; two or three are enough before nothing changes


def class_shares(counts: Counts, size: int, shuffle: np.random.Generator) -> Counts:
    """Images of each class to hold out, so that the shares of the classes are kept as nearly as whole numbers can.

    A class with two images or more has one or more on both sides, as far as `size` allows; the last image of a class is
    never held out.

    Args:
        counts: Images of each class; int64 [c].
        size: Images to hold out; fewer where the classes have no more to give.
        shuffle: Decides which of several equal classes give one image more.

    Returns:
        int64 [c].
    """
    quota = size * counts / counts.sum()
    most = np.maximum(counts - 1, 0)
    least = np.minimum(1, most)
    wanted = np.clip(np.floor(quota).astype(np.int64), least, most)
    order = shuffle.permutation(len(counts))
    while gap := size - int(wanted.sum()):
        if gap < 0 and not (wanted > least).any():
            least = np.zeros_like(least)  # fewer images than classes
        room = wanted < most if gap > 0 else wanted > least
        if not room.any():
            break
        need = np.where(room, np.sign(gap) * (quota - wanted), -np.inf)
        wanted[order[need[order].argmax()]] += np.sign(gap)
    held_out: Counts = wanted
    return held_out


def hold_out_groups(
    counts: tuple[Counts, Counts, Counts], wanted: Counts, shuffle: np.random.Generator
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Choose whole groups so that the images of each class come as near to `wanted` as single moves of groups bring it.

    Groups are visited in random order, a few times; each changes sides if that makes the sum over the classes of
    (held out - wanted)^2 / wanted smaller. So large and small groups have the same chance, and the time grows with the
    number of groups. A class that is in a single group is not held out. One that is in two or more is on both sides,
    except where each move of its groups would take another class off one side (tiny data with many classes per group).

    Args:
        counts: (group, class, images) of each class of each group, sorted by group (`LabelVault.group_counts`).
        wanted: Images of each class to hold out; int64 [c].
        shuffle: Decides the order.

    Returns:
        True for the groups to hold out; bool [g].

    Source: ours. `StratifiedGroupKFold` of scikit-learn places the groups of most uneven classes first; a draw of one
        part would then always hold out these.
    """
    content: list[list[tuple[int, int]]] = [[] for _ in range(int(counts[0].max()) + 1)]
    groups_of: list[list[int]] = [[] for _ in wanted]  # class -> groups with an image of it
    for group, c, images in zip(*(part.tolist() for part in counts), strict=True):
        content[group].append((c, images))
        groups_of[c].append(group)
    weight, missing = (1 / np.maximum(wanted, 1)).tolist(), wanted.tolist()
    out_of = [0] * len(missing)  # groups held out, per class
    held_out = [False] * len(content)

    def gain(group: int) -> float:
        """How much nearer the counts come if a group changes sides."""
        sign = -1 if held_out[group] else 1
        return math.fsum(weight[c] * (missing[c] ** 2 - (missing[c] - sign * n) ** 2) for c, n in content[group])

    def movable(group: int) -> bool:
        """Tell whether each class of a group keeps a group on the side that the group leaves."""
        left = ((out_of[c] if held_out[group] else len(groups_of[c]) - out_of[c]) for c, _ in content[group])
        return min(left) > 1

    def move(group: int) -> None:
        sign = -1 if held_out[group] else 1
        held_out[group] = not held_out[group]
        for c, n in content[group]:
            missing[c] -= sign * n
            out_of[c] += sign

    for _ in range(SWEEPS):
        moved = False
        for group in shuffle.permutation(len(content)).tolist():
            if gain(group) > 1e-9 and movable(group):
                move(group)
                moved = True
        if not moved:
            break
    for c, groups in enumerate(groups_of):
        if not out_of[c] and (able := [groups[i] for i in shuffle.permutation(len(groups)) if movable(groups[i])]):
            move(max(able, key=gain))
    return np.array(held_out)
