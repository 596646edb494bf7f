"""MIO-TCD: vehicles and pedestrians in images of traffic cameras, from the challenge's official files; roll-out."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fathom.core.records import FathomError
from fathom.data.cache.jpegs import keep
from fathom.data.dataset import DataRoot, Dataset
from fathom.data.files.archives import Archive, open_archive
from fathom.data.files.download import RemoteFile, announce, download, unchanged
from fathom.data.files.listing import nfc
from fathom.data.files.official import check_options, fetch, joint_revision, published_test_split, roll_out_dataset
from fathom.data.files.sources import SourceFiles, contents
from fathom.data.sketch import BlankImages
from fathom.data.splits import Ids
from fathom.registry.registry import dataset

COUNTS = {  # official, by the folders' names in their order; 519,164 in all
    "articulated_truck": 10_346,
    "background": 160_000,
    "bicycle": 2_284,
    "bus": 10_316,
    "car": 260_518,
    "motorcycle": 1_982,
    "non-motorized_vehicle": 1_751,
    "pedestrian": 6_262,
    "pickup_truck": 50_906,
    "single_unit_truck": 5_120,
    "work_van": 9_679,
}
CLASSES = tuple(COUNTS)
TOTAL = 519_164
FOLDER = "MIO-TCD-Classification"
ADDRESS = "https://tcd.miovision.com/static/dataset/MIO-TCD-Classification.tar"
LICENSE = "CC BY-NC-SA 4.0 as far as we know; the terms at https://tcd.miovision.com apply; cite the source"
SOURCE = "MIO-TCD classification challenge: Z. Luo et al., IEEE Trans. Image Processing 27(10), 2018"


@dataset("mio-tcd", role="roll-out", sketch="_sketch")
def mio_tcd(root: DataRoot, *, size: int = 256, cache_gb: float = 40.0, absent: str = "error") -> Dataset:
    """MIO-TCD: 519,164 photos of traffic in 11 classes of very different size; roll-out, balanced accuracy.

    Args:
        root: Holds `MIO-TCD-Classification.tar` or `MIO-TCD-Classification/train/CLASS/*.jpg`.
        size: Side in pixels of the center square that is kept of each image; training and testing see 224/256 of it
            (256: 224, as published).
        cache_gb: GiB of disk for the decoded images: as pixels where these fit (64 pixels: 6 GiB), else as JPEGs that
            are decoded batch by batch (256 pixels: 10 to 20 GiB instead of 95).
        absent: If not all 519,164 images exist: `error`, or `skip` (counted in the notes).

    Raises:
        FathomError: Files are absent and may not be downloaded, folders are unknown or empty, images are absent or
            unreadable, or the cache does not fit.

    Source: Lüth et al. 2023, Sec. 3, and study code: a quarter for testing, int(.2 n) of the rest held out. Ours: files
        in the order of their names (the study: in the order of the file system); training crops from the center square
        (the study: from the whole image).
    """
    _check(size, cache_gb, absent)
    files, labels, notes = _find(root, absent)
    whole = keep(
        files, contents(files, root.cache), (size, size), root.cache, fit="crop", budget=cache_gb, quiet=root.quiet
    )
    sides = published_test_split(len(labels))
    train, test = np.flatnonzero(~sides), np.flatnonzero(sides)
    return _outline(
        whole,
        labels,
        sides,
        ids=tuple(files.names[i] for i in train.tolist()),
        test_ids=tuple(files.names[i] for i in test.tolist()),
        revision=joint_revision([whole], labels[train], labels[test], train, test),
        notes=notes,
    )


def _sketch(*, size: int = 256, cache_gb: float = 40.0, absent: str = "error") -> Dataset:
    """The dataset with official counts and without images."""
    _check(size, cache_gb, absent)
    labels = np.repeat(np.arange(len(CLASSES)), list(COUNTS.values())).astype(np.int64)
    return _outline(BlankImages(len(labels), (size, size)), labels, published_test_split(len(labels)))


_outline = partial(roll_out_dataset, "mio-tcd", class_names=CLASSES, augment="imagenet", source=SOURCE)


# --------------------------------------------------------------------------------------------------------- files


def _find(root: DataRoot, absent: str) -> tuple[SourceFiles, Ids, tuple[str, ...]]:
    """(files in the order of their names, classes, notes)."""
    place = _place(root)
    source, by_name, strange = _list_archive(place) if place.is_file() else _list_folder(place)
    if unknown := sorted({name.split("/")[0] for name in by_name} - set(CLASSES)):
        raise FathomError(
            f"{place}: folders that are not a class of MIO-TCD: {', '.join(unknown[:10])}. Expected the 11 official "
            f"ones: {', '.join(CLASSES)}. Move the others away; use folder(path=...) for your own images"
        )
    names = sorted(by_name, key=lambda name: name.encode(errors="surrogateescape"))
    number = {name: c for c, name in enumerate(CLASSES)}
    labels = np.fromiter((number[name.split("/")[0]] for name in names), np.int64, len(names))
    counts = np.bincount(labels, minlength=len(CLASSES))
    if empty := [name for name, n in zip(CLASSES, counts, strict=True) if not n]:
        raise FathomError(
            f"{place}: no image of {len(empty)} of 11 classes: {', '.join(empty)}. Unpack the official archive again, "
            "or put it there instead of the folder (it is read without unpacking)"
        )
    notes = [f"files that are not images of a class were left out: {strange:,}"] if strange else []
    if len(names) != TOTAL:
        found = ", ".join(f"{name} {n:,}" for name, n in zip(CLASSES, counts, strict=True))
        if absent == "error":
            raise FathomError(
                f"{place} has {len(names):,} images; the official set has {TOTAL:,}. There are: {found}. Unpack the "
                "official archive again, or put it there instead of the folder (it is read without "
                "unpacking); mio-tcd(absent=skip) takes the images that exist"
            )
        notes.append(f"{len(names):,} of {TOTAL:,} official images exist: {found}")
    at: Any = [by_name[name] for name in names]
    return SourceFiles(source, names, at), labels, tuple(notes)


def _place(root: DataRoot) -> Path:
    """The folder of the classes, or the archive; downloaded if both are absent and downloads are allowed."""
    folders = (root.path / FOLDER, root.path)

    def look() -> Path | None:
        unpacked = [root.path / FOLDER / "train"]
        return next((p for p in (*unpacked, *(f / f"{FOLDER}.tar" for f in folders)) if p.exists()), None)

    def get(path: Path) -> None:
        announce("mio-tcd", LICENSE, quiet=root.quiet)
        download(RemoteFile(ADDRESS), path / f"{FOLDER}.tar", quiet=root.quiet)

    if look() is None:
        fetch("mio-tcd", root, FOLDER, get)
    if (place := look()) is None:
        raise FathomError("the download of dataset mio-tcd ended without its archive; run the same command again")
    return place


def _list_folder(place: Path) -> tuple[Path, dict[str, str | int], int]:
    """(folder, path below it of each image by CLASS/FILE, number of other files)."""
    found: dict[str, str | int] = {}
    strange = 0
    for folder in os.scandir(place):
        if folder.name.startswith("."):
            continue
        if not folder.is_dir():
            strange += 1
            continue
        inside = False
        for entry in os.scandir(folder):
            if entry.name.lower().endswith(".jpg") and not entry.name.startswith("."):
                path = f"{folder.name}/{entry.name}"
                found[nfc(path)] = path
                inside = True
            else:
                strange += not entry.name.startswith(".")
        if not inside and folder.name not in CLASSES:
            strange += 1  # counted, but not an error: an empty folder of another name does no harm
    return place, found, strange


def _list_archive(place: Path) -> tuple[Archive, dict[str, str | int], int]:
    """(archive, index of each image by CLASS/FILE, number of other files in `train`)."""
    if not unchanged(place):
        raise FathomError(
            f"{place} does not have the size that it was downloaded with; delete it and download it again"
        )
    archive = open_archive(place)
    found: dict[str, str | int] = {}
    tops: set[str] = set()
    strange = 0
    for i, name in enumerate(archive.names):
        top, inside, rest = f"/{name}".partition("/train/")
        if not inside or rest.rpartition("/")[2].startswith("."):
            continue  # test images have no labels
        if rest.count("/") != 1 or not rest.lower().endswith(".jpg"):
            strange += 1
            continue
        tops.add(top)
        found[nfc(rest)] = i
    if len(tops) > 1:
        raise FathomError(f"{place} has {len(tops)} folders named train: {', '.join(sorted(tops))}; expected one")
    return archive, found, strange


def _check(size: int, cache_gb: float, absent: str) -> None:
    check_options("mio-tcd", size, absent=(absent, ("error", "skip")))
    if not cache_gb > 0:
        raise FathomError(f"mio-tcd: cache_gb is {cache_gb:g}; expected a positive number of GiB")
