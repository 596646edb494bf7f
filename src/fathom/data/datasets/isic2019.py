"""ISIC-2019: photographs of skin lesions, from the challenge's official files; a roll-out dataset."""

import csv
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fathom.core.records import FathomError
from fathom.data.cache.pixels import decode_files
from fathom.data.dataset import DataRoot, Dataset, Images
from fathom.data.files.archives import Archive, open_archive
from fathom.data.files.download import RemoteFile, announce, download
from fathom.data.files.listing import locate
from fathom.data.files.official import check_options, fetch, joint_revision, published_test_split, roll_out_dataset
from fathom.data.files.sources import SourceFiles, contents
from fathom.data.sketch import BlankImages
from fathom.data.splits import Ids, fixed_test_split
from fathom.registry.registry import dataset

CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
COUNTS = (4522, 12875, 3323, 867, 2624, 239, 253, 628)  # official, of 25,331
LESION_TEST = (1131, 3219, 831, 217, 658, 60, 64, 157)  # test images by split=lesion, of the official tables
SPLITS = ("lesion", "published")
FOLDER = "ISIC-2019"
INPUT, TRUTH, METADATA = (f"ISIC_2019_Training_{part}" for part in ("Input", "GroundTruth.csv", "Metadata.csv"))
ADDRESS = "https://isic-challenge-data.s3.amazonaws.com/2019"
LICENSE = "CC BY-NC 4.0, for research; see https://challenge.isic-archive.com/data/#2019 and cite the source"
SOURCE = (
    "ISIC 2019 challenge, training images: P. Tschandl et al., Sci. Data 5:180161, 2018; N. Codella et al., "
    "arXiv:1710.05006; M. Combalia et al., arXiv:1908.02288; CC BY-NC 4.0"
)


@dataset("isic2019", role="roll-out", sketch="_sketch")
def isic2019(
    root: DataRoot, *, split: str = "lesion", size: int = 300, absent: str = "error", images: str = ""
) -> Dataset:
    """ISIC-2019: 25,331 photos of skin lesions in 8 classes of very different size; roll-out, balanced accuracy.

    Args:
        root: Holds `ISIC-2019` with the two CSV files and `ISIC_2019_Training_Input.zip` or its folder.
        split: `lesion` (the images of a lesion stay on one side of every split) or `published` (a quarter of the
            images at random, as the study did: images of a lesion may be on both sides).
        size: Side in pixels that images are resized to; training sees 224/300 of it (300: 224, as published).
        absent: Rows without an image: `error`, or `skip` (counted and named in the notes).
        images: Folder or zip of the images, if they are elsewhere.

    Raises:
        FathomError: Files are absent and may not be downloaded, rows are malformed, or images absent or unreadable.

    Source: Lüth et al. 2023, Sec. 3, and study code: a quarter for testing, int(.2 n) of the rest held out, resized to
        300 x 300 without keeping the aspect ratio. Ours: the split by lesion.
    """
    check_options("isic2019", size, split=(split, SPLITS), absent=(absent, ("error", "skip")))
    place, truth, metadata = _places(root, images)
    table = _read(truth, metadata)
    present, files, notes = _find(place, table, absent)
    whole = decode_files(files, (size, size), root.cache, quiet=root.quiet, contents=contents(files, root.cache))
    return _dataset(whole, table, present, split, notes)


def _sketch(*, split: str = "lesion", size: int = 300, absent: str = "error", images: str = "") -> Dataset:
    """The dataset with official counts and without images."""
    check_options("isic2019", size, split=(split, SPLITS), absent=(absent, ("error", "skip")))
    labels = np.repeat(np.arange(len(CLASSES)), COUNTS).astype(np.int64)
    if split == "published":
        test = published_test_split(len(labels))
    else:
        test = np.concatenate([np.arange(n) < m for n, m in zip(COUNTS, LESION_TEST, strict=True)])
    return _outline(BlankImages(len(labels), (size, size)), labels, test)


# -------------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True, eq=False)
class _Table:
    """The official rows in their order: names, classes, and lesion numbers (an image without lesion has its own)."""

    names: list[str]
    labels: Ids
    lesions: Ids


def _read(truth: Path, metadata: Path) -> _Table:
    rows = _rows(truth, ("image", *CLASSES, "UNK"))
    wrong = {"rows whose image is not a plain name": [], "rows that do not have one class": []}  # type: dict[str, list[str]]
    labels = []
    for number, row in rows:
        try:
            cells = [float(cell) for cell in row[1:]]
        except ValueError:
            cells = []
        if not re.fullmatch(r"\w+", row[0], re.ASCII):
            wrong["rows whose image is not a plain name"].append(f"row {number}: {row[0]!r}")
        if sorted(cells) != [0.0] * len(CLASSES) + [1.0] or cells[-1]:
            wrong["rows that do not have one class"].append(f"row {number}: {','.join(row)}")
        else:
            labels.append(cells.index(1.0))
    names = [row[0] for _, row in rows]
    wrong["images that are listed twice"] = _twice(rows)
    _refuse(truth, wrong)
    facts = _rows(metadata, ("image", "lesion_id"))
    lesion = {row[0]: row[1] for _, row in facts}
    _refuse(
        metadata,
        {
            "images that are listed twice": _twice(facts),
            f"no row for images of {truth.name}": [name for name in names if name not in lesion],
            f"rows for images that are not in {truth.name}": sorted(set(lesion) - set(names)),
        },
    )
    own = [lesion[name] or f"\0{name}" for name in names]
    return _Table(names, np.array(labels, np.int64), np.unique(own, return_inverse=True)[1].astype(np.int64))


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """Line number and the requested cells of each row.

    Raises:
        FathomError: It is not a CSV file, lacks a column, or has rows of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader if any(line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FathomError(f"{path} is not a CSV file in UTF-8: {error}; get the official file again") from error
    head = lines[0][1] if lines else []
    if not set(columns) <= set(head) or len(set(head)) != len(head) or len(lines) < 2:
        raise FathomError(
            f"{path}: expected rows below the columns {', '.join(columns)}; got the columns "
            f"{', '.join(head)[:200] or '(none)'} and {max(0, len(lines) - 1)} rows. Get the official file again"
        )
    _refuse(
        path, {f"rows that do not have {len(head)} cells": [f"row {n}" for n, line in lines if len(line) != len(head)]}
    )
    places = [head.index(name) for name in columns]
    return [(number, [line[i] for i in places]) for number, line in lines[1:]]


def _twice(rows: list[tuple[int, list[str]]]) -> list[str]:
    seen: dict[str, int] = {}
    return [f"row {n}: {row[0]} (first in row {seen[row[0]]})" for n, row in rows if seen.setdefault(row[0], n) != n]


def _refuse(path: Path, wrong: dict[str, list[str]]) -> None:
    for what, concerned in wrong.items():
        if concerned:
            more = f" and {len(concerned) - 10:,} more" if len(concerned) > 10 else ""
            raise FathomError(
                f"{path}: {len(concerned):,} {what}: {'; '.join(concerned[:10])}{more}. Get the official file again"
            )


# --------------------------------------------------------------------------------------------------------- files


def _places(root: DataRoot, images: str) -> tuple[Path, Path, Path]:
    """(images, ground truth, metadata), downloaded if they are absent and downloads are allowed."""
    named = locate(images, root.path, '"isic2019(images=ISIC_2019_Training_Input)"') if images else None

    def look() -> list[Path | None]:
        folders = [root.path / FOLDER, root.path / "isic2019", root.path]
        wanted = ((INPUT, f"{INPUT}.zip"), (TRUTH,), (METADATA,))
        found = [next((f / n for n in names for f in folders if (f / n).exists()), None) for names in wanted]
        return [named or found[0], *found[1:]]

    def get(path: Path) -> None:
        announce("isic2019", LICENSE, quiet=root.quiet)
        for name, known in zip((f"{INPUT}.zip", TRUTH, METADATA), look(), strict=True):
            if known is None:
                download(RemoteFile(f"{ADDRESS}/{name}"), path / FOLDER / name, quiet=root.quiet)

    if None in look():
        fetch("isic2019", root, FOLDER, get)
    place, truth, metadata = look()
    if place is None or truth is None or metadata is None:
        raise FathomError("the download of dataset isic2019 ended without all files; run the same command again")
    return place, truth, metadata


def _find(place: Path, table: _Table, absent: str) -> tuple[Ids, SourceFiles, tuple[str, ...]]:
    """(rows that have an image, these images, notes)."""
    where: dict[str, Any] = {}
    source: Path | Archive = place
    if place.is_dir():
        where = {e.name[:-4]: e.name for e in os.scandir(place) if e.name.lower().endswith(".jpg")}
    else:
        source = open_archive(place)
        stems = [name.rpartition("/")[2] for name in source.names]
        where = {stem[:-4]: i for i, stem in enumerate(stems) if stem.lower().endswith(".jpg")}
    present = np.array([i for i, name in enumerate(table.names) if name in where], np.int64)
    missing = [name for name in table.names if name not in where]
    if not len(present) or (missing and absent == "error"):
        raise FathomError(
            f"{place} lacks {len(missing):,} of the {len(table.names):,} images of {TRUTH}: {', '.join(missing[:10])}"
            f"{' ...' if len(missing) > 10 else ''}. Unpack {INPUT}.zip again, or put it there instead of the folder "
            "(it is read without unpacking); isic2019(absent=skip) takes the images that exist"
        )
    names = [table.names[i] for i in present]
    notes = []
    if missing:
        shown = f"{', '.join(missing[:10])}{' ...' if len(missing) > 10 else ''}"
        notes = [f"{len(missing):,} of {len(table.names):,} rows have no image and were left out: {shown}"]
    if spare := len(where) - len(present):
        notes.append(f"{spare:,} images are in no row of {TRUTH} and were left out")
    return present, SourceFiles(source, names, [where[name] for name in names]), tuple(notes)


# ------------------------------------------------------------------------------------------------------- dataset


def _dataset(whole: Images, table: _Table, present: Ids, split: str, notes: tuple[str, ...]) -> Dataset:
    # Drawn over all official rows, so that an image of a partial copy is on the same side as in the complete set.
    by_lesion = split == "lesion"
    drawn = fixed_test_split(table.labels, 0.25, table.lesions) if by_lesion else published_test_split(len(table.names))
    sides = drawn[present]
    train, test = np.flatnonzero(~sides), np.flatnonzero(sides)
    labels, lesions = table.labels[present], table.lesions[present]
    if not len(test) or not len(train):
        raise FathomError(f"isic2019: of {len(present)} images {len(test)} are for testing; add images")
    groups, test_groups = (lesions[train], lesions[test]) if by_lesion else (None, None)
    if not by_lesion:
        both = np.isin(lesions[test], lesions[train])
        notes += (
            f"split=published: {len(np.unique(lesions[test][both])):,} lesions have images in both train and test, "
            f"{int(both.sum()):,} of {len(test):,} test images; scores are better than on new lesions",
        )
    return _outline(
        whole,
        labels,
        sides,
        groups=groups,
        test_groups=test_groups,
        ids=tuple(table.names[present[i]] for i in train),
        test_ids=tuple(table.names[present[i]] for i in test),
        revision=joint_revision([whole], labels[train], labels[test], groups, test_groups, train, test),
        notes=notes,
    )


def _outline(images: Images, labels: Ids, test: np.ndarray[Any, np.dtype[np.bool_]], **known: Any) -> Dataset:
    known |= {"class_names": CLASSES, "augment": "isic", "source": SOURCE}
    made = roll_out_dataset("isic2019", images, labels, test, **known)
    # As published: all that are held out, 3,799 of 4,000.
    return replace(made, regimes={"high": {"val_size": min(4_000, made.val_split)}})
