"""Findings on a dataset that make test accuracies too good: groups and copies on both sides of a split."""

from typing import Any

import numpy as np

from fathom.data.dataset import Dataset, Images
from fathom.data.files.groups import likely_groups
from fathom.data.files.listing import Problem, problem
from fathom.data.image_names import names_of
from fathom.data.images import chunks, fingerprints
from fathom.data.near_duplicates import LIMIT, SIDE, Thumbnails, find_near_duplicates, thumbnails
from fathom.data.sketch import BlankImages

MAX_PIXELS = 10_000_000_000  # bytes of images that are searched for copies, once per study: a minute or two


def leakage_of(d: Dataset) -> dict[str, Any]:
    """Findings on a dataset, JSON-plain; None for what is unknown.

    Returns:
        groups_across: groups with images in both train and test; duplicates_across: test images with the pixels of a
        train image; near_duplicates_across: test images with a near-duplicate among the train images;
        near_duplicates_within: train images with one among the train images of other groups; likely_groups: text on
        groups that file names suggest where none are declared.
    """
    searchable = _searchable(d)
    across, within = _near_duplicates(d) if searchable else (None, None)
    return {
        "independent": d.independent,
        "groups_across": _groups_across(d),
        "duplicates_across": _duplicates_across(d) if searchable else None,
        "near_duplicates_across": across,
        "near_duplicates_within": within,
        "likely_groups": _likely_groups(d),
    }


def near_duplicate_pairs(images: Thumbnails, groups: Any, test: Any) -> tuple[Any, Any] | None:
    """Pairs of near-duplicates (across train and test, within a split but in different groups), positions [p, 2].

    Args:
        images: Thumbnails.
        groups: Group of each image; None where none are declared.
        test: True for test images.

    Returns:
        None for too many images.
    """
    if (pairs := find_near_duplicates(images)) is None:
        return None
    split = test[pairs[:, 0]] != test[pairs[:, 1]]
    apart = np.ones(len(pairs), bool) if groups is None else groups[pairs[:, 0]] != groups[pairs[:, 1]]
    return pairs[split], pairs[~split & apart]


def duplicate_problems(hashes: list[str | None], names: list[str], labels: Any, test: Any) -> list[Problem]:
    """Find equal images, each set once as its worst kind: different labels, then across splits, then within one."""
    same: dict[str, list[int]] = {}
    for i, sha256 in enumerate(hashes):
        if sha256 is not None:
            same.setdefault(sha256, []).append(i)
    kinds = {
        "duplicate-label": "equal images with different labels",
        "duplicate-split": "equal images in both train and test",
        "duplicate": "equal images within a split",
    }
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    for members in same.values():
        if len(members) > 1:
            contrary = len({int(labels[i]) for i in members}) > 1
            across = len({bool(test[i]) for i in members}) > 1
            kind = "duplicate-label" if contrary else "duplicate-split" if across else "duplicate"
            found[kind].append(" = ".join(names[i] for i in members[:4]) + (" = ..." if len(members) > 4 else ""))
    return [problem("warning", kind, message, found[kind]) for kind, message in kinds.items() if found[kind]]


def near_duplicate_problems(
    small: tuple[Thumbnails, Any], hashes: list[str | None], names: list[str], groups: Any, test: Any
) -> list[Problem]:
    """Find near-duplicates that are no exact ones: across splits, and within a split between groups.

    Args:
        small: (thumbnail of each image, True for those that are large enough to be compared).
        hashes: Digest of the pixels of each image.
        names: Name of each image.
        groups: Group of each image; None where none are declared.
        test: True for test images.
    """
    ids = np.flatnonzero(small[1])
    found = near_duplicate_pairs(small[0][ids], None if groups is None else groups[ids], test[ids])
    if found is None:
        return [problem("warning", "not-searched", f"near-duplicates are not searched among over {LIMIT:,} images", [])]
    problems = []
    where = {"near-duplicate-split": "in both train and test", "near-duplicate": "within a split"}
    for kind, pairs in zip(where, found, strict=True):
        if kept := [(a, b) for a, b in ids[pairs].tolist() if hashes[a] != hashes[b]]:
            images = len({i for pair in kept for i in pair})
            text = f"near-duplicates {where[kind]}, {images:,} images in pairs (copies, or frames of one scene: declare"
            text += " groups, which stay on one side, or remove copies)"
            problems.append(problem("warning", kind, text, [f"{names[a]} ~ {names[b]}" for a, b in kept]))
    return problems


def groups_notes(declared: bool, independent: bool) -> list[str]:
    """Note where no groups are declared: then nothing is known of leakage between the splits."""
    if independent:
        return ["groups: the images are declared independent"]
    return [] if declared else ["groups: none declared, so it is unknown if a patient, video or burst is on both sides"]


# ------------------------------------------------------------------------------------------------------- helpers


def _searchable(d: Dataset) -> bool:
    h, w = d.images.size
    return not isinstance(d.images, BlankImages) and (len(d.images) + len(d.test_images)) * 3 * h * w <= MAX_PIXELS


def _groups_across(d: Dataset) -> int | None:
    """Count groups with images in both splits; None where none are declared, or only one split has them."""
    if d.groups is None or d.test_groups is None:
        return None
    return len({*d.groups.tolist()} & {*d.test_groups.tolist()})


def _duplicates_across(d: Dataset) -> int:
    """Count test images with the same pixels as a train image."""
    seen, tested = (fingerprints(images) for images in (d.images, d.test_images))
    known = set(seen)
    return sum(mark in known for mark in tested)


def all_groups(d: Dataset) -> Any:
    """Groups of the train and then of the test images; None unless both are declared."""
    return None if d.groups is None or d.test_groups is None else np.concatenate([d.groups, d.test_groups])


def thumbnails_of(images: Images) -> Any:
    """Thumbnails of a set of images."""
    return thumbnails(images.take(ids).cpu().numpy() for ids in chunks(images))


def _near_duplicates(d: Dataset) -> tuple[int | None, int | None]:
    """(test images with a near-duplicate in train, train images with one in another group of train)."""
    if min(d.images.size) < SIDE:  # too small to tell a copy from another image
        return None, None
    images = np.concatenate([thumbnails_of(part) for part in (d.images, d.test_images)])
    n = len(d.images)
    found = near_duplicate_pairs(images, all_groups(d), np.arange(len(images)) >= n)
    if found is None:
        return None, None
    across, within = found
    return len(np.unique(across[:, 1])), len(np.unique(within[within[:, 1] < n]))


def _likely_groups(d: Dataset) -> str:
    if d.groups is not None or d.independent or d.ids is None:
        return ""
    labels = [*d.vault.for_data_check().tolist(), *d.test_labels.tolist()]
    names = names_of(d)
    return str(likely_groups(names["train"] + names["test"], labels) or "") if d.test_ids is not None else ""
